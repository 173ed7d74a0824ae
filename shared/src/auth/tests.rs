//! Tests which tokens are accepted and why others are refused. Another library has made most of the tokens: see
//! `testdata/make_jwt_vectors.py`.

use std::sync::Arc;

use jsonwebtoken::Algorithm;
use serde_json::json;

use super::{
    key::public_keys_of_pem,
    keys::{KeySet, UrlKeysState, parse_jwks},
    *,
};

const VECTORS: &str = include_str!("testdata/jwt_vectors.json");

fn vectors() -> Value {
    serde_json::from_str(VECTORS).unwrap()
}

fn text<'a>(value: &'a Value, name: &str) -> &'a str {
    value[name].as_str().unwrap_or_else(|| panic!("no {name}"))
}

fn rules(vectors: &Value) -> ClaimRules {
    ClaimRules {
        issuers: vec![text(vectors, "issuer").to_owned()],
        audiences: vec![text(vectors, "audience").to_owned()],
        ..ClaimRules::default()
    }
}

fn algorithms_of(family: &str) -> Vec<String> {
    let names = [
        "HS256", "HS384", "HS512", "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384",
        "EdDSA",
    ];
    names.iter().filter(|name| name.starts_with(family)).map(|name| (*name).to_owned()).collect()
}

fn verifier_of_settings(vectors: &Value, key: &str, algorithms: &[String]) -> Verifier {
    let secret = (key == "secret").then(|| SecretString::from(text(vectors, "secret")));
    let given = TokenSettings {
        secret: secret.as_ref(),
        public_key: vectors["pems"][key].as_str(),
        jwks_file: None,
        jwks_url: None,
        algorithms,
        rules: rules(vectors),
    };
    Verifier::start(CheckedTokenSettings::check(given).unwrap(), |_| {})
}

/// Returns a verifier whose keys are the JWK set of the vectors, as if it had been fetched from a URL.
fn verifier_of_jwks(vectors: &Value) -> Verifier {
    let keys = parse_jwks(vectors["jwks"].to_string().as_bytes(), false, &[Algorithm::RS256]).unwrap();
    Verifier::of_keys(KeySet::new(Arc::new([]), keys, UrlKeysState::Loaded), rules(vectors))
}

/// Verifies a token and returns the user id, or the reason or code of the refusal. These verifiers have no key URL to
/// fetch from, so the result is final.
async fn verify_user(verifier: &Verifier, token: &str) -> Result<String, String> {
    match verifier.verify_or_fetch(token).await {
        Ok(identity) => Ok(identity.user.as_str().to_owned()),
        Err(refusal) => Err(refusal.reason.unwrap_or_else(|| refusal.code.as_str().to_owned())),
    }
}

#[tokio::test]
async fn every_algorithm_verifies_tokens_of_another_library() {
    let vectors = vectors();
    let fetched = verifier_of_jwks(&vectors);
    let mut seen = std::collections::BTreeSet::new();
    for vector in vectors["good"].as_array().unwrap() {
        let (name, key, token) = (text(vector, "name"), text(vector, "key"), text(vector, "token"));
        let algorithm = name.split(' ').next().unwrap();
        let verdict = match key {
            "jwks" => verify_user(&fetched, token).await,
            key => verify_user(&verifier_of_settings(&vectors, key, &algorithms_of(algorithm)), token).await,
        };
        assert_eq!(verdict.as_deref(), Ok("alice"), "{name}");
        seen.insert(algorithm);
    }
    assert_eq!(seen.len(), 12, "{seen:?}");
}

#[tokio::test]
async fn unusual_but_valid_tokens_are_accepted() {
    let vectors = vectors();
    let fetched = verifier_of_jwks(&vectors);
    for vector in vectors["odd"].as_array().unwrap() {
        let (name, user, token) = (text(vector, "name"), text(vector, "user"), text(vector, "token"));
        assert_eq!(verify_user(&fetched, token).await.as_deref(), Ok(user), "{name}");
    }
}

#[tokio::test]
async fn every_attack_is_refused_with_its_reason() {
    let vectors = vectors();
    let fetched = verifier_of_jwks(&vectors);
    let bad = vectors["bad"].as_array().unwrap();
    assert!(bad.len() > 90);
    for vector in bad {
        let (name, reason, token) = (text(vector, "name"), text(vector, "reason"), text(vector, "token"));
        assert_eq!(verify_user(&fetched, token).await, Err(reason.to_owned()), "{name}");
    }
}

/// Configures keys of all kinds at once, and checks that each token is verified only with a key of its kind: nobody can
/// sign with a public key as an HMAC secret.
#[tokio::test]
async fn public_key_is_never_used_as_a_secret() {
    let vectors = vectors();
    let secret = SecretString::from(text(&vectors, "secret"));
    let pems: Vec<&str> = ["rsa", "p256", "p384", "ed"].map(|name| text(&vectors["pems"], name)).into();
    let given = TokenSettings {
        secret: Some(&secret),
        public_key: Some(&pems.concat()),
        jwks_file: None,
        jwks_url: None,
        algorithms: &algorithms_of(""),
        rules: rules(&vectors),
    };
    let verifier = Verifier::start(CheckedTokenSettings::check(given).unwrap(), |_| {});
    for vector in vectors["good"].as_array().unwrap() {
        let (name, token) = (text(vector, "name"), text(vector, "token"));
        assert_eq!(verify_user(&verifier, token).await.as_deref(), Ok("alice"), "{name}");
    }
    for vector in
        vectors["bad"].as_array().unwrap().iter().filter(|v| text(v, "name").contains("taken for a secret"))
    {
        let (name, token) = (text(vector, "name"), text(vector, "token"));
        assert_eq!(verify_user(&verifier, token).await, Err("signature".to_owned()), "{name}");
    }
}

#[tokio::test]
async fn key_accepts_only_configured_algorithms() {
    let vectors = vectors();
    for (key, allowed, other) in
        [("secret", "HS256", "HS512"), ("rsa", "RS256", "PS256"), ("rsa", "PS384", "RS384")]
    {
        let verifier = verifier_of_settings(&vectors, key, &[allowed.to_owned()]);
        for vector in vectors["good"].as_array().unwrap().iter().filter(|v| text(v, "key") == key) {
            let (name, token) = (text(vector, "name"), text(vector, "token"));
            let expected =
                if name.starts_with(allowed) { Ok("alice".to_owned()) } else { Err("algorithm".to_owned()) };
            assert_eq!(
                verify_user(&verifier, token).await,
                expected,
                "{allowed} only: {name} (such as {other})"
            );
        }
    }
}

fn sign_token(claims: &Value) -> String {
    sign_hs256(&SecretString::from("a secret of the tests"), claims.as_object().unwrap()).unwrap()
}

fn hs256_verifier(leeway_s: u64) -> Verifier {
    Verifier::hs256(&SecretString::from("a secret of the tests"), leeway_s)
}

#[test]
fn valid_token_yields_its_identity() {
    let exp = 4_000_000_000_i64;
    let claims = json!({"sub": 42, "exp": exp, "name": "Al\u{7}", "scope": "a tidings.admin"});
    let identity = hs256_verifier(0).verify(&sign_token(&claims)).unwrap();
    assert_eq!((identity.user.as_str(), identity.name.as_deref()), ("42", Some("Al")));
    assert_eq!((identity.expires_at_s, identity.admin), (exp, true));
}

#[test]
fn empty_token_is_missing_and_not_malformed() {
    assert_eq!(hs256_verifier(0).verify(""), Err(VerifyError::Refused(Reason::Missing)));
    assert_eq!(hs256_verifier(0).verify("x"), Err(VerifyError::Refused(Reason::Malformed)));
}

#[test]
fn leeway_extends_both_ends_of_validity() {
    let now = chrono::Utc::now().timestamp();
    let late = sign_token(&json!({"sub": "a", "exp": now - 30}));
    let early = sign_token(&json!({"sub": "a", "exp": now + 600, "nbf": now + 30}));
    assert_eq!(hs256_verifier(0).verify(&late), Err(VerifyError::Refused(Reason::Expired)));
    assert_eq!(hs256_verifier(0).verify(&early), Err(VerifyError::Refused(Reason::NotYetValid)));
    assert_eq!(hs256_verifier(60).verify(&late).unwrap().expires_at_s, now + 30);
    assert!(hs256_verifier(60).verify(&early).is_ok());
    assert_eq!(hs256_verifier(10).verify(&late), Err(VerifyError::Refused(Reason::Expired)));
    assert_eq!(hs256_verifier(10).verify(&early), Err(VerifyError::Refused(Reason::NotYetValid)));
}

#[test]
fn token_over_8_kib_is_malformed() {
    let long =
        |more: usize| sign_token(&json!({"sub": "a", "exp": 4_000_000_000_i64, "more": "x".repeat(more)}));
    let fitting = (6000..6144).rev().map(long).find(|token| token.len() <= 8192).unwrap();
    assert!(fitting.len() > 8180 && hs256_verifier(0).verify(&fitting).is_ok(), "{}", fitting.len());
    let over = (6000..6144).map(long).find(|token| token.len() > 8192).unwrap();
    assert_eq!(hs256_verifier(0).verify(&over), Err(VerifyError::Refused(Reason::Malformed)));
}

#[test]
fn pem_text_may_contain_several_keys() {
    let vectors = vectors();
    let both = [&vectors["pems"]["rsa"], &vectors["pems"]["p256"]].map(|pem| pem.as_str().unwrap()).concat();
    assert_eq!(public_keys_of_pem(&both, &[Algorithm::RS256, Algorithm::ES256]).unwrap().len(), 2);
    // The P-256 key does not support the only allowed algorithm.
    assert!(public_keys_of_pem(&both, &[Algorithm::RS256]).is_err());
}

/// Tests which keys may verify a token, and when a fetch may help.
#[test]
fn key_id_selects_keys_and_decides_about_a_fetch() {
    let vectors = vectors();
    let all = vectors["good"].as_array().unwrap();
    let named = |name: &str| text(all.iter().find(|v| text(v, "name") == name).unwrap(), "token");
    let secret = || key::Key::of_secret(&text(&vectors, "secret").to_owned().into(), &[Algorithm::HS256]);
    let secret = || secret().unwrap_or_else(|unfit| panic!("{unfit}"));
    let jwks = |wanted: &[&str]| {
        let mut set = vectors["jwks"].clone();
        set["keys"]
            .as_array_mut()
            .unwrap()
            .retain(|key| key["kid"].as_str().is_some_and(|id| wanted.contains(&id)));
        parse_jwks(set.to_string().as_bytes(), false, &[Algorithm::RS256]).unwrap()
    };
    let verify = |keys: KeySet, token: &str| {
        let verified = Verifier::of_keys(keys, rules(&vectors)).verify(token);
        match verified {
            Ok(_) => "good",
            Err(VerifyError::Refused(reason)) => reason.as_str(),
            Err(VerifyError::KeysNeeded) => "fetch",
        }
    };
    let missing = || KeySet::new(Arc::new([secret()]), Vec::new(), UrlKeysState::Missing);
    let loaded = |ids: &[&str]| KeySet::new(Arc::new([secret()]), jwks(ids), UrlKeysState::Loaded);
    let unused = || KeySet::new(Arc::new([secret()]), Vec::new(), UrlKeysState::Unused);
    let by_id = named("RS256 by its id");
    let without = named("RS256 without an id");
    let cut = |token: &str| format!("{}AAAA", &token[..token.len() - 4]);
    let stray_id = {
        let header = jsonwebtoken::Header { kid: Some("../../dev/null".into()), ..Header::default() };
        let claims =
            json!({"sub": "a", "exp": 4_000_000_000_i64, "iss": "https://issuer.example", "aud": "tidings"});
        jsonwebtoken::encode(&header, &claims, &EncodingKey::from_secret(text(&vectors, "secret").as_bytes()))
            .unwrap()
    };
    for (case, keys, token, expected) in [
        ("its id", loaded(&["rsa-RS256", "unnamed"]), by_id, "good"),
        ("its id, another's signature", loaded(&["rsa-RS256"]), &cut(by_id), "signature"),
        ("an id that may be new", loaded(&["unnamed"]), by_id, "fetch"),
        ("nothing was fetched yet", missing(), by_id, "fetch"),
        ("nothing was fetched yet, no id", missing(), without, "fetch"),
        ("there is no URL", unused(), by_id, "algorithm"),
        ("one key accepts it", loaded(&["rsa-RS256", "rsa-RS512", "p256-ES256"]), without, "good"),
        ("two keys accept it", loaded(&["rsa-RS256", "unnamed"]), without, "unknown_key"),
        ("no key accepts it", loaded(&["p256-ES256"]), without, "algorithm"),
        ("a secret has no id, so it serves any id", missing(), &stray_id, "good"),
        ("no fetch for HMAC before the first fetch", missing(), &cut(&stray_id), "signature"),
        ("no fetch for HMAC after it", loaded(&["unnamed"]), &cut(&stray_id), "signature"),
    ] {
        assert_eq!(verify(keys, token), expected, "{case}");
    }
}

proptest::proptest! {
    #[test]
    fn arbitrary_text_as_token_is_refused_without_panic(
        text in "\\PC{0,100}|[A-Za-z0-9_-]{0,80}\\.[A-Za-z0-9_-]{0,80}\\.[A-Za-z0-9_-]{0,80}",
        header in "\\{(\"(alg|kid|crit|typ)\":(\"[a-zA-Z0-9]{0,6}\"|[0-9]|null|\\[\\]|\\{\\}),?){0,4}\\}",
        claims in "\\PC{0,60}",
    ) {
        use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
        let part = |text: &str| URL_SAFE_NO_PAD.encode(text);
        let formed = format!("{}.{}.{}", part(&header), part(&claims), part(&text));
        for token in [text, formed] {
            proptest::prop_assert!(hs256_verifier(0).verify(&token).is_err());
        }
    }
}

//! Tests which settings of tokens are accepted, and which problems are reported for others.

use std::sync::LazyLock;

use serde_json::Value;

use super::*;

fn vectors() -> Value {
    serde_json::from_str(include_str!("../testdata/jwt_vectors.json")).unwrap()
}

static ALGORITHMS: LazyLock<Vec<String>> =
    LazyLock::new(|| ["HS256", "RS256", "ES256", "ES384", "EdDSA"].map(str::to_owned).into());

fn unset<'a>() -> TokenSettings<'a> {
    let rules = ClaimRules::default();
    TokenSettings {
        secret: None,
        public_key: None,
        jwks_file: None,
        jwks_url: None,
        algorithms: &ALGORITHMS,
        rules,
    }
}

fn read<'a>(change: impl FnOnce(&mut TokenSettings<'a>)) -> Result<CheckedTokenSettings, String> {
    let mut given = unset();
    change(&mut given);
    CheckedTokenSettings::check(given).map_err(|problems| {
        assert_eq!(problems.len(), 1, "{problems:?}");
        problems[0].to_string()
    })
}

#[test]
fn invalid_public_key_is_reported_with_setting_and_reason() {
    let vectors = vectors();
    for (name, part) in [
        ("RSA of 1024 bits", "2048"),
        ("curve P-521", "one of"),
        ("curve secp256k1", "one of"),
        ("private key", "private"),
        ("half a key", "one of"),
        ("no end", "no end"),
    ] {
        let pem = vectors["unusable"][name].as_str().unwrap();
        let error = read(|given| given.public_key = Some(pem)).err().unwrap();
        assert!(error.starts_with("--jwt-public-key") && error.contains(part), "{name}: {error}");
        let body = pem.lines().nth(1).unwrap();
        assert!(!error.contains(body), "{name}: the key is in the message");
    }
    for label in ["CERTIFICATE", "RSA PUBLIC KEY", "EC PRIVATE KEY", "X"] {
        let pem = format!("-----BEGIN {label}-----\nAAAA\n-----END {label}-----\n");
        let error = read(|given| given.public_key = Some(&pem)).err().unwrap();
        assert!(error.starts_with("--jwt-public-key"), "{label}: {error}");
    }
}

#[test]
fn public_key_accepts_path_pem_or_one_line_pem() {
    let vectors = vectors();
    let pem = vectors["pems"]["p256"].as_str().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("key.pem");
    std::fs::write(&path, pem).unwrap();
    for value in [pem, &pem.replace('\n', "\\n"), &pem.replace('\n', "\r\n"), path.to_str().unwrap()] {
        let settings =
            read(|given| given.public_key = Some(value)).unwrap_or_else(|e| panic!("{value}: {e}"));
        assert_eq!(settings.keys.len(), 1);
    }
    for (value, part) in [("/no/such/key.pem", "cannot be read"), ("hello", "cannot be read")] {
        let error = read(|given| given.public_key = Some(value)).err().unwrap();
        assert!(error.contains("--jwt-public-key") && error.contains(part), "{error}");
    }
    std::fs::write(&path, "hello").unwrap();
    let error = read(|given| given.public_key = path.to_str()).err().unwrap();
    assert!(error.contains("--jwt-public-key") && error.contains("BEGIN PUBLIC KEY"), "{error}");
}

#[test]
fn jwks_file_yields_its_usable_keys() {
    let vectors = vectors();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("keys.json");
    let path = path.to_str().unwrap();
    std::fs::write(path, vectors["jwks"].to_string()).unwrap();
    let settings = read(|given| given.jwks_file = Some(path)).unwrap();
    // One key for each algorithm, one without an algorithm, and the symmetric key, which a file may contain.
    assert_eq!(settings.keys.len(), 9 + 1 + 1);
    for (text, part) in [
        ("{}", "not a JWK set"),
        ("x", "not a JWK set"),
        (r#"{"keys":[]}"#, "no usable key"),
        (r#"{"keys":[{"kty":"RSA"}]}"#, "no usable key"),
    ] {
        std::fs::write(path, text).unwrap();
        let error = read(|given| given.jwks_file = Some(path)).err().unwrap();
        assert!(error.starts_with("--jwks-file") && error.contains(part), "{text}: {error}");
    }
    std::fs::write(path, vec![b' '; 1024 * 1024 + 1]).unwrap();
    let error = read(|given| given.jwks_file = Some(path)).err().unwrap();
    assert!(error.contains("over"), "{error}");
}

#[test]
fn insecure_token_settings_are_refused() {
    let refusal = |change: fn(&mut TokenSettings<'static>)| read(change).err().expect("refused");
    assert!(refusal(|_| {}).contains("at least one of"));
    let url = "https://issuer.example/keys";
    assert!(refusal(|given| given.jwks_url = Some("https://issuer.example/keys")).contains("--jwt-issuer"));
    let refusals = |change: fn(&mut TokenSettings<'static>)| {
        let mut given = unset();
        change(&mut given);
        CheckedTokenSettings::check(given)
            .err()
            .expect("refused")
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>()
    };
    let all = refusals(|given| {
        given.jwks_url = Some("http://issuer.example/keys");
        given.rules.user.clear();
    });
    assert!(
        all.len() == 3 && all[0].starts_with("--jwks-url") && all[2].starts_with("--jwt-user-claim"),
        "{all:?}"
    );
    let with_issuer = read(|given| {
        given.jwks_url = Some(url);
        given.rules.issuers.push("https://issuer.example".into());
    });
    assert!(with_issuer.is_ok());
    let vectors = vectors();
    for (secret, part) in [("short", "16 bytes"), (vectors["pems"]["rsa"].as_str().unwrap(), "PEM")] {
        let secret = SecretString::from(secret);
        let error = read(|given| given.secret = Some(&secret)).err().unwrap();
        assert!(error.starts_with("--jwt-secret") && error.contains(part), "{error}");
    }
}

#[test]
fn invalid_algorithm_or_claim_name_is_refused() {
    let secret = SecretString::from("a secret of the tests");
    for (names, part) in
        [(&["HS257"][..], "HS257"), (&["none"], "none"), (&["ES512"], "ES512"), (&["RS256"], "--jwt-secret")]
    {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let error = read(|given| {
            given.secret = Some(&secret);
            given.algorithms = &names;
        });
        let error = error.err().unwrap();
        assert!(error.contains(part), "{error}");
    }
    let error = read(|given| {
        given.secret = Some(&secret);
        given.rules.user.clear();
    });
    assert!(error.err().unwrap().starts_with("--jwt-user-claim"));
}

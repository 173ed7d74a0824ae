//! Tokens signed with keys of an identity provider, which nodes fetch from its URL: all transports, rotation, attacks.
//! Uses a whole stack and its own key server.

use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};
use serde_json::{Map, Value, json};
use tidings_harness::jwks::{KeyServer, SigningKey};
use tidings_harness::stack::StackBuilder;
use tidings_harness::{Client, ClientError, Http, ServerFrame, Stack, Token, TokenBy};

const WAIT_TIMEOUT: Duration = Duration::from_secs(10);
/// A node fetches keys because of an unknown key id at most once in this time.
const MIN_FETCH_INTERVAL: Duration = Duration::from_secs(3);
const FIREBASE_PROJECT: &str = "tea-party";

/// Builds a stack with the settings that docs/TOKENS.md gives for Firebase, but with the key URL of `keys`.
fn firebase_stack(keys: &KeyServer) -> StackBuilder {
    Stack::builder()
        .env("TIDINGS_JWT_SECRET", "")
        .env("TIDINGS_JWKS_URL", keys.url())
        .env("TIDINGS_JWT_ISSUER", format!("https://securetoken.google.com/{FIREBASE_PROJECT}"))
        .env("TIDINGS_JWT_AUDIENCE", FIREBASE_PROJECT)
}

/// An ID token as Firebase issues it.
fn firebase_token(user: &str) -> Token {
    Token::of(user)
        .claim("iss", json!(format!("https://securetoken.google.com/{FIREBASE_PROJECT}")))
        .claim("aud", json!(FIREBASE_PROJECT))
        .claim("user_id", json!(user))
        .claim("auth_time", json!(1_700_000_000))
        .claim("name", json!("Alice Liddell"))
        .claim("picture", json!("https://lh3.example/alice"))
        .claim("firebase", json!({"identities": {"google.com": ["1"]}, "sign_in_provider": "google.com"}))
}

async fn connect_refusal(ws: &str, token: &str) -> Result<(u16, String)> {
    match Client::connect(ws, token).await {
        Err(ref error @ ClientError::Refused { status, .. }) => {
            let why = if error.reason().is_empty() { error.code() } else { error.reason() };
            Ok((status, why.to_owned()))
        }
        other => bail!("the handshake was not refused: {:?}", other.err()),
    }
}

#[tokio::test]
async fn firebase_id_token_is_accepted_by_configuration_alone() -> Result<()> {
    let key = SigningKey::rs256("firebase-1")?;
    let keys = KeyServer::start(&[&key]).await?;
    let stack = firebase_stack(&keys).start().await?;
    let (ws, token) = (stack.gateway(0).ws(), firebase_token("alice").sign_with(&key));
    for by in [TokenBy::Header, TokenBy::Query, TokenBy::FirstFrame] {
        let client = Client::connect_by(by, &ws, &token).await?;
        let connected = client.connected();
        ensure!(connected.user == "alice", "{by:?}: {connected:?}");
        ensure!(connected.name.as_deref() == Some("Alice Liddell"), "{by:?}: {connected:?}");
    }
    let http = Http::new(&stack.persistence(0).url(), &token);
    let room = http.new_room(&["bob"]).await?;
    let members = http.members(&room, "").await?.expect(200).body;
    let alice = &members["members"][0];
    ensure!(alice["picture"] == "https://lh3.example/alice", "{members}");
    // Each node fetched the keys once. The requests since then caused no fetch.
    ensure!(keys.request_count() == 2, "{} fetches", keys.request_count());

    let other_audience = firebase_token("alice").claim("aud", json!("another-project")).sign_with(&key);
    ensure!(connect_refusal(&ws, &other_audience).await? == (401, "claims".to_owned()));
    let other_issuer =
        firebase_token("alice").claim("iss", json!("https://securetoken.google.com/another")).sign_with(&key);
    let answer = http.with_token(&other_issuer).my_rooms("").await?.expect(401);
    ensure!(answer.body["reason"] == "claims", "{}", answer.body);
    Ok(())
}

#[tokio::test]
async fn rotated_key_is_fetched_on_first_use_and_old_key_ends() -> Result<()> {
    let (old, new) = (SigningKey::es256("march")?, SigningKey::eddsa("april")?);
    let keys = KeyServer::start(&[&old]).await?;
    let stack = firebase_stack(&keys).start().await?;
    let ws = stack.gateway(0).ws();
    let short = |key: &SigningKey| firebase_token("alice").ttl_s(10).sign_with(key);
    let renewed = Client::connect(&ws, &short(&old)).await?;
    let left_alone = Client::connect(&ws, &short(&old)).await?;

    keys.set_keys(&[&new]);
    let long = firebase_token("alice").sign_with(&new);
    renewed.renew(&long).await?;
    Client::connect(&ws, &long).await?.ping().await?;
    Http::new(&stack.persistence(0).url(), &long).my_rooms("").await?.expect(200);

    // A key that is published just after a fetch is used too: its token waits for the next fetch.
    let newest = SigningKey::es256("may")?;
    keys.set_keys(&[&new, &newest]);
    Client::connect(&ws, &firebase_token("alice").sign_with(&newest)).await?.ping().await?;

    // The old key is withdrawn.
    let refusal = connect_refusal(&ws, &firebase_token("alice").sign_with(&old)).await?;
    ensure!(refusal == (401, "unknown_key".to_owned()), "{refusal:?}");

    // The renewed connection stays. A failed renewal changes nothing, and a token of another user is refused.
    let other = renewed.renew(&firebase_token("bob").sign_with(&new)).await.err();
    ensure!(other.as_ref().is_some_and(|error| error.reason() == "user_changed"), "{other:?}");
    let withdrawn = renewed.renew(&firebase_token("alice").sign_with(&old)).await.err();
    ensure!(withdrawn.as_ref().is_some_and(|error| error.reason() == "unknown_key"), "{withdrawn:?}");
    ensure!(left_alone.until_closed().await?.code == Some(4401));
    tokio::time::sleep(Duration::from_secs(1)).await;
    renewed.ping().await?;
    Ok(())
}

#[tokio::test]
async fn failed_renewal_keeps_old_token_valid_until_expiry() -> Result<()> {
    let (key, unknown_key) = (SigningKey::es256("march")?, SigningKey::es256("other")?);
    let keys = KeyServer::start(&[&key]).await?;
    let stack = firebase_stack(&keys).start().await?;
    let client =
        Client::connect(&stack.gateway(0).ws(), &firebase_token("alice").ttl_s(5).sign_with(&key)).await?;
    let error = client.renew(&firebase_token("alice").sign_with(&unknown_key)).await.err();
    ensure!(error.as_ref().is_some_and(|error| error.reason() == "unknown_key"), "{error:?}");
    client.ping().await?;
    ensure!(client.until_closed().await?.code == Some(4401));
    Ok(())
}

#[tokio::test]
async fn unknown_key_flood_fetches_keys_once_per_interval() -> Result<()> {
    let key = SigningKey::es256("known")?;
    let keys = KeyServer::start(&[&key]).await?;
    let stack = firebase_stack(&keys).persistence(1).start().await?;
    let ws = stack.gateway(0).ws();
    let started = Instant::now();
    let (before, mut attempts) = (keys.request_count(), tokio::task::JoinSet::new());
    for n in 0..100 {
        let (ws, token) =
            (ws.clone(), firebase_token("alice").sign_with(&SigningKey::es256(&format!("k{n}"))?));
        attempts.spawn(async move { connect_refusal(&ws, &token).await });
    }
    while let Some(answer) = attempts.join_next().await {
        let answer = answer??;
        ensure!(answer == (401, "unknown_key".to_owned()), "{answer:?}");
    }
    // A token with a known key is accepted without a fetch.
    Client::connect(&ws, &firebase_token("alice").sign_with(&key)).await?.ping().await?;
    let max_fetches = 1 + usize::try_from(started.elapsed().as_secs() / MIN_FETCH_INTERVAL.as_secs())?;
    ensure!(
        keys.request_count() - before <= max_fetches,
        "{} fetches, at most {max_fetches} allowed",
        keys.request_count() - before
    );

    // A token with an unknown key in the first frame gets an error, and then a close.
    let client = Client::connect_by(TokenBy::Nothing, &ws, "").await?;
    let token = firebase_token("alice").sign_with(&SigningKey::es256("none")?);
    client.send_json(&json!({"type": "auth", "token": token, "ref": "r"})).await?;
    match client.next_event(WAIT_TIMEOUT).await? {
        ServerFrame::Error(error) => {
            ensure!(
                error.code == "unauthorized" && error.reason.as_deref() == Some("unknown_key"),
                "{error:?}"
            );
        }
        other => bail!("{other:?}"),
    }
    ensure!(client.until_closed().await?.code == Some(4401));
    Ok(())
}

/// The forged tokens use only what is public and keys that the server does not know.
#[tokio::test]
async fn forged_token_is_refused_over_http_handshake_and_frame() -> Result<()> {
    let (ours, mallory) = (SigningKey::rs256("ours")?, SigningKey::rs256("mallory")?);
    let keys = KeyServer::start(&[&ours]).await?;
    let stack = firebase_stack(&keys).start().await?;
    let claims = firebase_token("alice").claims().clone();
    let modulus = ours.public_jwk()["n"].as_str().unwrap_or_default().to_owned();
    let hmac = |header: Value, secret: &[u8]| sign_hmac_token(&header, &claims, secret);
    let none = {
        let token = ours.sign_as(&json!({"alg": "none", "kid": "ours"}), &claims);
        format!("{}.", token.rsplit_once('.').map_or("", |(signed, _)| signed))
    };
    let with = |more: Value| {
        let mut header = json!({"alg": "RS256", "typ": "JWT", "kid": "ours"});
        header
            .as_object_mut()
            .into_iter()
            .for_each(|header| header.extend(more.as_object().cloned().unwrap_or_default()));
        mallory.sign_as(&header, &claims)
    };
    let huge = ours.sign(&{
        let mut claims = claims.clone();
        claims.insert("more".to_owned(), json!("x".repeat(9000)));
        claims
    });
    let cases = [
        ("no algorithm", none, "algorithm"),
        (
            "a public key as a secret",
            hmac(json!({"alg": "HS256", "kid": "ours"}), modulus.as_bytes()),
            "algorithm",
        ),
        (
            "an empty secret by a path",
            hmac(json!({"alg": "HS256", "kid": "../../dev/null"}), b""),
            "algorithm",
        ),
        ("the attacker's key in the header", with(json!({"jwk": mallory.public_jwk()})), "signature"),
        (
            "the attacker's key behind a URL",
            with(json!({"jku": "http://127.0.0.1:9/", "kid": "mallory"})),
            "unknown_key",
        ),
        ("a certificate behind a URL", with(json!({"x5u": "http://127.0.0.1:9/"})), "signature"),
        ("an id that is SQL", with(json!({"kid": "' OR 1=1 --"})), "unknown_key"),
        ("an id that is a path", with(json!({"kid": "../../../etc/passwd"})), "unknown_key"),
        (
            "a critical extension",
            ours.sign_as(&json!({"alg": "RS256", "kid": "ours", "crit": ["x"], "x": 1}), &claims),
            "malformed",
        ),
        ("a huge token", huge, "malformed"),
        ("the provider's id, mallory's signature", with(json!({})), "signature"),
    ];
    let (ws, http) = (stack.gateway(0).ws(), Http::new(&stack.persistence(0).url(), ""));
    for (name, token, reason) in cases {
        let answer = http.with_token(&token).my_rooms("").await?.expect(401);
        ensure!(answer.body["reason"] == reason, "{name} over HTTP: {}", answer.body);
        ensure!(connect_refusal(&ws, &token).await? == (401, reason.to_owned()), "{name} in the handshake");
        let client = Client::connect_by(TokenBy::Nothing, &ws, "").await?;
        let error = client.ask(json!({"type": "auth", "token": token})).await.err();
        ensure!(error.as_ref().is_some_and(|error| error.reason() == reason), "{name} as a frame: {error:?}");
        ensure!(client.until_closed().await?.code == Some(4401), "{name}");
    }
    Client::connect(&ws, &ours.sign(&claims)).await?.ping().await?;
    Ok(())
}

fn sign_hmac_token(header: &Value, claims: &Map<String, Value>, secret: &[u8]) -> String {
    use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
    let part = |text: String| URL_SAFE_NO_PAD.encode(text);
    let signed = format!("{}.{}", part(header.to_string()), part(Value::Object(claims.clone()).to_string()));
    let key = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, secret);
    format!("{signed}.{}", URL_SAFE_NO_PAD.encode(aws_lc_rs::hmac::sign(&key, signed.as_bytes())))
}

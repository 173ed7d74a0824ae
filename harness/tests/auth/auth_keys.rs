//! Tokens whose keys are those of an identity provider, fetched from its address: all ways in, rotation, attacks.
//! Touches a whole stack and a key server of its own.

use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};
use serde_json::{Map, Value, json};
use tidings_harness::jwks::{KeyServer, SigningKey};
use tidings_harness::stack::StackBuilder;
use tidings_harness::{Client, ClientError, Http, ServerFrame, Stack, Token, TokenBy};

const PATIENCE: Duration = Duration::from_secs(10);
/// Tokens make a node ask for keys no more often.
const FLOOR: Duration = Duration::from_secs(10);
const PROJECT: &str = "tea-party";

/// A Firebase project, by configuration alone: the settings of docs/TOKENS.md with another address of keys.
fn firebase(keys: &KeyServer) -> StackBuilder {
    Stack::builder()
        .env("TIDINGS_JWT_SECRET", "")
        .env("TIDINGS_JWKS_URL", keys.url())
        .env("TIDINGS_JWT_ISSUER", format!("https://securetoken.google.com/{PROJECT}"))
        .env("TIDINGS_JWT_AUDIENCE", PROJECT)
}

/// An ID token as Firebase mints it.
fn id_token(user: &str) -> Token {
    Token::of(user)
        .claim("iss", json!(format!("https://securetoken.google.com/{PROJECT}")))
        .claim("aud", json!(PROJECT))
        .claim("user_id", json!(user))
        .claim("auth_time", json!(1_700_000_000))
        .claim("name", json!("Alice Liddell"))
        .claim("picture", json!("https://lh3.example/alice"))
        .claim("firebase", json!({"identities": {"google.com": ["1"]}, "sign_in_provider": "google.com"}))
}

async fn refused(ws: &str, token: &str) -> Result<(u16, String)> {
    match Client::connect(ws, token).await {
        Err(ref error @ ClientError::Refused { status, .. }) => {
            let why = if error.reason().is_empty() { error.code() } else { error.reason() };
            Ok((status, why.to_owned()))
        }
        other => bail!("not refused: {:?}", other.err()),
    }
}

#[tokio::test]
async fn a_firebase_id_token_is_taken_on_every_way_in_by_configuration_alone() -> Result<()> {
    let key = SigningKey::rs256("firebase-1")?;
    let keys = KeyServer::start(&[&key]).await?;
    let stack = firebase(&keys).start().await?;
    let (ws, token) = (stack.gateway(0).ws(), id_token("alice").sign_with(&key));
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
    // One fetch per node: nobody else had to ask.
    ensure!(keys.asked() == 2, "{} fetches", keys.asked());

    let elsewhere = id_token("alice").claim("aud", json!("another-project")).sign_with(&key);
    ensure!(refused(&ws, &elsewhere).await? == (401, "claims".to_owned()));
    let forged =
        id_token("alice").claim("iss", json!("https://securetoken.google.com/another")).sign_with(&key);
    let answer = http.with_token(&forged).my_rooms("").await?.expect(401);
    ensure!(answer.body["reason"] == "claims", "{}", answer.body);
    Ok(())
}

#[tokio::test]
async fn a_new_key_is_found_with_the_first_token_that_names_it_and_the_old_one_ends() -> Result<()> {
    let (old, new) = (SigningKey::es256("march")?, SigningKey::eddsa("april")?);
    let keys = KeyServer::start(&[&old]).await?;
    let stack = firebase(&keys).start().await?;
    let ws = stack.gateway(0).ws();
    let short = |key: &SigningKey| id_token("alice").ttl_s(10).sign_with(key);
    let renewed = Client::connect(&ws, &short(&old)).await?;
    let left_alone = Client::connect(&ws, &short(&old)).await?;

    keys.hold(&[&new]);
    let looked = Instant::now();
    let long = id_token("alice").sign_with(&new);
    renewed.renew(&long).await?;
    Client::connect(&ws, &long).await?.ping().await?;
    Http::new(&stack.persistence(0).url(), &long).my_rooms("").await?.expect(200);

    // The old key is withdrawn. Within ten seconds of a look nobody looks again: it is refused out of hand.
    let before = keys.asked();
    ensure!(refused(&ws, &id_token("alice").sign_with(&old)).await? == (401, "unknown_key".to_owned()));
    ensure!(keys.asked() == before || looked.elapsed() > FLOOR);

    // Who was renewed stays; a bad renewal changes nothing; another's token does not make one somebody else.
    let other = renewed.renew(&id_token("bob").sign_with(&new)).await.err();
    ensure!(other.as_ref().is_some_and(|error| error.reason() == "user_changed"), "{other:?}");
    let withdrawn = renewed.renew(&id_token("alice").sign_with(&old)).await.err();
    ensure!(withdrawn.as_ref().is_some_and(|error| error.reason() == "unknown_key"), "{withdrawn:?}");
    ensure!(left_alone.until_closed().await?.code == Some(4401));
    tokio::time::sleep(Duration::from_secs(1)).await;
    renewed.ping().await?;
    Ok(())
}

#[tokio::test]
async fn a_failed_renewal_leaves_the_old_token_valid_until_it_expires() -> Result<()> {
    let (key, stranger) = (SigningKey::es256("march")?, SigningKey::es256("stranger")?);
    let keys = KeyServer::start(&[&key]).await?;
    let stack = firebase(&keys).start().await?;
    let client = Client::connect(&stack.gateway(0).ws(), &id_token("alice").ttl_s(5).sign_with(&key)).await?;
    let error = client.renew(&id_token("alice").sign_with(&stranger)).await.err();
    ensure!(error.as_ref().is_some_and(|error| error.reason() == "unknown_key"), "{error:?}");
    client.ping().await?;
    ensure!(client.until_closed().await?.code == Some(4401));
    Ok(())
}

#[tokio::test]
async fn a_flood_of_unknown_keys_asks_the_provider_hardly_more_than_once() -> Result<()> {
    let key = SigningKey::es256("known")?;
    let keys = KeyServer::start(&[&key]).await?;
    let stack = firebase(&keys).persistence(1).start().await?;
    let ws = stack.gateway(0).ws();
    let started = Instant::now();
    let (before, mut attempts) = (keys.asked(), tokio::task::JoinSet::new());
    for n in 0..100 {
        let (ws, token) = (ws.clone(), id_token("alice").sign_with(&SigningKey::es256(&format!("k{n}"))?));
        attempts.spawn(async move { refused(&ws, &token).await });
    }
    while let Some(answer) = attempts.join_next().await {
        let answer = answer??;
        ensure!(answer == (401, "unknown_key".to_owned()), "{answer:?}");
    }
    // Meanwhile whoever has a known key is not held up.
    Client::connect(&ws, &id_token("alice").sign_with(&key)).await?.ping().await?;
    let most = 1 + usize::try_from(started.elapsed().as_secs() / FLOOR.as_secs())?;
    ensure!(keys.asked() - before <= most, "{} fetches, at most {most}", keys.asked() - before);

    // As a first frame the same is an error and a close.
    let client = Client::connect_by(TokenBy::Nothing, &ws, "").await?;
    let token = id_token("alice").sign_with(&SigningKey::es256("none")?);
    client.send_json(&json!({"type": "auth", "token": token, "ref": "r"})).await?;
    match client.next_event(PATIENCE).await? {
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

/// Mallory knows everything that is public and has keys of their own.
#[tokio::test]
async fn what_mallory_signs_is_refused_on_every_way_in() -> Result<()> {
    let (ours, mallory) = (SigningKey::rs256("ours")?, SigningKey::rs256("mallory")?);
    let keys = KeyServer::start(&[&ours]).await?;
    let stack = firebase(&keys).start().await?;
    let claims = id_token("alice").claims().clone();
    let modulus = ours.public_jwk()["n"].as_str().unwrap_or_default().to_owned();
    let hmac = |header: Value, secret: &[u8]| hmac_token(&header, &claims, secret);
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
        ("a key of its own in the header", with(json!({"jwk": mallory.public_jwk()})), "signature"),
        (
            "its key behind a URL",
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
        ensure!(refused(&ws, &token).await? == (401, reason.to_owned()), "{name} in the handshake");
        let client = Client::connect_by(TokenBy::Nothing, &ws, "").await?;
        let error = client.ask(json!({"type": "auth", "token": token})).await.err();
        ensure!(error.as_ref().is_some_and(|error| error.reason() == reason), "{name} as a frame: {error:?}");
        ensure!(client.until_closed().await?.code == Some(4401), "{name}");
    }
    Client::connect(&ws, &ours.sign(&claims)).await?.ping().await?;
    Ok(())
}

fn hmac_token(header: &Value, claims: &Map<String, Value>, secret: &[u8]) -> String {
    use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
    let part = |text: String| URL_SAFE_NO_PAD.encode(text);
    let signed = format!("{}.{}", part(header.to_string()), part(Value::Object(claims.clone()).to_string()));
    let key = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, secret);
    format!("{signed}.{}", URL_SAFE_NO_PAD.encode(aws_lc_rs::hmac::sign(&key, signed.as_bytes())))
}

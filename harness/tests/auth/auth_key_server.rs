//! The key server is down or slow, or its answers are wrong or never end. Nodes keep the last good keys and accept
//! tokens that these keys signed. Other tokens get `unavailable`. Nodes verify the TLS certificate of the key server.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde_json::json;
use tidings_harness::jwks::{KeyServer, ServerBehaviour, SigningKey};
use tidings_harness::stack::StackBuilder;
use tidings_harness::{Client, ClientError, Http, ServerFrame, Stack, Token, TokenBy};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::{self, pki_types::PrivatePkcs8KeyDer};

const WAIT_TIMEOUT: Duration = Duration::from_secs(15);

/// Builds a stack that accepts tokens signed with its own secret, and tokens signed with the keys that `url` serves.
fn stack_with_keys_at(url: &str) -> StackBuilder {
    Stack::builder().env("TIDINGS_JWKS_URL", url).env("TIDINGS_JWT_AUDIENCE", "tidings")
}

fn token(user: &str) -> Token {
    Token::of(user).claim("aud", json!("tidings"))
}

/// Connects with a token that must be refused. Returns the status, the reason (or the code, if there is no reason), and
/// `Retry-After` in seconds.
async fn connect_refusal(ws: &str, token: &str) -> Result<(u16, String, Option<u64>)> {
    match Client::connect(ws, token).await {
        Err(ref error @ ClientError::Refused { status, retry_after_s, .. }) => {
            let why = if error.reason().is_empty() { error.code() } else { error.reason() };
            Ok((status, why.to_owned(), retry_after_s))
        }
        other => bail!("the handshake was not refused: {:?}", other.err()),
    }
}

async fn connect_when_available(ws: &str, token: &str) -> Result<Client> {
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        match Client::connect(ws, token).await {
            Ok(client) => return Ok(client),
            Err(ClientError::Refused { status: 503, .. }) if Instant::now() < deadline => {}
            Err(error) => bail!("{error}"),
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

// Covers: 1013, unavailable.
#[tokio::test]
async fn token_before_first_keys_is_unavailable_not_unauthorized() -> Result<()> {
    let key = SigningKey::es256("k")?;
    let keys = KeyServer::start(&[&key]).await?;
    keys.set_behaviour(ServerBehaviour::Down);
    let stack = stack_with_keys_at(keys.url()).start().await?;
    let (ws, good) = (stack.gateway(0).ws(), token("alice").sign_with(&key));

    let (status, code, retry_after_s) = connect_refusal(&ws, &good).await?;
    ensure!((status, code.as_str()) == (503, "unavailable") && retry_after_s.is_some());
    let answer = Http::new(&stack.persistence(0).url(), &good).my_rooms("").await?.expect(503);
    ensure!(answer.code() == "unavailable" && answer.body["retry_after_ms"].is_u64(), "{}", answer.body);
    let client = Client::connect_by(TokenBy::Nothing, &ws, "").await?;
    client.send_json(&json!({"type": "auth", "token": good})).await?;
    match client.next_event(WAIT_TIMEOUT).await? {
        ServerFrame::Error(error) => ensure!(error.code == "unavailable", "{error:?}"),
        other => bail!("{other:?}"),
    }
    ensure!(client.until_closed().await?.code == Some(1013));

    // Tokens of a shared secret need no fetched key: a valid one is accepted, an invalid one is refused with a reason.
    let with_secret = token("bob").sign(stack.jwt_secret());
    let bob = Client::connect(&ws, &with_secret).await?;
    ensure!(
        connect_refusal(&ws, &token("bob").sign("another secret of 32 bytes or so")).await?.1 == "signature"
    );
    let renewal = bob.renew(&token("bob").sign_with(&key)).await.err();
    ensure!(renewal.as_ref().is_some_and(|error| error.code() == "unavailable"), "{renewal:?}");
    bob.ping().await?;

    keys.set_behaviour(ServerBehaviour::Normal);
    connect_when_available(&ws, &good).await?.ping().await?;
    let unknown_key = token("alice").sign_with(&SigningKey::es256("other")?);
    let (status, reason, _) = connect_refusal(&ws, &unknown_key).await?;
    ensure!((status, reason.as_str()) == (401, "unknown_key"));
    Ok(())
}

#[tokio::test]
async fn node_without_keys_is_unready_and_awaits_slow_key_server() -> Result<()> {
    let key = SigningKey::es256("k")?;
    let keys = Arc::new(KeyServer::start(&[&key]).await?);
    keys.set_behaviour(ServerBehaviour::Silent);
    let served = Arc::new(AtomicBool::new(false));
    let (turning, turned) = (keys.clone(), served.clone());
    tokio::spawn(async move {
        while turning.request_count() < 1 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        tokio::time::sleep(Duration::from_secs(2)).await;
        turned.store(true, Ordering::SeqCst);
        turning.set_behaviour(ServerBehaviour::Normal);
    });
    // `start` returns when the nodes are ready: the first fetch times out, the second is answered.
    let stack = stack_with_keys_at(keys.url()).env("TIDINGS_JWT_SECRET", "").start().await?;
    ensure!(served.load(Ordering::SeqCst), "a node was ready before it had keys");
    ensure!(keys.request_count() >= 3, "{} fetches", keys.request_count());

    keys.set_behaviour(ServerBehaviour::Slow(Duration::from_secs(2)));
    let new = SigningKey::es256("new")?;
    keys.set_keys(&[&key, &new]);
    Client::connect(&stack.gateway(0).ws(), &token("alice").sign_with(&new)).await?.ping().await?;
    Ok(())
}

#[tokio::test]
async fn last_good_keys_survive_key_server_failures() -> Result<()> {
    let key = SigningKey::es256("k")?;
    let other = KeyServer::start(&[&SigningKey::es256("other")?]).await?;
    for behaviour in [
        ServerBehaviour::Down,
        ServerBehaviour::Endless,
        ServerBehaviour::Wrong(200, "<html>".to_owned()),
        ServerBehaviour::Wrong(200, r#"{"keys":[]}"#.to_owned()),
        ServerBehaviour::Wrong(
            200,
            r#"{"keys":[{"kty":"oct","kid":"new","k":"c2VjcmV0c2VjcmV0c2VjcmV0"}]}"#.to_owned(),
        ),
        ServerBehaviour::Wrong(500, String::new()),
        ServerBehaviour::Elsewhere(other.url().to_owned()),
    ] {
        let keys = KeyServer::start(&[&key]).await?;
        let stack = stack_with_keys_at(keys.url()).start().await?;
        let ws = stack.gateway(0).ws();
        keys.set_behaviour(behaviour.clone());
        let asked = keys.request_count();
        // An unknown key id makes the gateway fetch the keys. The answer is unusable, so the gateway keeps the old
        // keys.
        let unknown_key = token("alice").sign_with(&SigningKey::es256("new")?);
        let (status, code, _) = connect_refusal(&ws, &unknown_key).await?;
        ensure!((status, code.as_str()) == (503, "unavailable"), "{behaviour:?}: {status} {code}");
        ensure!(keys.request_count() == asked + 1, "{behaviour:?}");
        Client::connect(&ws, &token("alice").sign_with(&key)).await?.ping().await?;
        // A node reads at most 1 MiB. The test allows more, because the kernel buffers bytes that the node never reads.
        ensure!(keys.sent_bytes() < 16 * 1024 * 1024, "{behaviour:?}: {} bytes were read", keys.sent_bytes());
    }
    ensure!(other.request_count() == 0, "a redirect was followed");
    Ok(())
}

#[tokio::test]
async fn silent_key_server_delays_handshake_five_seconds_at_most() -> Result<()> {
    let key = SigningKey::es256("k")?;
    let keys = KeyServer::start(&[&key]).await?;
    let stack = stack_with_keys_at(keys.url()).start().await?;
    keys.set_behaviour(ServerBehaviour::Silent);
    let unknown_key = token("alice").sign_with(&SigningKey::es256("new")?);
    let asked = Instant::now();
    let (status, code, _) = connect_refusal(&stack.gateway(0).ws(), &unknown_key).await?;
    ensure!((status, code.as_str()) == (503, "unavailable"), "{status} {code}");
    ensure!(asked.elapsed() < WAIT_TIMEOUT, "{:?}", asked.elapsed());
    // Tokens with known keys are still accepted without a fetch.
    Client::connect(&stack.gateway(0).ws(), &token("alice").sign_with(&key)).await?.ping().await?;
    Ok(())
}

#[tokio::test]
async fn key_server_with_untrusted_certificate_is_refused() -> Result<()> {
    let key = SigningKey::es256("k")?;
    let keys = KeyServer::start(&[&key]).await?;
    let rcgen::CertifiedKey { cert, signing_key } =
        rcgen::generate_simple_self_signed(vec!["localhost".to_owned()])?;
    let port = start_tls_proxy(keys.url(), &cert, &signing_key).await?;
    let url = format!("https://localhost:{port}/keys");
    let folder = tempfile::tempdir()?;
    let trusted = folder.path().join("trusted.pem");
    std::fs::write(&trusted, cert.pem())?;
    let good = token("alice").sign_with(&key);

    let stack = stack_with_keys_at(&url).env("SSL_CERT_FILE", trusted.display()).start().await?;
    connect_when_available(&stack.gateway(0).ws(), &good).await?.ping().await?;
    Http::new(&stack.persistence(0).url(), &good).my_rooms("").await?.expect(200);

    let other = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()])?;
    std::fs::write(&trusted, other.cert.pem())?;
    let asked = keys.request_count();
    let stack = stack_with_keys_at(&url).env("SSL_CERT_FILE", trusted.display()).start().await?;
    let (status, code, _) = connect_refusal(&stack.gateway(0).ws(), &good).await?;
    ensure!((status, code.as_str()) == (503, "unavailable"), "{status} {code}");
    ensure!(keys.request_count() == asked, "the untrusted server was asked");
    Ok(())
}

/// Starts a TLS proxy in front of a local server; returns its port.
async fn start_tls_proxy(url: &str, cert: &rcgen::Certificate, key: &rcgen::KeyPair) -> Result<u16> {
    let inner = url.split('/').nth(2).context("a URL with a host")?.to_owned();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let key = PrivatePkcs8KeyDer::from(key.serialize_der());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(vec![cert.der().clone()], key.into())?;
    let (acceptor, listener) = (TlsAcceptor::from(Arc::new(config)), TcpListener::bind("127.0.0.1:0").await?);
    let port = listener.local_addr()?.port();
    tokio::spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            let (acceptor, inner) = (acceptor.clone(), inner.clone());
            tokio::spawn(async move {
                let mut outer = acceptor.accept(socket).await?;
                let mut inner = TcpStream::connect(inner).await?;
                tokio::io::copy_bidirectional(&mut outer, &mut inner).await
            });
        }
    });
    Ok(port)
}

//! TLS between gateways and persistence, with real certificates: wrong ones are refused by either side, plain HTTP is
//! refused, and certificates and authorities are replaced while messages flow.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use rstest::rstest;
use secrecy::SecretString;
use tidings_harness::tls::{Authority, Identity};
use tidings_harness::{Client, Node, Service, Stack, Token, http};
use tidings_shared::ids::{Epoch, UserId};
use tidings_shared::internal::{InternalClient, tls::ClientTlsArgs};

use crate::secret_volume::{SecretVolume, until_in_use, until_metric};

const WAIT_TIMEOUT: Duration = Duration::from_secs(10);
const HOST: &str = "127.0.0.1";

/// The files of one side: its certificate, the key, and the authorities by which it checks the other side.
fn volume(identity: &Identity, trusted: &[&Authority]) -> Result<SecretVolume> {
    let trusted: String = trusted.iter().map(|authority| authority.pem()).collect();
    SecretVolume::new(&[("cert", &identity.certificate), ("key", &identity.key), ("ca", &trusted)])
}

/// A stack without gateways, whose persistence demands certificates of gateways if `is_mutual`.
async fn start_persistence(files: &SecretVolume, is_mutual: bool) -> Result<Stack> {
    let mut stack = Stack::builder()
        .gateways(0)
        .persistence_env("TIDINGS_INTERNAL_TLS_CERT", files.path("cert"))
        .persistence_env("TIDINGS_INTERNAL_TLS_KEY", files.path("key"));
    if is_mutual {
        stack = stack.persistence_env("TIDINGS_INTERNAL_TLS_CLIENT_CA", files.path("ca"));
    }
    stack.start().await
}

fn internal_url(stack: &Stack, host: &str) -> String {
    format!("https://{host}:{}", stack.persistence(0).ports().internal)
}

/// The error of a request to persistence, or nothing if it is answered.
async fn request_error(
    stack: &Stack,
    host: &str,
    files: &SecretVolume,
    has_identity: bool,
) -> Result<String> {
    let file = |name: &str| Some(PathBuf::from(files.path(name)));
    let tls = ClientTlsArgs {
        internal_tls_ca: file("ca"),
        internal_tls_client_cert: has_identity.then(|| file("cert")).flatten(),
        internal_tls_client_key: has_identity.then(|| file("key")).flatten(),
    };
    let (config, _) = tls.load().map_err(anyhow::Error::msg)?.context("TLS is off")?;
    let secret = SecretString::from(stack.internal_secret().to_owned());
    let client = InternalClient::with_access(&[internal_url(stack, host)], secret.into(), Some(config))?;
    let answer = client.rooms(&UserId::parse("alice")?, Epoch(1)).await;
    Ok(answer.err().map(|error| format!("{error:?}")).unwrap_or_default())
}

/// Starts a gateway that reaches persistence by TLS.
async fn start_gateway(stack: &Stack, name: &str, files: &SecretVolume) -> Result<Node> {
    let settings = [
        ("REDIS_URL", stack.shards().services_url()),
        ("TIDINGS_JWT_SECRET", stack.jwt_secret().to_owned()),
        ("TIDINGS_INTERNAL_SECRET", stack.internal_secret().to_owned()),
        ("TIDINGS_PERSISTENCE_URLS", internal_url(stack, HOST)),
        ("TIDINGS_WORKERS", "2".to_owned()),
        ("TIDINGS_DRAIN_MS", "1000".to_owned()),
        ("TIDINGS_INTERNAL_TLS_CA", files.path("ca")),
        ("TIDINGS_INTERNAL_TLS_CLIENT_CERT", files.path("cert")),
        ("TIDINGS_INTERNAL_TLS_CLIENT_KEY", files.path("key")),
    ];
    let settings: Vec<_> = settings.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
    Node::start(Service::Gateway, stack.folder(), name, &settings).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn wrong_certificate_of_persistence_is_refused() -> Result<()> {
    let (ours, other) = (Authority::new("ours")?, Authority::new("other")?);
    let gateway = ours.identity(&["gateway"])?;
    let trusting = volume(&gateway, &[&ours])?;
    for (identity, host, error) in [
        (ours.identity(&[HOST])?, HOST, ""),
        (other.identity(&[HOST])?, HOST, "UnknownIssuer"),
        (ours.expired_identity(&[HOST])?, HOST, "expired"),
        (ours.identity(&["another.example"])?, HOST, "not valid for name"),
        (ours.identity(&["localhost"])?, "localhost", ""),
    ] {
        let stack = start_persistence(&volume(&identity, &[&ours])?, false).await?;
        let found = request_error(&stack, host, &trusting, false).await?;
        ensure!(found.contains(error) && found.is_empty() == error.is_empty(), "{error:?}: {found}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn gateway_without_valid_certificate_is_refused() -> Result<()> {
    let (ours, other) = (Authority::new("ours")?, Authority::new("other")?);
    let server = volume(&ours.identity(&[HOST])?, &[&ours])?;
    let stack = start_persistence(&server, true).await?;
    let client = |identity: Identity| volume(&identity, &[&ours]);
    let valid = client(ours.identity(&["gateway"])?)?;
    ensure!(request_error(&stack, HOST, &valid, true).await?.is_empty());
    ensure!(!request_error(&stack, HOST, &valid, false).await?.is_empty(), "no certificate is accepted");
    for wrong in [other.identity(&["gateway"])?, ours.expired_identity(&["gateway"])?] {
        ensure!(!request_error(&stack, HOST, &client(wrong)?, true).await?.is_empty());
    }
    ensure!(
        request_error(&stack, HOST, &valid, true).await?.is_empty(),
        "the listener refuses everybody now"
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn plain_request_is_refused_with_and_without_secret() -> Result<()> {
    let ours = Authority::new("ours")?;
    let stack = start_persistence(&volume(&ours.identity(&[HOST])?, &[&ours])?, false).await?;
    for secret in [stack.internal_secret(), "wrong"] {
        let url = format!("{}/internal/v1/rooms", stack.persistence(0).internal());
        let request = http::client().post(url).body(r#"{"user":"alice"}"#);
        let answer = request.header(tidings_shared::internal::SECRET_HEADER, secret).send().await;
        ensure!(answer.is_err(), "plain HTTP is answered: {answer:?}");
    }
    Ok(())
}

#[rstest]
#[case::authority_of_persistence(true)]
#[case::authority_of_gateways(false)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn authority_is_replaced_while_messages_flow(#[case] of_persistence: bool) -> Result<()> {
    let (old, new) = (Authority::new("old")?, Authority::new("new")?);
    let old_server = old.identity(&[HOST])?;
    let mut server = volume(&old_server, &[&old])?;
    let mut client = volume(&old.identity(&["gateway"])?, &[&old])?;
    let stack = start_persistence(&server, true).await?;
    let gateways = [
        start_gateway(&stack, "gateway-0", &client).await?,
        start_gateway(&stack, "gateway-1", &client).await?,
    ];
    let room = stack.http("alice").new_room(&["bob"]).await?;
    let alice = Client::connect(&gateways[0].ws(), &stack.token("alice")).await?;
    let bob = Client::connect(&gateways[1].ws(), &stack.token("bob")).await?;
    alice.join_and_catch_up(&room).await?;
    bob.join_and_catch_up(&room).await?;
    let check = async |step: &str| -> Result<()> {
        for (number, gateway) in gateways.iter().enumerate() {
            let user = format!("{step}-{number}");
            let token = Token::of(&user).sign(stack.jwt_secret());
            Client::connect(&gateway.ws(), &token).await?.join_mine().await?;
        }
        alice.send(&room, step).await?;
        bob.wait_for("message:new", WAIT_TIMEOUT).await?;
        ensure!(alice.closed().is_none() && bob.closed().is_none(), "{step}: a connection was closed");
        Ok(())
    };
    check("before").await?;
    let ca = |authorities: &[&Authority]| -> String { authorities.iter().map(|it| it.pem()).collect() };
    // The side that checks trusts both authorities, then the other side changes, then the old authority is removed.
    let identity = new.identity(&[HOST, "gateway"])?;
    for (step, trusted, replaced) in [
        ("both", vec![&new, &old], false),
        ("replaced", vec![&new, &old], true),
        ("removed", vec![&new], true),
    ] {
        let (checking, proving) =
            if of_persistence { (&mut client, &mut server) } else { (&mut server, &mut client) };
        checking.publish(&[("ca", &ca(&trusted))])?;
        if replaced {
            proving.publish(&[("cert", &identity.certificate), ("key", &identity.key)])?;
        }
        let nodes = gateways.iter().chain(stack.persistence_nodes());
        for node in nodes {
            let is_gateway = node.service() == Service::Gateway;
            if is_gateway == of_persistence {
                let setting = if is_gateway { "internal-tls-ca" } else { "internal-tls-client-ca" };
                let ders = trusted.iter().map(|authority| authority.der()).collect::<Vec<_>>();
                until_in_use(node, setting, &ders.iter().map(Vec::as_slice).collect::<Vec<_>>()).await?;
            } else if replaced {
                let setting = if is_gateway { "internal-tls-client-cert" } else { "internal-tls-cert" };
                until_in_use(node, setting, &[&identity.der()?]).await?;
            }
        }
        check(step).await?;
    }
    // Gateways refuse a certificate of persistence by the removed authority, and persistence refuses one of a gateway.
    if of_persistence {
        server.publish(&[("cert", &old_server.certificate), ("key", &old_server.key)])?;
        until_in_use(stack.persistence(0), "internal-tls-cert", &[&old_server.der()?]).await?;
        let trusting_new = volume(&identity, &[&new])?;
        let error = request_error(&stack, HOST, &trusting_new, true).await?;
        ensure!(error.contains("UnknownIssuer"), "{error}");
    } else {
        let of_old = volume(&old.identity(&["gateway"])?, &[&old])?;
        ensure!(
            !request_error(&stack, HOST, &of_old, true).await?.is_empty(),
            "the old authority is accepted"
        );
        let of_new = volume(&identity, &[&old])?;
        ensure!(request_error(&stack, HOST, &of_new, true).await?.is_empty(), "the new authority is refused");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn certificate_without_its_key_keeps_old_certificate() -> Result<()> {
    let ours = Authority::new("ours")?;
    let mut server = volume(&ours.identity(&[HOST])?, &[&ours])?;
    let trusting = volume(&ours.identity(&["gateway"])?, &[&ours])?;
    let stack = start_persistence(&server, false).await?;
    let next = ours.identity(&[HOST])?;
    server.publish(&[("cert", &next.certificate)])?;
    let node = stack.persistence(0);
    until_metric(node, "_secret_reload_failing{files=\"internal-tls\"}", "1").await?;
    ensure!(request_error(&stack, HOST, &trusting, false).await?.is_empty());
    server.publish(&[("key", &next.key)])?;
    until_in_use(node, "internal-tls-cert", &[&next.der()?]).await?;
    until_metric(node, "_secret_reload_failing{files=\"internal-tls\"}", "0").await?;
    ensure!(request_error(&stack, HOST, &trusting, false).await?.is_empty());
    Ok(())
}

//! Secrets and token keys are replaced while nodes run: connections stay open, messages flow, and every node reports
//! what it uses. Each service has its own volume of secrets, so that tests choose which one changes first.

use std::path::Path;
use std::time::Duration;

use anyhow::{Result, ensure};
use rstest::rstest;
use serde_json::json;
use tidings_harness::jwks::{KeyServer, SigningKey};
use tidings_harness::play::run::{PlayOptions, Progress, Speed, play};
use tidings_harness::play::transcript;
use tidings_harness::socket_io::{SocketIo, SocketIoTransport};
use tidings_harness::stack::StackBuilder;
use tidings_harness::{Client, ClientError, Http, Node, Nodes, Service, Stack, Token, token};

use crate::secret_volume::{SecretVolume, until_in_use, until_metric};

const WAIT_TIMEOUT: Duration = Duration::from_secs(10);
const INTERNAL: &str = "internal-secret";
const TOKENS: &str = "jwt-secret";
const BOTH: [Service; 2] = [Service::Gateway, Service::Persistence];

/// The volumes of gateways and of persistence.
struct Volumes {
    gateway: SecretVolume,
    persistence: SecretVolume,
}

impl Volumes {
    fn new(internal: &str, tokens: &str) -> Result<Volumes> {
        let files = [(INTERNAL, internal), (TOKENS, tokens)];
        Ok(Volumes { gateway: SecretVolume::new(&files)?, persistence: SecretVolume::new(&files)? })
    }

    fn of(&mut self, service: Service) -> &mut SecretVolume {
        match service {
            Service::Gateway => &mut self.gateway,
            Service::Persistence => &mut self.persistence,
        }
    }

    /// A stack whose nodes read their secrets from these volumes.
    fn stack(&self) -> StackBuilder {
        let stack = Stack::builder().env("TIDINGS_INTERNAL_SECRET", "").env("TIDINGS_JWT_SECRET", "");
        stack
            .gateway_env("TIDINGS_INTERNAL_SECRET_FILE", self.gateway.path(INTERNAL))
            .gateway_env("TIDINGS_JWT_SECRET_FILE", self.gateway.path(TOKENS))
            .persistence_env("TIDINGS_INTERNAL_SECRET_FILE", self.persistence.path(INTERNAL))
            .persistence_env("TIDINGS_JWT_SECRET_FILE", self.persistence.path(TOKENS))
    }

    /// Gives these services these values of a secret, and waits until all their nodes use them.
    async fn rotate(
        &mut self,
        stack: &Stack,
        services: &[Service],
        name: &str,
        values: &[&str],
    ) -> Result<()> {
        for service in services {
            self.of(*service).publish(&[(name, &values.join("\n"))])?;
        }
        let values: Vec<&[u8]> = values.iter().map(|value| value.as_bytes()).collect();
        for node in services.iter().flat_map(|service| nodes_of(stack, *service)) {
            until_in_use(node, name, &values).await?;
        }
        Ok(())
    }
}

fn nodes_of(stack: &Stack, service: Service) -> &[Node] {
    match service {
        Service::Gateway => stack.gateways(),
        Service::Persistence => stack.persistence_nodes(),
    }
}

/// Sends a message, and waits until a connection on another gateway gets it.
async fn check_delivery(sender: &Client, receiver: &Client, room: &str, text: &str) -> Result<()> {
    sender.send(room, text).await?;
    loop {
        let event = receiver.wait_for("message:new", WAIT_TIMEOUT).await?;
        if format!("{event:?}").contains(text) {
            return Ok(());
        }
    }
}

/// Connects a user whom no gateway knows yet, which needs requests to persistence, and joins the rooms of the user.
async fn check_new_user(stack: &Stack, secret: &str, name: &str) -> Result<()> {
    for (number, gateway) in stack.gateways().iter().enumerate() {
        let client =
            Client::connect(&gateway.ws(), &Token::of(&format!("{name}-{number}")).sign(secret)).await?;
        client.join_mine().await?;
    }
    Ok(())
}

#[rstest]
#[case(Service::Gateway, Service::Persistence)]
#[case(Service::Persistence, Service::Gateway)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn internal_secret_rotates_in_either_order(
    #[case] first: Service,
    #[case] second: Service,
) -> Result<()> {
    let (old, new, tokens) = (token::secret(), token::secret(), token::secret());
    let mut volumes = Volumes::new(&old, &tokens)?;
    let stack = volumes.stack().gateways(2).persistence(2).start().await?;
    let [alice, bob] = ["alice", "bob"].map(|user| Token::of(user).sign(&tokens));
    let room = Http::new(&stack.persistence(0).url(), &alice).new_room(&["bob"]).await?;
    let alice = Client::connect(&stack.gateway(0).ws(), &alice).await?;
    let bob = Client::connect(&stack.gateway(1).ws(), &bob).await?;
    alice.join_and_catch_up(&room).await?;
    bob.join_and_catch_up(&room).await?;
    let both = [new.as_str(), old.as_str()];
    let steps: [(Service, &[&str]); 4] =
        [(first, &both), (second, &both), (first, &[&new]), (second, &[&new])];
    for (number, (service, values)) in steps.into_iter().enumerate() {
        volumes.rotate(&stack, &[service], INTERNAL, values).await?;
        check_new_user(&stack, &tokens, &format!("new-{number}")).await?;
        check_delivery(&alice, &bob, &room, &format!("step {number}")).await?;
    }
    ensure!(alice.closed().is_none() && bob.closed().is_none());
    let answer = post_roles(&stack, &old).await?;
    ensure!(answer == 401, "the removed secret is answered with {answer}");
    ensure!(post_roles(&stack, &new).await? == 200);
    Ok(())
}

/// Sends a request to the internal listener with this secret, and returns the status.
async fn post_roles(stack: &Stack, secret: &str) -> Result<u16> {
    let url = format!("{}/internal/v1/rooms", stack.persistence(0).internal());
    let request = tidings_harness::http::client().post(url).body(json!({"user": "alice"}).to_string());
    let request = request.header(tidings_shared::internal::SECRET_HEADER, secret);
    Ok(request.send().await?.status().as_u16())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn conversation_completes_while_secrets_rotate() -> Result<()> {
    let (old, new) = (token::secret(), token::secret());
    let (old_tokens, new_tokens) = (token::secret(), token::secret());
    let mut volumes = Volumes::new(&old, &old_tokens)?;
    let stack = volumes
        .stack()
        .gateway_env("TIDINGS_MESSAGES_PER_SECOND", "1000")
        .gateway_env("TIDINGS_MESSAGES_BURST", "1000")
        .gateways(2)
        .persistence(2)
        .start()
        .await?;
    // The connection of a user who does nothing must stay open from the first to the last step.
    let idle = Client::connect(&stack.gateway(0).ws(), &Token::of("idle").sign(&old_tokens)).await?;
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("data/ubuntu-2004-11-15.jsonl");
    let nodes = Nodes { jwt_secret: old_tokens.clone(), ..Nodes::of(&stack) };
    let conversation = transcript::read(&[file])?;
    let progress = Progress::default();
    let playing = async {
        // The conversation of 68 minutes takes 34 s, and the rotation about 20 s.
        let options =
            PlayOptions { standstill: Duration::from_secs(30), ..PlayOptions::new(Speed::Times(120.0), 3) };
        play(conversation, options, nodes, &progress).await
    };
    let rotating = async {
        volumes.rotate(&stack, &BOTH, TOKENS, &[&new_tokens, &old_tokens]).await?;
        volumes.rotate(&stack, &BOTH, INTERNAL, &[&old, &new]).await?;
        volumes.rotate(&stack, &BOTH, INTERNAL, &[&new, &old]).await?;
        volumes.rotate(&stack, &BOTH, INTERNAL, &[&new]).await?;
        let (stored, total) = (progress.stored(), progress.total());
        ensure!(
            total > 0 && stored < total,
            "{stored} of {total}: the conversation ended before the rotation"
        );
        Ok(())
    };
    let (played, rotated) = tokio::join!(playing, rotating);
    rotated?;
    let (report, verdict) = played?;
    ensure!(verdict.is_clean(), "{verdict:?} {report:?}");

    volumes.rotate(&stack, &BOTH, TOKENS, &[&new_tokens]).await?;
    let refused = Client::connect(&stack.gateway(0).ws(), &Token::of("late").sign(&old_tokens)).await.err();
    ensure!(matches!(refused, Some(ClientError::Refused { status: 401, .. })), "{refused:?}");
    check_new_user(&stack, &new_tokens, "late").await?;
    idle.ping().await?;
    ensure!(idle.closed().is_none());
    Ok(())
}

#[rstest]
#[case("")]
#[case("tiny secret")]
#[case("a secret of 16 bytes\nanother one of 16 bytes\na third one of 16 bytes")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn broken_secret_file_keeps_old_secret_and_is_reported(#[case] broken: &str) -> Result<()> {
    let (internal, tokens) = (token::secret(), token::secret());
    let mut volumes = Volumes::new(&internal, &tokens)?;
    let stack = volumes.stack().start().await?;
    for service in BOTH {
        let node = &nodes_of(&stack, service)[0];
        volumes.of(service).publish(&[(INTERNAL, broken), (TOKENS, broken)])?;
        for files in ["internal-secret", "token-keys"] {
            until_metric(node, &format!("_secret_reload_failing{{files=\"{files}\"}}"), "1").await?;
        }
        until_in_use(node, INTERNAL, &[internal.as_bytes()]).await?;
        until_in_use(node, TOKENS, &[tokens.as_bytes()]).await?;
        ensure!(node.log()?.contains("changed files cannot be used"), "{}", node.log()?);
        ensure!(broken.is_empty() || !node.log()?.contains(broken), "the log contains the secret");
    }
    check_new_user(&stack, &tokens, "late").await?;
    for service in BOTH {
        volumes.of(service).publish(&[(INTERNAL, &internal), (TOKENS, &tokens)])?;
        let node = &nodes_of(&stack, service)[0];
        until_metric(node, "_secret_reload_failing{files=\"token-keys\"}", "0").await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn replaced_jwks_file_keeps_connections_and_fetched_keys() -> Result<()> {
    let (old, new, fetched) =
        (SigningKey::es256("march")?, SigningKey::eddsa("april")?, SigningKey::es256("of the url")?);
    let server = KeyServer::start(&[&fetched]).await?;
    let set = |key: &SigningKey| json!({ "keys": [key.public_jwk()] }).to_string();
    let mut volume = SecretVolume::new(&[("jwks", &set(&old))])?;
    let stack = Stack::builder()
        .env("TIDINGS_JWT_SECRET", "")
        .env("TIDINGS_JWKS_FILE", volume.path("jwks"))
        .env("TIDINGS_JWKS_URL", server.url())
        .env("TIDINGS_JWT_AUDIENCE", "tea")
        .start()
        .await?;
    let token = |user: &str, key: &SigningKey| Token::of(user).claim("aud", json!("tea")).sign_with(key);
    let ws = stack.gateway(0).ws();
    let open = Client::connect(&ws, &token("alice", &old)).await?;
    Client::connect(&ws, &token("bob", &fetched)).await?;
    volume.publish(&[("jwks", &set(&new))])?;
    for node in stack.gateways().iter().chain(stack.persistence_nodes()) {
        until_in_use(node, "jwks-file", &[set(&new).as_bytes()]).await?;
    }
    for (key, is_accepted) in [(&new, true), (&fetched, true), (&old, false)] {
        ensure!(Client::connect(&ws, &token("carol", key)).await.is_ok() == is_accepted);
        let answer = Http::new(&stack.persistence(0).url(), &token("carol", key)).my_rooms("").await?;
        ensure!((answer.status == 200) == is_accepted, "{answer:?}");
    }
    open.ping().await?;
    ensure!(open.closed().is_none());
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn polling_session_moves_between_gateways_during_rotation() -> Result<()> {
    let (old, new, tokens) = (token::secret(), token::secret(), token::secret());
    let mut volumes = Volumes::new(&old, &tokens)?;
    let stack = volumes.stack().gateways(2).gateway_env("TIDINGS_SOCKET_IO", "on").start().await?;
    let urls: Vec<String> = stack.gateways().iter().map(Node::url).collect();
    let alice = Token::of("alice").sign(&tokens);
    let room = Http::new(&stack.persistence(0).url(), &alice).new_room(&[]).await?;
    let mut client = SocketIo::open_over(&urls, SocketIoTransport::Polling).await?;
    client.connect("/", &json!({ "token": alice })).await?;
    client.join(&room).await?;
    for (number, values) in [[&old, &new], [&new, &old]].into_iter().enumerate() {
        volumes.rotate(&stack, &BOTH, INTERNAL, &values.map(String::as_str)).await?;
        let send = json!({"room": room, "client_id": format!("{number}"), "content": "hi"});
        let ack = client.ask("message:send", &send).await?;
        ensure!(ack.to_string().contains("\"seq\""), "{ack}");
        // A session that begins now has an id of the secret that signs.
        let mut late = SocketIo::open_over(&urls, SocketIoTransport::Polling).await?;
        late.connect("/", &json!({ "token": alice })).await?;
    }
    Ok(())
}

//! The shipped load balancer in front of two gateways and two persistence nodes: WebSockets, polls and requests share
//! one origin with TLS; forged headers do not reach the nodes, and the log holds no tokens.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use reqwest::Method;
use serde_json::{Value, json};
use tidings_harness::balancer::Balancer;
use tidings_harness::files::FilesNode;
use tidings_harness::push::{PushNode, VAPID_PUBLIC_KEY};
use tidings_harness::stack::set_feed;
use tidings_harness::webhooks::WebhooksNode;
use tidings_harness::{Client, Http, Node, Ports, ServerFrame, Stack, TokenBy, ports};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

const WAIT_TIMEOUT: Duration = Duration::from_secs(20);

async fn start_stack() -> Result<Stack> {
    Stack::builder().gateways(2).persistence(2).start().await
}

#[tokio::test]
async fn websockets_are_spread_over_gateways_and_exchange_messages() -> Result<()> {
    let stack = start_stack().await?;
    let balancer = Balancer::of(&stack).await?;
    let https = Http::new(&balancer.url(), &stack.token("ann"));
    let room = https.new_room(&["ben"]).await?;

    let mut clients = Vec::new();
    for number in 0..20 {
        let user = if number % 2 == 0 { "ann" } else { "ben" };
        clients.push(Client::connect(&balancer.ws(), &stack.token(user)).await?);
    }
    for gateway in stack.gateways() {
        let page = gateway.metrics().await?;
        let connections = page.lines().find_map(|line| line.strip_prefix("tidings_gateway_connections "));
        let connections: u32 = connections.context("there is no metric of connections")?.parse()?;
        ensure!((9..=11).contains(&connections), "{connections} of 20");
    }
    for client in &clients {
        client.join_and_catch_up(&room).await?;
    }
    let ack = clients[0].send(&room, "through the front door").await?;
    ensure!((ack.seq, ack.stage.as_str()) == (1, "stored"), "{ack:?}");
    for client in &clients {
        let ServerFrame::Message(message) = client.wait_for("message:new", WAIT_TIMEOUT).await? else {
            anyhow::bail!("not a message");
        };
        ensure!(message.content == "through the front door");
    }
    let history = https.messages(&room, "limit=10").await?.expect(200).body;
    ensure!(history["messages"][0]["content"] == "through the front door", "{history}");
    Ok(())
}

#[tokio::test]
async fn files_share_the_origin_only_when_they_run() -> Result<()> {
    let stack = start_stack().await?;
    let room = stack.http("alice").new_room(&["bob"]).await?;
    let node = FilesNode::start(&stack, "files", &[]).await?;
    let (public, admin) = (format!("127.0.0.1:{}", node.public_port()), node.admin_port().to_string());
    let balancer = Balancer::with(&stack, &[("FILES", &public), ("FILES_ADMIN", &admin)]).await?;
    let https = Http::new(&balancer.url(), &stack.token("alice"));
    let form = json!({"name": "a", "media_type": "a/b", "size": 1, "sha256": "ab".repeat(32)});
    let file = https.post(&format!("/rooms/{room}/files"), form).await?.expect(201).body;
    let id = file["id"].as_str().unwrap_or_default();
    for (path, missing) in [
        (format!("/rooms/{room}/files/x"), "file id"),
        (format!("/rooms/{room}/messages/1/files/{id}"), "no such message"),
        (format!("/files/{id}"), "the URL"),
        // Paths with another name after the same beginning go to persistence.
        (format!("/rooms/{room}/filesx"), "filesx"),
        (format!("/filesx/{id}"), "filesx"),
    ] {
        let answer = https.get(&path).await?;
        ensure!(answer.body["detail"].as_str().is_some_and(|it| it.contains(missing)), "{path}: {answer:?}");
    }
    https.get(&format!("/rooms/{room}/messages")).await?.expect(200);
    Ok(())
}

#[tokio::test]
async fn webhook_route_is_served_only_if_enabled() -> Result<()> {
    let stack = start_stack().await?;
    let token = stack.admin_token("operator");
    let without = Balancer::of(&stack).await?;
    let answer = Http::new(&without.url(), &token).get("/webhooks").await?;
    ensure!(answer.status == 404, "persistence has no such path: {answer:?}");
    drop(without);

    let node = WebhooksNode::start(&stack, "webhooks", &[]).await?;
    let (public, admin) = (format!("127.0.0.1:{}", node.public_port()), node.admin_port().to_string());
    let balancer = Balancer::with(&stack, &[("WEBHOOKS", &public), ("WEBHOOKS_ADMIN", &admin)]).await?;
    let https = Http::new(&balancer.url(), &token);
    ensure!(https.get("/webhooks").await?.expect(200).body["webhooks"] == json!([]));
    ensure!(https.get("/webhooks/none").await?.status == 404);
    let answer = https.get("/webhooks/none").await?;
    ensure!(answer.body["detail"].as_str().is_some_and(|detail| detail.contains("webhook")), "{answer:?}");
    // A path with another name after the same beginning goes to persistence.
    let answer = https.get("/webhooksx").await?;
    ensure!(
        answer.body["detail"].as_str().is_some_and(|detail| detail.contains("/v1/webhooksx")),
        "{answer:?}"
    );
    https.get("/me/rooms").await?.expect(200);
    Ok(())
}

#[tokio::test]
async fn push_routes_are_served_only_if_enabled() -> Result<()> {
    let stack = start_stack().await?;
    let without = Balancer::of(&stack).await?;
    let answer = Http::new(&without.url(), &stack.token("alice")).get("/push/key").await?;
    ensure!(answer.status == 404, "persistence has no such path: {answer:?}");
    drop(without);

    set_feed(stack.database().url(), true).await?;
    let node = PushNode::start(&stack, "push", &[]).await?;
    let (public, admin) = (format!("127.0.0.1:{}", node.public_port()), node.admin_port().to_string());
    let balancer = Balancer::with(&stack, &[("PUSH", &public), ("PUSH_ADMIN", &admin)]).await?;
    let https = Http::new(&balancer.url(), &stack.token("alice"));
    ensure!(https.get("/push/key").await?.expect(200).body["key"] == VAPID_PUBLIC_KEY);
    // Makes the user known.
    let room = https.new_room(&["bob"]).await?;
    ensure!(https.get("/me/devices").await?.expect(200).body["devices"] == json!([]));
    https.request(Method::PUT, &format!("/me/mutes/{room}"), Some(json!({}))).await?.expect(200);
    ensure!(https.get("/me/mutes").await?.expect(200).body["mutes"][0]["room"] == room.as_str());
    // Other paths below /v1/me go to persistence.
    https.get("/me/rooms").await?.expect(200);
    Ok(())
}

#[tokio::test]
async fn balancer_passes_compression_and_tokens_but_logs_no_token() -> Result<()> {
    let stack = start_stack().await?;
    let balancer = Balancer::of(&stack).await?;
    let token = stack.token("ann");
    let client = Client::connect_by(TokenBy::Query, &balancer.ws(), &token).await?;
    ensure!(client.connected().user == "ann");
    client.close().await?;
    let deflating = Client::connect_deflating(&balancer.ws(), &token).await?;
    deflating.ping().await?;
    deflating.close().await?;
    let refused = Http::new(&balancer.url(), "no token").get("/rooms?token=secret-in-a-query").await?;
    ensure!(refused.status == 401, "{refused:?}");

    let begun = Instant::now();
    let log = loop {
        let log = balancer.log()?;
        let lines = log.lines().filter(|line| line.starts_with('{')).map(serde_json::from_str::<Value>);
        let lines = lines.collect::<Result<Vec<_>, _>>().with_context(|| log.clone())?;
        if ["/v1/ws", "/v1/rooms"].iter().all(|path| lines.iter().any(|line| line["path"] == *path)) {
            break log;
        }
        ensure!(begun.elapsed() < WAIT_TIMEOUT, "{log}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    ensure!(
        !log.contains(&token) && !log.contains("secret-in-a-query") && !log.contains("127.0.0.1"),
        "{log}"
    );
    Ok(())
}

#[tokio::test]
async fn poll_waits_for_its_timeout_or_returns_with_a_message() -> Result<()> {
    let stack = start_stack().await?;
    let balancer = Balancer::of(&stack).await?;
    let ann = Http::new(&balancer.url(), &stack.token("ann"));
    let room = ann.new_room(&["ben"]).await?;
    let epoch = ann.room(&room).await?.expect(200).body["head"]["epoch"].clone();
    let poll = json!({ "cursors": { &room: { "epoch": epoch, "seq": 0 } }, "timeout_ms": 25_000 });

    // The first poll makes ann present. The event about that would end the measured poll early.
    ann.post("/poll", json!({ "cursors": poll["cursors"], "timeout_ms": 3_000 })).await?.expect(200);
    let begun = Instant::now();
    let quiet = ann.post("/poll", poll.clone()).await?.expect(200);
    ensure!(begun.elapsed() > Duration::from_secs(24), "{:?}: {:?}", begun.elapsed(), quiet.body);

    let waiting = tokio::spawn({
        let ann = ann.clone();
        async move { ann.post("/poll", poll).await }
    });
    tokio::time::sleep(Duration::from_millis(500)).await;
    let begun = Instant::now();
    stack.http("ben").send(&room, &uuid::Uuid::now_v7().to_string(), "are you there?").await?.expect(201);
    let answer = waiting.await??.expect(200);
    ensure!(answer.body.to_string().contains("are you there?"), "{:?}", answer.body);
    ensure!(begun.elapsed() < Duration::from_secs(15), "the poll returned only at its timeout");
    Ok(())
}

#[tokio::test]
async fn unfinished_request_head_is_answered_408() -> Result<()> {
    let balancer = Balancer::of(&start_stack().await?).await?;
    let mut stream = TcpStream::connect(("127.0.0.1", balancer.http_port())).await?;
    stream.write_all(b"GET /v1/rooms HTTP/1.1\r\nHost: localhost\r\nX-Slow: ").await?;
    let mut answer = String::new();
    tokio::time::timeout(Duration::from_secs(30), stream.read_to_string(&mut answer)).await??;
    ensure!(answer.starts_with("HTTP/1.1 408"), "{answer}");
    Ok(())
}

#[tokio::test]
async fn errors_without_any_node_are_problem_documents() -> Result<()> {
    let stack = start_stack().await?;
    let balancer = Balancer::of(&stack).await?;
    stack.gateways().iter().chain(stack.persistence_nodes()).for_each(Node::kill);
    for path in ["/v1/poll", "/v1/rooms"] {
        let answer = tidings_harness::http::client().get(format!("{}{path}", balancer.url())).send().await?;
        ensure!(answer.status() == 503, "{answer:?}");
        for (name, value) in [
            ("content-type", "application/problem+json"),
            ("retry-after", "5"),
            ("access-control-allow-origin", "*"),
        ] {
            ensure!(answer.headers().get(name).is_some_and(|found| found == value), "{name}: {answer:?}");
        }
        let problem: Value = answer.json().await?;
        ensure!(problem["code"] == "unavailable" && problem["status"] == 503, "{problem}");
        ensure!(problem["retry_after_ms"] == 5_000, "{problem}");
    }
    Ok(())
}

/// Starts two listeners that answer each request with the head of that request; returns their ports.
pub async fn start_echo_servers() -> Result<Ports> {
    let (public, admin) = (TcpListener::bind("127.0.0.1:0").await?, TcpListener::bind("127.0.0.1:0").await?);
    let ports = Ports {
        public: public.local_addr()?.port(),
        admin: admin.local_addr()?.port(),
        internal: ports::free()?,
    };
    for listener in [public, admin] {
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                tokio::spawn(async move {
                    let mut head = Vec::new();
                    while !head.ends_with(b"\r\n\r\n") {
                        if stream.read_buf(&mut head).await.is_ok_and(|count| count > 0) {
                            continue;
                        }
                        return;
                    }
                    let answer = format!(
                        "HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
                        head.len()
                    );
                    // A closed connection needs no answer.
                    let _ = stream.write_all(&[answer.as_bytes(), &head].concat()).await;
                });
            }
        });
    }
    Ok(ports)
}

#[tokio::test]
async fn nodes_receive_real_client_address_despite_forged_headers() -> Result<()> {
    let nodes = [start_echo_servers().await?, start_echo_servers().await?];
    let balancer = Balancer::before(&nodes, &nodes).await?;
    for path in ["/v1/poll", "/v1/rooms"] {
        let request = tidings_harness::http::client().get(format!("{}{path}", balancer.url()));
        let request = request.header("X-Forwarded-For", "203.0.113.9").header("Forwarded", "for=203.0.113.9");
        let head = request.header("X-Forwarded-Proto", "gopher").send().await?.text().await?.to_lowercase();
        ensure!(head.contains("x-forwarded-for: 127.0.0.1\r\n"), "{head}");
        ensure!(head.contains("x-forwarded-proto: https\r\n"), "{head}");
        ensure!(!head.contains("203.0.113.9") && !head.contains("gopher"), "{head}");
    }
    Ok(())
}

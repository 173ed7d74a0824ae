//! The limits per address of the shipped load balancer: an address that opens too many connections or handshakes is
//! refused, while another address and the connections that it has already are served. Clients of 127.0.0.1 and of
//! 127.0.0.2 are two addresses; the PROXY protocol gives clients IPv6 addresses.

use std::net::{IpAddr, Ipv4Addr};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use futures_util::future::join_all;
use reqwest::{Response, StatusCode};
use tidings_harness::balancer::{Balancer, SHIPPED};
use tidings_harness::engine_io::{EnginePolling, EngineSocket};
use tidings_harness::http::client_from;
use tidings_harness::{Client, Http, Node, Stack};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

use crate::balancer::start_echo_servers;

const FIRST: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 1));
const SECOND: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2));
/// Longer than the 20 s after which HAProxy's rate over 10 s contains nothing of a handshake.
const WAIT_TIMEOUT: Duration = Duration::from_secs(40);

/// Asserts that the answer is the problem document of a limit per address.
async fn ensure_refused(answer: Response) -> Result<()> {
    ensure!(answer.status() == StatusCode::TOO_MANY_REQUESTS, "{answer:?}");
    for (name, value) in [
        ("content-type", "application/problem+json"),
        ("retry-after", "15"),
        ("access-control-allow-origin", "*"),
    ] {
        ensure!(answer.headers().get(name).is_some_and(|found| found == value), "{name}: {answer:?}");
    }
    let problem: serde_json::Value = answer.json().await?;
    ensure!(problem["code"] == "rate_limited" && problem["status"] == 429, "{problem}");
    ensure!(problem["retry_after_ms"] == 15_000, "{problem}");
    Ok(())
}

/// Whether the peer keeps this silent connection open.
async fn is_open(stream: &mut std::io::Result<TcpStream>) -> bool {
    let Ok(stream) = stream else { return false };
    tokio::time::timeout(Duration::from_millis(300), stream.read(&mut [0])).await.is_err()
}

#[tokio::test]
async fn address_with_too_many_connections_is_refused_alone() -> Result<()> {
    let stack = Stack::builder().gateways(2).persistence(2).start().await?;
    let balancer = Balancer::with(&stack, &[("CONNECTIONS_PER_ADDRESS", "10")]).await?;
    let transport = format!("{}/v1/transport", balancer.url());
    let mut sockets = Vec::new();
    for _ in 0..10 {
        sockets.push(Client::connect(&balancer.ws(), &stack.token("ann")).await?);
    }

    ensure_refused(client_from(FIRST).get(&transport).send().await?).await?;
    let refused = Client::connect(&balancer.ws(), &stack.token("ann")).await.err();
    let refused = refused.context("an eleventh WebSocket was opened")?.to_string();
    ensure!(refused.contains("429"), "{refused}");
    // Another address is served, and the connections that were there before go on.
    let answer = client_from(SECOND).get(&transport).send().await?;
    ensure!(answer.status() == StatusCode::OK, "{answer:?}");
    for socket in &sockets {
        socket.ping().await?;
    }

    // From twice the limit on, connections are closed at once. Below it, silent ones wait for a request. HAProxy's
    // threads count them in any order.
    let mut silent = Vec::new();
    for _ in 0..20 {
        // HAProxy may close a connection before the client knows that it is open.
        silent.push(TcpStream::connect((FIRST, balancer.https_port())).await);
    }
    let begun = Instant::now();
    loop {
        let states = join_all(silent.iter_mut().map(is_open)).await;
        let open = states.iter().filter(|is_open| **is_open).count();
        // The ten WebSockets are open too, and some of the first connections may have ended.
        if (1..10).contains(&open) {
            break;
        }
        ensure!(begun.elapsed() < WAIT_TIMEOUT, "{open} of 20 connections above the limit stay open");
    }
    drop(silent);

    // With fewer connections the address is served again.
    sockets.pop().context("there are ten")?.close().await?;
    let begun = Instant::now();
    // The silent connections count until HAProxy has noticed their end, and it may close a new one meanwhile.
    loop {
        let answer = client_from(FIRST).get(&transport).send().await;
        if answer.is_ok_and(|answer| answer.status() == StatusCode::OK) {
            break;
        }
        ensure!(begun.elapsed() < WAIT_TIMEOUT, "the address is refused for ever");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    Ok(())
}

#[tokio::test]
async fn open_sockets_do_not_count_as_handshakes_of_an_address() -> Result<()> {
    let stack = Stack::builder().gateways(2).persistence(2).start().await?;
    let balancer = Balancer::with(&stack, &[("HANDSHAKES_PER_ADDRESS", "5")]).await?;
    let mut sockets = Vec::new();
    for _ in 0..5 {
        sockets.push(Client::connect(&balancer.ws(), &stack.token("ann")).await?);
    }
    let refused = Client::connect(&balancer.ws(), &stack.token("ann")).await.err();
    let refused = refused.context("a sixth handshake was accepted")?.to_string();
    ensure!(refused.contains("429"), "{refused}");
    let other = client_from(SECOND);
    let answer = other.get(format!("{}/v1/transport", balancer.url())).send().await?;
    ensure!(answer.status() == StatusCode::OK, "{answer:?}");

    // The five sockets stay open, and count no more once their handshakes are old. Each attempt is a handshake too.
    let begun = Instant::now();
    loop {
        tokio::time::sleep(Duration::from_secs(8)).await;
        match Client::connect(&balancer.ws(), &stack.token("ann")).await {
            Ok(client) => {
                client.ping().await?;
                break;
            }
            Err(error) => {
                ensure!(begun.elapsed() < WAIT_TIMEOUT, "open sockets count as handshakes: {error}")
            }
        }
    }
    for socket in &sockets {
        socket.ping().await?;
    }
    Ok(())
}

#[tokio::test]
async fn handshakes_on_one_connection_count_and_requests_do_not() -> Result<()> {
    let nodes = [start_echo_servers().await?, start_echo_servers().await?];
    let settings = [("HANDSHAKES_PER_ADDRESS", "5")];
    let balancer = Balancer::start(&nodes, &nodes, &settings, SHIPPED).await?;
    for (handshake, other) in [("/v1/ws", "/v1/rooms"), ("/socket.io/?EIO=4", "/socket.io/?EIO=4&sid=a")] {
        let client = client_from(if handshake == "/v1/ws" { FIRST } else { SECOND });
        let get = |path: &str| client.get(format!("{}{path}", balancer.url())).send();
        for _ in 0..12 {
            ensure!(get(other).await?.text().await?.starts_with("GET "));
        }
        for _ in 0..5 {
            ensure!(get(handshake).await?.text().await?.starts_with("GET "));
        }
        // HAProxy estimates the rate, so the sixth handshake may pass.
        let mut answer = get(handshake).await?;
        for _ in 0..5 {
            if answer.status() == StatusCode::OK {
                answer = get(handshake).await?;
            }
        }
        ensure_refused(answer).await?;
        ensure!(get(other).await?.status() == StatusCode::OK, "only handshakes are refused");
    }
    Ok(())
}

/// Requests of Engine.IO, without the parameters that all have, and whether the gateway opens a session. It splits the
/// query only at `&`, and decodes no names.
const ENGINE_REQUESTS: [(&str, bool); 13] = [
    ("/socket.io/?", true),
    ("/socket.io?", true),
    ("/socket.io/?a=b;sid=x", true),
    ("/socket.io?a=b;sid=x", true),
    ("/socket.io/?%73id=x", true),
    ("/socket.io/?sid%3Dx", true),
    ("/socket.io/?SID=x", true),
    ("/socket.io/?sid", true),
    ("/socket.io/?a=sid=x", true),
    ("/socket.io/?sid=x", false),
    ("/socket.io/?a=b&sid=x", false),
    ("/socket.io/?sid=", false),
    ("/socket.io/?sid=x&sid=y", false),
];

#[tokio::test]
async fn engine_sessions_that_gateway_opens_are_counted() -> Result<()> {
    let stack = Stack::builder().gateways(2).persistence(2).gateway_env("TIDINGS_SOCKET_IO", "on");
    let stack = stack.start().await?;
    let balancer = Balancer::with(&stack, &[("HANDSHAKES_PER_ADDRESS", "5")]).await?;
    for (number, (request, opens)) in (1..).zip(ENGINE_REQUESTS) {
        let client = client_from(IpAddr::V4(Ipv4Addr::new(127, 0, 1, number)));
        let url = format!("{}{request}&EIO=4&transport=polling", balancer.url());
        let mut statuses = Vec::new();
        // HAProxy estimates the rate, so more than five handshakes may pass.
        for _ in 0..12 {
            statuses.push(client.get(&url).send().await?.status().as_u16());
        }
        let first_status = if opens { 200 } else { 400 };
        ensure!(statuses[0] == first_status, "{request}: {statuses:?}");
        ensure!(statuses.contains(&429) == opens, "{request}: {statuses:?}");
    }
    Ok(())
}

/// A client may open all these WebSockets on one HTTP/2 connection. So the test runs without the limit of connections.
#[tokio::test]
async fn upgraded_engine_sessions_count_as_open_websockets() -> Result<()> {
    let stack = Stack::builder().gateways(2).persistence(2).gateway_env("TIDINGS_SOCKET_IO", "on");
    let stack = stack.start().await?;
    let lines = SHIPPED.split_inclusive('\n');
    let configuration: String = lines.filter(|line| !line.contains("sc0_conn_cur")).collect();
    ensure!(configuration.contains("sc1_conn_cur") && configuration.len() < SHIPPED.len());
    let ports = |nodes: &[Node]| nodes.iter().map(Node::ports).collect::<Vec<_>>();
    let (gateways, persistence) = (ports(stack.gateways()), ports(stack.persistence_nodes()));
    let settings = [("CONNECTIONS_PER_ADDRESS", "4")];
    let balancer = Balancer::start(&gateways, &persistence, &settings, &configuration).await?;

    let base = format!("{}/socket.io/", balancer.url());
    let mut sessions = Vec::new();
    for _ in 0..5 {
        sessions.push(EnginePolling::open(&base).await?);
    }
    let mut sockets = Vec::new();
    for session in &sessions[..4] {
        sockets.push(EngineSocket::open(&session.socket_url()).await?);
    }
    let refused = EngineSocket::open(&sessions[4].socket_url()).await.err();
    let refused = refused.context("a fifth WebSocket was opened")?.to_string();
    ensure!(refused.contains("429"), "{refused}");
    Ok(())
}

/// Sends a request for a handshake by PROXY protocol, as a client of this address. Returns the status line.
async fn handshake_from(port: u16, address: &str) -> Result<String> {
    let mut stream = TcpSocket::new_v4()?.connect((FIRST, port).into()).await?;
    let head = "GET /v1/ws HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    stream.write_all(format!("PROXY TCP6 {address} 2001:db8::1 40000 443\r\n{head}").as_bytes()).await?;
    let mut answer = Vec::new();
    // A connection that is closed before its request was read ends with a reset.
    let _ = tokio::time::timeout(WAIT_TIMEOUT, stream.read_to_end(&mut answer)).await?;
    let text = String::from_utf8_lossy(&answer);
    Ok(text.lines().next().unwrap_or_default().to_owned())
}

/// The head of the configuration says which changes a proxy in front needs. They are made here.
#[tokio::test]
async fn ipv6_network_shares_a_limit_behind_proxy_protocol() -> Result<()> {
    let nodes = [start_echo_servers().await?, start_echo_servers().await?];
    let behind = SHIPPED.replace("v6only", "v6only accept-proxy");
    let behind = behind.replace("tcp-request connection", "tcp-request session");
    ensure!(
        behind.matches("tcp-request session").count() > 3
            && behind.matches("v6only accept-proxy").count() >= 2
    );
    let balancer = Balancer::start(&nodes, &nodes, &[("HANDSHAKES_PER_ADDRESS", "5")], &behind).await?;
    // Plain HTTP is redirected; a refusal is made before.
    for number in 1..=5 {
        let status = handshake_from(balancer.http_port(), &format!("2001:db8:7::{number}")).await?;
        ensure!(status.contains(" 308 "), "{status}");
    }
    let status = handshake_from(balancer.http_port(), "2001:db8:7:0:ffff::6").await?;
    ensure!(status.contains(" 429 "), "an address of the same /64: {status}");
    let status = handshake_from(balancer.http_port(), "2001:db8:7:1::1").await?;
    ensure!(status.contains(" 308 "), "an address of another /64: {status}");
    Ok(())
}

#[tokio::test]
async fn plain_http_is_redirected_to_tls() -> Result<()> {
    let stack = Stack::builder().gateways(2).persistence(2).start().await?;
    let balancer = Balancer::of(&stack).await?;
    let client = client_from(FIRST);
    let plain = format!("http://localhost:{}", balancer.http_port());
    let answer = client.post(format!("{plain}/v1/rooms?a=b%20c")).send().await?;
    ensure!(answer.status() == StatusCode::PERMANENT_REDIRECT, "{answer:?}");
    ensure!(answer.headers().get("strict-transport-security").is_none(), "{answer:?}");
    let location = answer.headers()["location"].to_str()?.to_owned();
    ensure!(location == format!("{}/v1/rooms?a=b%20c", balancer.url()), "{location}");
    // Checks of HAProxy itself are not redirected.
    let answer = client.get(format!("{plain}/balancer")).send().await?;
    ensure!(answer.status() == StatusCode::OK, "{answer:?}");

    let answer = client.get(format!("{}/v1/transport", balancer.url())).send().await?;
    ensure!(answer.status() == StatusCode::OK, "{answer:?}");
    ensure!(answer.headers()["strict-transport-security"] == "max-age=31536000", "{answer:?}");
    let room = Http::new(&balancer.url(), &stack.token("ann")).new_room(&["ben"]).await?;
    let ann = Client::connect(&balancer.ws(), &stack.token("ann")).await?;
    ann.join_and_catch_up(&room).await?;
    ensure!(ann.send(&room, "through TLS").await?.stage == "stored");
    Ok(())
}

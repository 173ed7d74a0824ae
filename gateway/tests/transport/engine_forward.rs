//! Requests of Engine.IO sessions on another node. Two servers find each other in a directory, and forward the
//! requests.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use futures_util::future::BoxFuture;
use tidings_gateway::transport::{NodeDirectory, TransportConfig};
use tokio::time::sleep;

use crate::{
    client::{BINARY, Client, TEXT, frame, handshake, within_timeout},
    engine_client::{Answer, PollingClient, begin, begin_websocket, with_engine},
    server::Fixture,
};

#[derive(Default)]
struct TestDirectory(Mutex<HashMap<u64, String>>);

impl NodeDirectory for TestDirectory {
    fn address(&self, instance: u64) -> BoxFuture<'_, Option<String>> {
        let address = self.0.lock().unwrap().get(&instance).cloned();
        Box::pin(async move { address })
    }
}

/// The owner of the sessions, and another node.
struct Nodes {
    owner: Fixture,
    other: Fixture,
    directory: Arc<TestDirectory>,
}

impl Nodes {
    fn start() -> Nodes {
        Nodes::start_with(|_| {})
    }

    fn start_with(adjust: impl Fn(&mut TransportConfig)) -> Nodes {
        let directory = Arc::<TestDirectory>::default();
        let start = || {
            let nodes = Arc::clone(&directory);
            Fixture::start_with(|config| {
                with_engine(config);
                config.engine.as_mut().unwrap().nodes = Some(nodes);
                adjust(config);
            })
        };
        let nodes = Nodes { owner: start(), other: start(), directory: Arc::clone(&directory) };
        for node in [&nodes.owner, &nodes.other] {
            let address = node.address().to_string();
            directory.0.lock().unwrap().insert(node.server.engine_instance().unwrap(), address);
        }
        nodes
    }

    /// Opens a session on the owner. The second client reaches it through the other node.
    async fn open(&self) -> (PollingClient, PollingClient) {
        let direct = PollingClient::open(&self.owner).await;
        let query = direct.query.clone();
        (direct, PollingClient { address: self.other.address(), query })
    }

    /// Changes the address of the owner in the directory.
    fn set_owner_address(&self, address: Option<String>) {
        let instance = self.owner.server.engine_instance().unwrap();
        let mut addresses = self.directory.0.lock().unwrap();
        match address {
            Some(address) => addresses.insert(instance, address),
            None => addresses.remove(&instance),
        };
    }

    async fn wait_for_tunnels(&self, count: u64) {
        within_timeout("the number of tunnels", async {
            while self.other.server.counters().totals().engine_tunnels != count {
                sleep(Duration::from_millis(10)).await;
            }
        })
        .await;
    }
}

/// Opens a WebSocket for the session, and completes the upgrade.
async fn upgrade(client: &PollingClient) -> Client {
    let mut socket = client.websocket().await;
    socket.send_text("2probe").await;
    assert_eq!(socket.next_text().await, "3probe");
    socket.send_text("5").await;
    socket.send_text("4over WebSocket").await;
    assert_eq!(socket.next_text().await, "4over WebSocket");
    socket
}

#[tokio::test]
async fn session_is_reached_through_either_node() {
    let nodes = Nodes::start();
    let (direct, forwarded) = nodes.open().await;
    for round in 0..6 {
        let even = round % 2 == 0;
        let (sender, receiver) = if even { (&direct, &forwarded) } else { (&forwarded, &direct) };
        let packet = format!("4hello {round}");
        sender.send(&packet).await;
        assert_eq!(receiver.receive().await, packet);
    }
    forwarded.send("bAQIDBA==\u{1e}4é").await;
    assert_eq!(forwarded.receive().await, "bAQIDBA==\u{1e}4é");
    let waiting = forwarded.begin_poll().await;
    direct.send("4late").await;
    let answer = Answer::read(waiting).await;
    assert_eq!(answer.parts(), (200, "4late"));
    assert!(answer.head.contains("content-type: text/plain; charset=utf-8\r\n"), "{answer:?}");
    let totals = nodes.other.server.counters().totals();
    assert_eq!((totals.opened, totals.forwarded_requests_answered), (0, 9));
}

#[tokio::test]
async fn forwarded_answer_names_origin_of_request() {
    let nodes = Nodes::start();
    let (direct, forwarded) = nodes.open().await;
    direct.send("4hello").await;
    let origin = "Origin: https://chat.example\r\n";
    let answer = Answer::read(begin(forwarded.address, "GET", &forwarded.query, origin, "").await).await;
    assert_eq!(answer.parts(), (200, "4hello"));
    assert_eq!(answer.head.matches("access-control-allow-origin: https://chat.example\r\n").count(), 1);
}

#[tokio::test]
async fn poll_cancelled_at_other_node_ends_session() {
    let mut nodes = Nodes::start();
    let (direct, forwarded) = nodes.open().await;
    let waiting = forwarded.begin_poll().await;
    sleep(Duration::from_millis(300)).await;
    drop(waiting);
    assert_eq!(nodes.owner.next_report().await, "closed 1006");
    direct.expect_gone().await;
    forwarded.expect_gone().await;
}

#[tokio::test]
async fn upgrade_at_other_node_moves_session_to_tunnel() {
    let mut nodes = Nodes::start();
    let (direct, forwarded) = nodes.open().await;
    let mut socket = upgrade(&forwarded).await;
    socket.send(&frame(BINARY, &[1, 2, 3, 4])).await;
    assert_eq!(socket.next_message().await, Some((BINARY, vec![1, 2, 3, 4])));
    // Needs many reads of the tunnel's buffer.
    socket.send_text("4!pull 30").await;
    for number in (1..=30).rev() {
        assert_eq!(socket.next_text().await[1..].parse::<usize>().unwrap(), number);
    }
    let (owner, other) = (nodes.owner.server.counters().totals(), nodes.other.server.counters().totals());
    assert_eq!((owner.engine_websocket, owner.engine_upgrades), (1, 1));
    assert_eq!((other.connections, other.engine_tunnels, other.forwarded_websockets_connected), (0, 1, 1));
    direct.expect_gone().await;
    forwarded.expect_gone().await;
    drop(socket);
    assert_eq!(nodes.owner.next_report().await, "closed 1006");
    nodes.wait_for_tunnels(0).await;
}

#[tokio::test]
async fn frames_behind_forwarded_handshake_are_not_lost() {
    let nodes = Nodes::start();
    let (_, forwarded) = nodes.open().await;
    let target = format!("/engine.io/?{}", forwarded.query.replace("polling", "websocket"));
    let bytes = [handshake(&target).into_bytes(), frame(TEXT, b"2probe")].concat();
    let mut socket = Client::connect_and_send(forwarded.address, &bytes).await;
    let head = socket.read_head().await;
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
    assert_eq!(socket.next_text().await, "3probe");
}

#[tokio::test]
async fn close_of_owner_reaches_client_through_tunnel() {
    let nodes = Nodes::start();
    let (_, forwarded) = nodes.open().await;
    let mut socket = upgrade(&forwarded).await;
    socket.send_text("4!close 4403").await;
    for number in 1..=3 {
        assert_eq!(socket.next_text().await, format!("4last {number}"));
    }
    assert_eq!(socket.close_code().await, 4403);
    drop(socket);
    nodes.wait_for_tunnels(0).await;
}

#[tokio::test]
async fn session_of_unreachable_node_is_unknown() {
    let nodes = Nodes::start();
    let (_, forwarded) = nodes.open().await;
    let query = forwarded.query.replace("polling", "websocket");
    // Nothing listens on port 1.
    for address in [Some("127.0.0.1:1".to_owned()), None] {
        nodes.set_owner_address(address);
        forwarded.expect_gone().await;
        let answer = Answer::read(begin_websocket(forwarded.address, &query).await).await;
        assert_eq!(answer.parts(), (400, r#"{"code":1,"message":"Session ID unknown"}"#));
    }
    nodes.wait_for_tunnels(0).await;
    let totals = nodes.other.server.counters().totals();
    assert_eq!((totals.forwarded_requests_failed, totals.forwarded_requests_unknown), (2, 2));
    assert_eq!((totals.forwarded_websockets_failed, totals.forwarded_websockets_unknown), (1, 1));
}

#[tokio::test]
async fn forwarded_request_is_not_forwarded_again() {
    let nodes = Nodes::start();
    let (direct, forwarded) = nodes.open().await;
    // The other node takes itself for the owner.
    nodes.set_owner_address(Some(nodes.other.address().to_string()));
    forwarded.expect_gone().await;
    let query = forwarded.query.replace("polling", "websocket");
    assert_eq!(Answer::read(begin_websocket(forwarded.address, &query).await).await.status(), 400);
    let totals = nodes.other.server.counters().totals();
    assert_eq!((totals.forwarded_requests_answered, totals.forwarded_websockets_connected), (2, 1));
    direct.send("4still here").await;
    assert_eq!(direct.receive().await, "4still here");
}

#[tokio::test]
async fn tunnels_count_towards_maximum_of_connections() {
    let nodes = Nodes::start_with(|config| {
        config.workers = 1;
        config.max_connections_per_worker = 2;
    });
    let (first, second) = (nodes.open().await, nodes.open().await);
    let third = PollingClient::open(&nodes.other).await;
    let _socket = upgrade(&first.1).await;
    let query = second.1.query.replace("polling", "websocket");
    let answer = Answer::read(begin_websocket(nodes.other.address(), &query).await).await;
    assert_eq!(answer.status(), 503, "{answer:?}");
    // Polling goes on, at both nodes.
    second.1.send("4hello").await;
    assert_eq!(second.1.receive().await, "4hello");
    third.send("4hello").await;
    assert_eq!(third.receive().await, "4hello");
}

#[tokio::test]
async fn drain_and_stop_end_tunnels() {
    for is_drain in [true, false] {
        let mut nodes = Nodes::start();
        let (_, forwarded) = nodes.open().await;
        let mut socket = upgrade(&forwarded).await;
        if is_drain {
            within_timeout("the drain", nodes.other.server.drain(Duration::from_secs(2))).await;
            nodes.wait_for_tunnels(0).await;
        } else {
            nodes.other.stop().await;
        }
        socket.expect_end().await;
        assert_eq!(nodes.owner.next_report().await, "closed 1006");
    }
}

//! The listener of the harness against a server that misbehaves on demand: the listener reconnects, repeats sends that
//! were not stored, fills gaps as the protocol says, and reports a server that breaks a promise. To add a case, write
//! what the fake answers to each frame (`script`) and to `GET events` (`pages`).

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tidings_harness::http::client;
use tidings_harness::{Begin, Cursor, Listener, Nodes};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::tungstenite::Message;

/// What the fake server does after a frame.
enum Action {
    Send(Value),
    Cut,
}

/// A fake gateway and a fake persistence node in one.
struct FakeServer {
    ws: String,
    http: String,
    received: Arc<Mutex<Vec<(usize, Value)>>>,
}

type Script = dyn Fn(usize, &Value) -> Vec<Action> + Send + Sync;
type Pages = dyn Fn(&str) -> (u16, Value) + Send + Sync;

impl FakeServer {
    async fn start(
        script: impl Fn(usize, &Value) -> Vec<Action> + Send + Sync + 'static,
        pages: impl Fn(&str) -> (u16, Value) + Send + Sync + 'static,
    ) -> FakeServer {
        let (script, pages): (Arc<Script>, Arc<Pages>) = (Arc::new(script), Arc::new(pages));
        let received = Arc::new(Mutex::new(Vec::new()));
        let gateway = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let persistence = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let ws = format!("ws://{}/v1/ws", gateway.local_addr().unwrap());
        let http = format!("http://{}", persistence.local_addr().unwrap());
        tokio::spawn({
            let received = Arc::clone(&received);
            async move {
                for number in 0.. {
                    let (stream, _) = gateway.accept().await.unwrap();
                    tokio::spawn(serve_websocket(number, stream, Arc::clone(&script), Arc::clone(&received)));
                }
            }
        });
        tokio::spawn(async move {
            loop {
                let (stream, _) = persistence.accept().await.unwrap();
                tokio::spawn(answer_http(stream, Arc::clone(&pages)));
            }
        });
        FakeServer { ws, http, received }
    }

    fn offline_listener(&self) -> Listener {
        let nodes = Nodes {
            gateways: vec![self.ws.clone()],
            socket_io: None,
            persistence: vec![self.http.clone()],
            jwt_secret: "secret".to_owned(),
            http: client(),
        };
        Listener::new("bob", Arc::new(nodes), 0, None)
    }

    /// A user who is online and listens to room `r` from its start.
    fn listener_in_room(&self) -> Listener {
        let bob = self.offline_listener();
        bob.join("r", Begin::At(Cursor { epoch: "1".to_owned(), seq: 0 }), Arc::default());
        bob.online();
        bob
    }

    fn received(&self, kind: &str) -> Vec<Value> {
        let received = self.received.lock().unwrap();
        received.iter().map(|(_, frame)| frame.clone()).filter(|frame| frame["type"] == kind).collect()
    }
}

async fn serve_websocket(
    number: usize,
    stream: TcpStream,
    script: Arc<Script>,
    received: Arc<Mutex<Vec<(usize, Value)>>>,
) {
    let mut socket = tokio_tungstenite::accept_async(stream).await.unwrap();
    let connected = json!({
        "type": "connected", "connection": "c", "user": "bob", "node": "fake", "server_time": "",
        "heartbeat_ms": 25000, "expires_at": "", "rooms_version": "1",
        "limits": { "max_message_chars": 1000, "max_frame_bytes": 65536, "messages_per_second": 10 },
    });
    socket.send(Message::text(connected.to_string())).await.unwrap();
    while let Some(Ok(message)) = socket.next().await {
        let Message::Text(text) = message else { continue };
        let frame: Value = serde_json::from_str(&text).unwrap();
        received.lock().unwrap().push((number, frame.clone()));
        for action in script(number, &frame) {
            match action {
                Action::Send(frame) => socket.send(Message::text(frame.to_string())).await.unwrap(),
                Action::Cut => return,
            }
        }
    }
}

async fn answer_http(mut stream: TcpStream, pages: Arc<Pages>) {
    let mut request = Vec::new();
    while !request.ends_with(b"\r\n\r\n") {
        if stream.read_buf(&mut request).await.unwrap() == 0 {
            return;
        }
    }
    let text = String::from_utf8(request).unwrap();
    let (status, body) = pages(text.split(' ').nth(1).unwrap());
    let body = body.to_string();
    let head = format!("HTTP/1.1 {status} X\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", body.len());
    stream.write_all(format!("{head}{body}").as_bytes()).await.unwrap();
}

fn message_event(seq: u64) -> Value {
    json!({
        "type": "message:new", "room": "r", "seq": seq, "at": "", "id": format!("id-{seq}"), "kind": "text",
        "client_id": format!("c-{seq}"), "sender": { "id": "alice" }, "content": format!("text {seq}"),
    })
}

fn joined_answer(frame: &Value, head: u64) -> Action {
    Action::Send(json!({ "type": "room:joined", "ref": frame["ref"], "failed": [], "rooms": [{
        "room": "r", "kind": "private", "name": null, "role": "member", "read_seq": 0, "members": 2,
        "head": { "epoch": "1", "seq": head },
    }] }))
}

fn caught_up(seq: u64) -> Action {
    Action::Send(json!({ "type": "room:caught_up", "room": "r", "epoch": "1", "seq": seq }))
}

fn stored_ack(frame: &Value, seq: u64) -> Action {
    Action::Send(json!({
        "type": "ack", "ref": frame["ref"], "room": "r", "seq": seq, "epoch": "1", "at": "",
        "stage": "stored", "duplicate": false, "id": "id", "client_id": frame["client_id"],
    }))
}

fn no_pages(path: &str) -> (u16, Value) {
    (404, json!({ "asked": path }))
}

async fn wait_until(what: &str, done: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(10);
    while !done() {
        assert!(Instant::now() < deadline, "not reached: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

fn seqs(bob: &Listener) -> Vec<u64> {
    bob.record("r").unwrap().lock().unwrap().messages().map(|message| message.seq).collect()
}

#[tokio::test]
async fn unanswered_send_is_repeated_with_same_client_id() {
    let script = |connection, frame: &Value| match connection {
        0 => vec![Action::Cut],
        _ => vec![stored_ack(frame, 7)],
    };
    let fake = FakeServer::start(script, no_pages).await;
    let bob = fake.offline_listener();
    bob.online();
    let sent = bob.send("r", "hello").await.unwrap();
    assert_eq!((sent.seq, sent.attempts), (7, 2));
    let sends = fake.received("message:send");
    assert_eq!(sends.len(), 2);
    assert_eq!(sends[0]["client_id"], sends[1]["client_id"]);
    assert_eq!((&sends[0]["attempt"], &sends[1]["attempt"]), (&json!(1), &json!(2)));
}

#[tokio::test]
async fn refused_send_waits_for_retry_after() {
    let script = |_, frame: &Value| {
        if frame["attempt"] == 1 {
            let error = json!({
                "type": "error", "ref": frame["ref"], "code": "rate_limited", "message": "",
                "retry_after_ms": 300,
            });
            return vec![Action::Send(error)];
        }
        vec![stored_ack(frame, 1)]
    };
    let fake = FakeServer::start(script, no_pages).await;
    let bob = fake.offline_listener();
    bob.online();
    let begun = Instant::now();
    bob.send("r", "hello").await.unwrap();
    assert!(begun.elapsed() >= Duration::from_millis(300));
}

#[tokio::test]
async fn permanently_refused_send_is_not_repeated() {
    let script = |_, frame: &Value| {
        let error = json!({ "type": "error", "ref": frame["ref"], "code": "forbidden", "message": "no" });
        vec![Action::Send(error)]
    };
    let fake = FakeServer::start(script, no_pages).await;
    let bob = fake.offline_listener();
    bob.online();
    assert!(bob.send("r", "hello").await.unwrap_err().contains("forbidden"));
    assert_eq!(fake.received("message:send").len(), 1);
}

#[tokio::test]
async fn new_connection_joins_at_cursor_and_misses_nothing() {
    let script = |connection, frame: &Value| match (connection, frame["after"]["seq"].as_u64()) {
        (0, _) => {
            vec![
                joined_answer(frame, 0),
                caught_up(0),
                Action::Send(message_event(1)),
                Action::Send(message_event(2)),
                Action::Cut,
            ]
        }
        (_, Some(2)) => vec![joined_answer(frame, 3), Action::Send(message_event(3)), caught_up(3)],
        _ => vec![],
    };
    let fake = FakeServer::start(script, no_pages).await;
    let bob = fake.listener_in_room();
    wait_until("bob has all three", || seqs(&bob) == [1, 2, 3]).await;
    assert_eq!(bob.record("r").unwrap().lock().unwrap().violations().count(), 0);
    assert!(bob.broken_rules().is_empty());
}

#[tokio::test]
async fn gap_is_filled_over_http_while_live_events_wait() {
    let script = |_, frame: &Value| {
        let gap = json!({
            "type": "room:gap", "room": "r", "after": 0, "head": { "epoch": "2", "seq": 3 },
        });
        vec![joined_answer(frame, 3), Action::Send(gap), Action::Send(message_event(4))]
    };
    let asked = Arc::new(Mutex::new(Vec::new()));
    let pages = {
        let asked = Arc::clone(&asked);
        move |path: &str| {
            let mut asked = asked.lock().unwrap();
            asked.push(path.to_owned());
            let head = json!({ "epoch": "2", "seq": 3 });
            match asked.len() {
                1 => (503, json!({ "code": "unavailable", "retry_after_ms": 20 })),
                2 => {
                    let next = json!({ "epoch": "2", "seq": 2 });
                    (
                        200,
                        json!({ "events": [message_event(1), message_event(2)], "next": next, "head": head, "more": true }),
                    )
                }
                _ => {
                    (200, json!({ "events": [message_event(3)], "next": head, "head": head, "more": false }))
                }
            }
        }
    };
    let fake = FakeServer::start(script, pages).await;
    let bob = fake.listener_in_room();
    wait_until("the gap is filled", || seqs(&bob) == [1, 2, 3, 4]).await;
    assert_eq!(bob.cursor("r"), Some(Cursor { epoch: "2".to_owned(), seq: 4 }));
    let asked = asked.lock().unwrap().clone();
    assert_eq!(asked[1], "/v1/rooms/r/events?after=0&epoch=2&upto=3&limit=200");
    assert_eq!(asked[2], "/v1/rooms/r/events?after=2&epoch=2&upto=3&limit=200");
}

#[tokio::test]
async fn outdated_epoch_during_gap_fill_causes_new_join() {
    let script = |_, frame: &Value| {
        let gap = json!({
            "type": "room:gap", "room": "r", "after": 0, "head": { "epoch": "2", "seq": 1 },
        });
        match frame["after"]["epoch"].as_str() {
            Some("1") => vec![joined_answer(frame, 1), Action::Send(gap), Action::Send(message_event(2))],
            _ => vec![
                joined_answer(frame, 2),
                Action::Send(message_event(1)),
                Action::Send(message_event(2)),
                caught_up(2),
            ],
        }
    };
    let fake = FakeServer::start(script, |_| (409, json!({ "code": "conflict", "after": 0 }))).await;
    let bob = fake.listener_in_room();
    wait_until("bob has both", || seqs(&bob) == [1, 2]).await;
    assert_eq!(bob.record("r").unwrap().lock().unwrap().violations().count(), 0);
}

#[tokio::test]
async fn duplicate_delivery_is_counted_as_violation() {
    let script = |_, frame: &Value| {
        vec![
            joined_answer(frame, 0),
            caught_up(0),
            Action::Send(message_event(1)),
            Action::Send(message_event(1)),
        ]
    };
    let fake = FakeServer::start(script, no_pages).await;
    let bob = fake.listener_in_room();
    wait_until("the duplicate is counted", || {
        bob.record("r").is_some_and(|record| record.lock().unwrap().violations().duplicated == 1)
    })
    .await;
}

#[tokio::test]
async fn second_answer_to_one_ref_is_counted_as_violation() {
    let script = |_, frame: &Value| vec![stored_ack(frame, 1), stored_ack(frame, 1)];
    let fake = FakeServer::start(script, no_pages).await;
    let bob = fake.offline_listener();
    bob.online();
    bob.send("r", "hello").await.unwrap();
    wait_until("the second answer is counted", || bob.broken_rules().len() == 1).await;
}

#[tokio::test]
async fn draining_node_is_left_after_announced_delay() {
    let script = |connection, frame: &Value| match connection {
        0 => {
            let draining = json!({ "type": "draining", "reconnect_after_ms": 300 });
            vec![joined_answer(frame, 0), caught_up(0), Action::Send(draining)]
        }
        _ => vec![joined_answer(frame, 0), caught_up(0)],
    };
    let fake = FakeServer::start(script, no_pages).await;
    let begun = Instant::now();
    let bob = fake.listener_in_room();
    wait_until("bob connects again", || bob.connections() == 2).await;
    assert!(begun.elapsed() >= Duration::from_millis(300));
}

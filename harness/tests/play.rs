//! `play` as a judge: clean about a system that keeps its promises, and not fooled by one that loses,
//! repeats, reorders, changes or hides a message, or stops answering. The system is a small one in memory
//! that errs on demand.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use rstest::rstest;
use serde_json::{Value, json};
use tidings_harness::folder::Folder;
use tidings_harness::play::report::Report;
use tidings_harness::play::run::{Direction, Progress, Speed, play};
use tidings_harness::play::transcript::{Act, Conversation, Line};
use tidings_harness::play::verdict::Verdict;
use tidings_harness::{Nodes, Stack};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::server::{Request, Response};

const SECRET: &str = "a secret of thirty-two characters";

/// What goes wrong with the tenth message, for the first subscriber or in history.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    None,
    Loses,
    Repeats,
    Reorders,
    ChangesHistory,
    AppendsARetryTwice,
    NeverSaysStored,
    HidesHistory,
}

struct System {
    fault: Fault,
    log: Mutex<Vec<Value>>,
    subscribers: Mutex<Vec<UnboundedSender<Value>>>,
}

impl System {
    /// One room, `r`, is enough: every creation answers with it.
    async fn start(fault: Fault) -> Nodes {
        let system = Arc::new(System { fault, log: Mutex::default(), subscribers: Mutex::default() });
        let gateway = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let persistence = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let nodes = Nodes {
            gateways: vec![format!("ws://{}/v1/ws", gateway.local_addr().unwrap())],
            persistence: vec![format!("http://{}", persistence.local_addr().unwrap())],
            jwt_secret: SECRET.to_owned(),
            http: tidings_harness::http::client(),
        };
        tokio::spawn({
            let system = Arc::clone(&system);
            async move {
                loop {
                    tokio::spawn(connection(gateway.accept().await.unwrap().0, Arc::clone(&system)));
                }
            }
        });
        tokio::spawn(async move {
            loop {
                tokio::spawn(request(persistence.accept().await.unwrap().0, Arc::clone(&system)));
            }
        });
        nodes
    }

    fn join(&self, frame: &Value, out: &UnboundedSender<Value>) {
        let log = self.log.lock().unwrap();
        let head = json!({ "epoch": "1", "seq": log.len() });
        let after = frame["after"]["seq"].as_u64().map_or(log.len(), |seq| usize::try_from(seq).unwrap());
        out.send(json!({ "type": "room:joined", "ref": frame["ref"], "failed": [], "rooms": [{
            "room": "r", "kind": "private", "role": "member", "read_seq": 0, "members": 2, "head": head,
        }] }))
        .unwrap();
        log[after..].iter().for_each(|event| out.send(event.clone()).unwrap());
        out.send(json!({ "type": "room:caught_up", "room": "r", "epoch": "1", "seq": log.len() })).unwrap();
        self.subscribers.lock().unwrap().push(out.clone());
    }

    fn append(&self, user: &str, frame: &Value) -> Value {
        let mut log = self.log.lock().unwrap();
        let mut seq = log.len() + 1;
        let event = |seq: usize| {
            json!({
                "type": "message:new", "room": "r", "seq": seq, "at": "", "id": format!("id-{seq}"),
                "kind": "text", "client_id": frame["client_id"], "sender": { "id": user },
                "content": frame["content"],
            })
        };
        let mut new = vec![event(seq)];
        if seq == 10 && self.fault == Fault::AppendsARetryTwice {
            new.push(event(seq + 1));
        }
        log.extend(new.iter().cloned());
        for (number, out) in self.subscribers.lock().unwrap().iter().enumerate() {
            let mut events = new.clone();
            match self.fault {
                Fault::Loses if number == 0 && seq == 10 => events.clear(),
                Fault::Repeats if number == 0 && seq == 10 => events.push(new[0].clone()),
                Fault::Reorders if number == 0 && seq == 10 => events.clear(),
                Fault::Reorders if number == 0 && seq == 11 => events.push(log[9].clone()),
                _ => {}
            }
            // Whoever has gone hears nothing.
            events.into_iter().for_each(|event| drop(out.send(event)));
        }
        seq = new[0]["seq"].as_u64().unwrap().try_into().unwrap();
        json!({
            "type": "ack", "ref": frame["ref"], "room": "r", "seq": seq, "epoch": "1", "at": "",
            "stage": "stored", "duplicate": false, "id": format!("id-{seq}"),
        })
    }

    fn answer(&self, path: &str) -> Value {
        let log = self.log.lock().unwrap();
        let head = json!({ "epoch": "1", "seq": log.len() });
        if path.ends_with("/v1/rooms") {
            return json!({ "room": "r", "head": head });
        }
        let after = path.split(['?', '&']).find_map(|part| part.strip_prefix("after="));
        let after: usize = after.map_or(log.len().saturating_sub(50), |after| after.parse().unwrap());
        let page: Vec<Value> = log[after..].iter().take(200).cloned().collect();
        let end = after + page.len();
        if path.contains("/events") {
            let next = json!({ "epoch": "1", "seq": end });
            return json!({ "events": page, "next": next, "head": head, "more": end < log.len() });
        }
        let messages: Vec<Value> = page.into_iter().map(|event| self.as_object(event)).collect();
        json!({ "messages": messages, "head": head, "has_before": after > 0, "has_after": end < log.len() })
    }

    fn as_object(&self, mut event: Value) -> Value {
        event["deleted"] = json!(false);
        event["last_seq"] = event["seq"].clone();
        if self.fault == Fault::ChangesHistory && event["seq"] == 10 {
            event["content"] = json!("something else");
        }
        event
    }
}

async fn connection(stream: TcpStream, system: Arc<System>) {
    let mut user = String::new();
    #[expect(clippy::result_large_err, reason = "the library's own signature")]
    let read_token = |request: &Request, response: Response| {
        let header = request.headers()["authorization"].to_str().unwrap();
        let key = jsonwebtoken::DecodingKey::from_secret(SECRET.as_bytes());
        let rules = jsonwebtoken::Validation::new(jsonwebtoken::Algorithm::HS256);
        let token = header.trim_start_matches("Bearer ");
        let claims = jsonwebtoken::decode::<Value>(token, &key, &rules).unwrap().claims;
        user = claims["sub"].as_str().unwrap().to_owned();
        Ok(response)
    };
    let socket = tokio_tungstenite::accept_hdr_async(stream, read_token).await.unwrap();
    let (mut sink, mut stream) = socket.split();
    let (out, mut frames) = unbounded_channel::<Value>();
    tokio::spawn(async move {
        while let Some(frame) = frames.recv().await {
            if sink.send(Message::text(frame.to_string())).await.is_err() {
                return;
            }
        }
    });
    out.send(json!({
        "type": "connected", "connection": "c", "user": user, "node": "fake", "server_time": "",
        "heartbeat_ms": 25000, "expires_at": "", "rooms_version": "1",
        "limits": { "max_message_chars": 1000, "max_frame_bytes": 65536, "messages_per_second": 10 },
    }))
    .unwrap();
    while let Some(Ok(Message::Text(text))) = stream.next().await {
        let frame: Value = serde_json::from_str(&text).unwrap();
        match frame["type"].as_str().unwrap() {
            "room:join" => system.join(&frame, &out),
            "message:send" => {
                let ack = system.append(&user, &frame);
                if system.fault != Fault::NeverSaysStored || ack["seq"] != 10 {
                    out.send(ack).unwrap();
                }
            }
            other => panic!("{other}"),
        }
    }
}

async fn request(mut stream: TcpStream, system: Arc<System>) {
    let mut bytes = Vec::new();
    loop {
        let text = String::from_utf8_lossy(&bytes).to_lowercase();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head.split("\r\n").find_map(|line| line.strip_prefix("content-length: "));
            if body.len() >= length.map_or(0, |length| length.parse().unwrap()) {
                break;
            }
        }
        if stream.read_buf(&mut bytes).await.unwrap() == 0 {
            return;
        }
    }
    let text = String::from_utf8(bytes).unwrap();
    let status = match text.split(' ').next() {
        Some("POST") => 201,
        _ if system.fault == Fault::HidesHistory && text.contains("after=") => 403,
        _ => 200,
    };
    let body = system.answer(text.split(' ').nth(1).unwrap()).to_string();
    let head = format!("HTTP/1.1 {status} X\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", body.len());
    stream.write_all(format!("{head}{body}").as_bytes()).await.unwrap();
}

/// Three people; one comes late, one leaves and comes back.
fn conversation() -> BTreeMap<String, Conversation> {
    let line = |at_ms, act| Line { at_ms, act };
    let mut room = Conversation::default();
    let say = |at_ms: u64| line(at_ms, Act::Say(format!("at {at_ms} ✓")));
    room.people.insert("alice".to_owned(), (0..20).map(|number| say(number * 20)).collect());
    let mut bob: Vec<Line> = (0..5).map(|number| say(number * 20 + 5)).collect();
    bob.extend([line(110, Act::Go), line(200, Act::Come), say(300)]);
    room.people.insert("bob".to_owned(), bob);
    room.people.insert("carol".to_owned(), vec![line(150, Act::Come), say(160), line(390, Act::Go)]);
    BTreeMap::from([("kitchen".to_owned(), room)])
}

async fn judged(fault: Fault) -> (Report, Verdict) {
    let nodes = System::start(fault).await;
    let standstill = Duration::from_secs(2);
    let direction = Direction { standstill, ..Direction::new(Speed::Times(1.0), 2) };
    play(conversation(), direction, nodes, &Progress::default()).await.unwrap()
}

#[tokio::test]
async fn a_system_that_keeps_its_promises_is_clean() {
    let (report, verdict) = judged(Fault::None).await;
    assert!(verdict.is_clean(), "{verdict:?}");
    assert_eq!((report.messages, report.rooms, report.people), (27, 1, 3));
    // Alice and two observers hold all, Bob too (he came back), Carol loaded what was before her.
    assert!(report.deliveries > 4 * 27, "{report:?}");
    assert!(report.delivery_p99_ms > 0.0);
}

#[rstest]
#[case(Fault::Loses)]
#[case(Fault::Repeats)]
#[case(Fault::Reorders)]
#[case(Fault::ChangesHistory)]
#[case(Fault::AppendsARetryTwice)]
#[case(Fault::NeverSaysStored)]
#[case(Fault::HidesHistory)]
#[tokio::test]
async fn a_system_that_errs_once_is_found_out(#[case] fault: Fault) {
    let (report, _) = judged(fault).await;
    let count = match fault {
        Fault::None => unreachable!("errs"),
        Fault::Loses | Fault::NeverSaysStored => report.missing,
        Fault::Repeats | Fault::AppendsARetryTwice => report.duplicated,
        Fault::Reorders => report.reordered,
        Fault::ChangesHistory | Fault::HidesHistory => report.history_mismatch,
    };
    assert!(count > 0, "{report:?}");
}

/// What `./dev play` calls, played through the fake: exit code, what it said, and the file it wrote.
async fn run_play(nodes: &Nodes, transcript: &Path, folder: &Path) -> (Option<i32>, String, Value) {
    let status = json!({
        "redis_url": "", "database_url": "", "redis_pid": null, "postgres_pid": null, "demo": null,
        "jwt_secret": nodes.jwt_secret,
        "gateways": [{ "url": "", "admin": "", "pid": null, "ws": nodes.gateways[0] }],
        "persistence": [{ "admin": "", "pid": null, "url": nodes.persistence[0] }],
    });
    let (stack, json) = (folder.join("status.json"), folder.join("play.json"));
    std::fs::write(&stack, status.to_string()).unwrap();
    std::fs::write(&json, r#"{"missing":0,"left by":"an earlier run"}"#).unwrap();
    let output = tokio::process::Command::new(env!("CARGO_BIN_EXE_tidings-play"))
        .arg(transcript)
        .arg("--stack")
        .arg(stack)
        .arg("--json")
        .arg(&json)
        .output()
        .await
        .unwrap();
    let said = [output.stdout, output.stderr].map(|bytes| String::from_utf8(bytes).unwrap()).concat();
    (output.status.code(), said, serde_json::from_str(&std::fs::read_to_string(json).unwrap()).unwrap())
}

#[tokio::test]
async fn the_program_exits_with_1_after_a_fault_and_writes_its_figures_all_the_same() {
    let folder = Folder::new().unwrap();
    let transcript = Path::new(env!("CARGO_MANIFEST_DIR")).join("data/ubuntu-2016-12-19.jsonl");
    let clean = run_play(&System::start(Fault::None).await, &transcript, folder.path()).await;
    assert_eq!((clean.0, &clean.2["missing"], &clean.2["messages"]), (Some(0), &json!(0), &json!(108)));
    let printed: Value = serde_json::from_str(clean.1.lines().next().unwrap()).unwrap();
    assert_eq!(printed, clean.2);
    assert!(clean.1.contains("33 people, 108 messages"), "{}", clean.1);
    let mut keys: Vec<&str> = clean.2.as_object().unwrap().keys().map(String::as_str).collect();
    keys.sort_unstable();
    let mut contract = [
        "messages",
        "rooms",
        "people",
        "deliveries",
        "missing",
        "duplicated",
        "reordered",
        "history_mismatch",
        "ack_p50_ms",
        "ack_p99_ms",
        "delivery_p50_ms",
        "delivery_p99_ms",
        "seconds",
    ];
    contract.sort_unstable();
    assert_eq!(keys, contract);

    let faulty = run_play(&System::start(Fault::Loses).await, &transcript, folder.path()).await;
    assert_eq!((faulty.0, &faulty.2["missing"]), (Some(1), &json!(1)), "{}", faulty.1);
    assert!(faulty.1.contains(" lacks "), "{}", faulty.1);
}

#[tokio::test]
async fn the_program_leaves_no_earlier_figures_behind_when_it_cannot_play() {
    let folder = Folder::new().unwrap();
    let nodes = System::start(Fault::None).await;
    let (code, said, json) = run_play(&nodes, Path::new("nobody-said-this.jsonl"), folder.path()).await;
    assert_eq!(code, Some(1));
    assert!(said.contains("nobody-said-this.jsonl"), "{said}");
    assert!(json["error"].as_str().unwrap().contains("nobody-said-this.jsonl"), "{json}");
}

#[tokio::test]
async fn full_speed_is_as_fast_as_the_limits_of_the_gateway_allow() {
    let gateway = Stack::builder().gateway_env("TIDINGS_MESSAGES_PER_SECOND", 10);
    let stack = gateway.gateway_env("TIDINGS_MESSAGES_BURST", 5).start().await.unwrap();
    let say = |number: u64| Line { at_ms: 0, act: Act::Say(number.to_string()) };
    let people = BTreeMap::from([("alice".to_owned(), (0..25).map(say).collect())]);
    let rooms = BTreeMap::from([("kitchen".to_owned(), Conversation { people })]);
    let direction = Direction::new(Speed::Max, 1);
    let (report, verdict) = play(rooms, direction, Nodes::of(&stack), &Progress::default()).await.unwrap();
    assert!(verdict.is_clean(), "{verdict:?}");
    // Five at once, twenty at ten a second.
    assert!(report.seconds > 1.9, "{report:?}");
}

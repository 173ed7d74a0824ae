//! The other servers of the benchmark, and gateways with Socket.IO clients, as real processes. The tests use them
//! through their dialects.
#![allow(clippy::unwrap_used)]

use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::Value;
use tidings_bench::load::{ClientSpec, Completion, LoadGenerator, Work};
use tidings_bench::peers::install::centrifuge;
use tidings_bench::peers::others::{OtherServer, start, start_centrifuge, start_socketio};
use tidings_bench::peers::{RunningServer, ServerRequirements};
use tidings_bench::processes;
use tidings_harness::Token;
use tidings_harness::postgres::Database;
use uuid::Uuid;

use crate::speaker::Speaker;

#[path = "peers/socket_io_clients.rs"]
mod socket_io_clients;
#[path = "support/speaker.rs"]
mod speaker;

const ONE_NODE: ServerRequirements = ServerRequirements { nodes: 1, stored: false };
const TWO_NODES_STORED: ServerRequirements = ServerRequirements { nodes: 2, stored: true };

/// Checks with two users in a room that each message is acknowledged and reaches both. A user of another room gets
/// nothing.
async fn check_dialect(running: &RunningServer) {
    let (room, other_room) = (Uuid::now_v7().to_string(), Uuid::now_v7().to_string());
    let last = running.nodes.len() - 1;
    let mut ann = Speaker::join(running, 0, "ann", &room).await.unwrap();
    let mut ben = Speaker::join(running, last, "ben", &room).await.unwrap();
    let mut eve = Speaker::join(running, 0, "eve", &other_room).await.unwrap();
    for number in 0..3 {
        let (client_id, text) =
            (Uuid::now_v7().to_string(), format!("Grüße {number} {}", "x".repeat(number * 100)));
        ann.send(&client_id, &text).await.unwrap();
        for copy in [ann.delivery().await.unwrap(), ben.delivery().await.unwrap()] {
            let event = event_of(&copy);
            assert_eq!(event["room"], room);
            assert_eq!(event["client_id"], client_id);
            assert_eq!(event["content"], text);
            assert_eq!(event["sender"]["id"], "ann");
            assert_eq!(event["kind"], "text");
            assert!(event["seq"].as_u64().unwrap() > 0);
            assert_eq!(event["at"].as_str().unwrap().len(), "2026-01-01T00:00:00.000Z".len());
            assert_eq!(Uuid::parse_str(event["id"].as_str().unwrap()).unwrap().get_version_num(), 7);
        }
    }
    assert!(eve.receives_nothing().await);
    assert!(processes::cpu_times(&running.processes).unwrap().total() > 0.0);
}

/// The JSON object of an event or an ack in a payload, without the text or objects around it.
fn event_of(payload: &str) -> Value {
    let object = &payload[payload.find('{').unwrap()..=payload.rfind('}').unwrap()];
    let mut object: Value = serde_json::from_str(object).unwrap();
    for within in ["/push/pub/data", "/rpc/data"] {
        if let Some(event) = object.pointer_mut(within) {
            return event.take();
        }
    }
    object
}

/// Whether Centrifuge cannot be tested here, because Go or its modules are missing.
async fn lacks_go() -> bool {
    let why = centrifuge::unavailable_reason().await.unwrap();
    if let Some(why) = &why {
        eprintln!("Centrifuge: NOT TESTED. {why}");
    }
    why.is_some()
}

/// Drops the server, and waits until all its processes have ended.
fn drop_and_expect_end(running: RunningServer) {
    let pids: Vec<u32> = running.processes.iter().map(|process| process.pid).collect();
    assert!(!pids.is_empty());
    drop(running);
    let begun = Instant::now();
    while pids.iter().any(|pid| Path::new(&format!("/proc/{pid}")).exists()) {
        assert!(begun.elapsed() < Duration::from_secs(5), "one of {pids:?} still runs");
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[tokio::test]
async fn socketio_works_with_its_dialect_and_ends_on_drop() {
    let running = start(&OtherServer::SocketIo, &ONE_NODE).await.unwrap();
    check_dialect(&running).await;
    drop_and_expect_end(running);
}

#[tokio::test]
async fn ws_works_with_its_dialect_and_ends_on_drop() {
    let running = start(&OtherServer::Ws, &ONE_NODE).await.unwrap();
    check_dialect(&running).await;
    drop_and_expect_end(running);
}

#[tokio::test]
async fn actix_ws_works_with_its_dialect_and_ends_on_drop() {
    let running = start(&OtherServer::ActixWs, &ONE_NODE).await.unwrap();
    check_dialect(&running).await;
    drop_and_expect_end(running);
}

#[tokio::test]
async fn write_limit_works_with_its_dialect_and_ends_on_drop() {
    let running = start(&OtherServer::WriteLimit, &ONE_NODE).await.unwrap();
    check_dialect(&running).await;
    drop_and_expect_end(running);
}

#[tokio::test]
async fn socketio_ack_means_stored_once_and_delivered() {
    let (running, database) = start_socketio(&TWO_NODES_STORED).await.unwrap();
    check_acks_and_events(&running, &database.unwrap(), "42[\"{event}\"").await;
    drop_and_expect_end(running);
}

#[tokio::test]
#[ignore = "long: builds a server with Go"]
async fn centrifuge_ack_means_stored_once_and_delivered() {
    if lacks_go().await {
        return;
    }
    let (running, database) = start_centrifuge(&TWO_NODES_STORED).await.unwrap();
    let event = r#"{"push":{"channel":"{room}","pub":{"data":{"type":"{event}""#;
    check_acks_and_events(&running, &database.unwrap(), event).await;
    drop_and_expect_end(running);
}

/// Checks that a message is stored once when it is acknowledged, and that typing, read marks and presence are
/// delivered. `begins` is the prefix of the frame of an event, with `{event}` for its type.
async fn check_acks_and_events(running: &RunningServer, database: &Database, begins: &str) {
    let begins = |event: &str| begins.replace("{event}", event);
    check_dialect(running).await;
    let room = Uuid::now_v7().to_string();
    let mut ann = Speaker::join(running, 0, "ann", &room).await.unwrap();
    let mut ben = Speaker::join(running, 1, "ben", &room).await.unwrap();
    let client_id = Uuid::now_v7().to_string();
    let first = ann.send(&client_id, "once").await.unwrap();
    let count = format!("SELECT count(*) FROM messages WHERE room_id = '{room}' AND content = 'once'");
    assert_eq!(database.value(&count).await.unwrap(), "1", "acknowledged: {first}");
    let copy = ben.delivery().await.unwrap();
    let again = ann.send(&client_id, "once").await.unwrap();
    assert_eq!(database.value(&count).await.unwrap(), "1");
    let (first, again, copy) = (event_of(&first), event_of(&again), event_of(&copy));
    for field in ["seq", "id", "at"] {
        assert_eq!(again[field], first[field]);
        assert_eq!(copy[field], first[field]);
    }
    assert_eq!((&first["duplicate"], &again["duplicate"]), (&false.into(), &true.into()));
    assert!(ben.receives_nothing().await, "a repetition is delivered to nobody");

    let dialect = running.dialect.clone();
    let seq = first["seq"].to_string();
    ben.send_template(dialect.read.as_ref().unwrap(), &[("seq", &seq)]).await.unwrap();
    assert_eq!(event_of(&ann.wait_for_prefix(&begins("receipt:read")).await.unwrap())["user"], "ben");
    let mark = format!("SELECT seq FROM receipts WHERE room_id = '{room}' AND user_id = 'ben'");
    assert_eq!(database.value(&mark).await.unwrap(), seq);
    ben.send_template(dialect.typing.as_ref().unwrap(), &[]).await.unwrap();
    assert_eq!(event_of(&ann.wait_for_prefix(&begins("typing:start")).await.unwrap())["user"], "ben");
    ben.send_template(dialect.presence.as_ref().unwrap(), &[("status", "away")]).await.unwrap();
    assert_eq!(event_of(&ann.wait_for_prefix(&begins("presence:changed")).await.unwrap())["status"], "away");

    let mut names: Vec<&str> = running.processes.iter().map(|process| process.name.as_str()).collect();
    names.sort_unstable();
    assert_eq!(names, ["node", "node", "postgres", "redis"]);
}

#[tokio::test]
async fn socketio_refuses_bad_tokens_and_sends_without_a_join() {
    let running = start(&OtherServer::SocketIo, &ONE_NODE).await.unwrap();
    let room = Uuid::now_v7().to_string();
    let bad = Token::of("ann").sign("another secret");
    let refused = Speaker::join_with(&running, 0, "ann", &room, bad).await;
    let error = refused.err().expect("a bad token is refused").to_string();
    assert!(error.starts_with("44"), "{error}");
    let mut ann = Speaker::join(&running, 0, "ann", &room).await.unwrap();
    let elsewhere = running.dialect.send.replace("{room}", "elsewhere");
    ann.send_template(&elsewhere, &[("client_id", "c"), ("text", "hi")]).await.unwrap();
    let error = ann.wait_for_prefix("42[\"error\"").await.unwrap();
    assert!(running.dialect.errors.iter().any(|begins| begins.matches(error.as_bytes())), "{error}");
}

#[tokio::test]
#[ignore = "long: builds a server with Go"]
async fn centrifuge_works_described_and_refuses_as_socketio_does() {
    if lacks_go().await {
        return;
    }
    let started = start(&OtherServer::Centrifuge, &ONE_NODE).await.unwrap();
    check_dialect(&started).await;
    let file = description_file(&started);
    let running = start(&OtherServer::Described(file.path().to_owned()), &ONE_NODE).await.unwrap();
    check_dialect(&running).await;
    let room = Uuid::now_v7().to_string();
    let bad = Token::of("ann").sign("another secret");
    let refused = Speaker::join_with(&running, 0, "ann", &room, bad).await;
    assert!(refused.is_err(), "a bad token is refused");
    let mut ann = Speaker::join(&running, 0, "ann", &room).await.unwrap();
    for send in [running.dialect.send.replace("{room}", "elsewhere"), running.dialect.send.clone()] {
        ann.send_template(&send, &[("client_id", "c"), ("text", "")]).await.unwrap();
        ann.wait_for(&running.dialect.errors[0]).await.unwrap();
    }
    let typing = running.dialect.typing.as_ref().unwrap().replace("{room}", "elsewhere");
    ann.send_template(&typing, &[]).await.unwrap();
    ann.wait_for(&running.dialect.errors[1]).await.unwrap();
    drop_and_expect_end(started);
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "long: builds a server with Go"]
async fn centrifuge_delivers_and_stores_all_that_was_sent() {
    if lacks_go().await {
        return;
    }
    let (running, database) = start_centrifuge(&TWO_NODES_STORED).await.unwrap();
    let mut load = LoadGenerator::new(running.dialect.clone(), vec![Uuid::now_v7().to_string()]).unwrap();
    let person = |number: usize| {
        let user = format!("person-{number}");
        let token = Token::of(&user).sign(&running.jwt_secret);
        let node = running.nodes[number % running.nodes.len()];
        ClientSpec { node, user, token, rooms: vec![0], joins: None, timed: true, receive_buffer: None }
    };
    let people = (0..20).map(person).collect();
    // More messages are unfinished than fit into one frame of Centrifuge, so some frames contain many messages.
    let senders = (0..20).map(|number| (number, 0)).collect();
    let time = Duration::from_secs(1);
    let work = Work::Closed { senders, characters: 64, window: 100, completion: Completion::Delivered, time };
    let tally = tokio::task::block_in_place(|| {
        load.connect_all(people, 20, Duration::from_secs(30)).unwrap();
        load.run(&work).unwrap()
    });
    assert!(tally.sent > 100, "{} sent", tally.sent);
    assert_eq!((tally.acked, tally.delivered), (tally.sent, tally.expected));
    assert_eq!((tally.expected, tally.refused), (20 * tally.sent, 0));
    let count = "SELECT count(*) FROM messages";
    assert_eq!(database.unwrap().value(count).await.unwrap(), tally.sent.to_string());
}

#[tokio::test]
async fn described_server_works_with_its_dialect() {
    let started = start(&OtherServer::WriteLimit, &ONE_NODE).await.unwrap();
    let file = description_file(&started);
    let running = start(&OtherServer::Described(file.path().to_owned()), &ONE_NODE).await.unwrap();
    check_dialect(&running).await;
}

/// The description of a running server for `--peer`.
fn description_file(started: &RunningServer) -> tempfile::NamedTempFile {
    let description = serde_json::json!({
        "url": format!("ws://{}", started.nodes[0]),
        "pids": [started.processes[0].pid],
        "jwt_secret": started.jwt_secret,
        "dialect": started.dialect,
    });
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(&file, description.to_string()).unwrap();
    file
}

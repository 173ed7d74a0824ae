//! The alternatives to Tidings as real processes, used through their dialects.
#![allow(clippy::unwrap_used)]

use std::path::Path;
use std::time::{Duration, Instant};

use tidings_bench::peers::others::{Other, start, start_socketio};
use tidings_bench::peers::{Running, Setting};
use tidings_bench::processes;
use uuid::Uuid;

use crate::speaker::Speaker;

#[path = "support/speaker.rs"]
mod speaker;

const ALONE: Setting = Setting { nodes: 1, stored: false };

/// Two users are in a room: a message of one is acknowledged and reaches both; a third in another room gets nothing.
async fn is_spoken_to(running: &Running) {
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
            let event: serde_json::Value = serde_json::from_str(object_of(&copy)).unwrap();
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
    assert!(eve.is_spared(&running.dialect.delivery).await);
    assert!(processes::cpu(&running.processes).unwrap().total() > 0.0);
}

/// The JSON object of an event: from its first brace, without the enclosing text.
fn object_of(payload: &str) -> &str {
    &payload[payload.find('{').unwrap()..=payload.rfind('}').unwrap()]
}

/// Checks that all processes end when the server is dropped.
fn ends_as_a_whole(running: Running) {
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
    let running = start(&Other::SocketIo, &ALONE).await.unwrap();
    is_spoken_to(&running).await;
    ends_as_a_whole(running);
}

#[tokio::test]
async fn ws_works_with_its_dialect_and_ends_on_drop() {
    let running = start(&Other::Ws, &ALONE).await.unwrap();
    is_spoken_to(&running).await;
    ends_as_a_whole(running);
}

#[tokio::test]
async fn actix_ws_works_with_its_dialect_and_ends_on_drop() {
    let running = start(&Other::ActixWs, &ALONE).await.unwrap();
    is_spoken_to(&running).await;
    ends_as_a_whole(running);
}

#[tokio::test]
async fn write_limit_works_with_its_dialect_and_ends_on_drop() {
    let running = start(&Other::WriteLimit, &ALONE).await.unwrap();
    is_spoken_to(&running).await;
    ends_as_a_whole(running);
}

#[tokio::test]
async fn socketio_ack_means_stored_once_and_delivered() {
    let (running, database) = start_socketio(&Setting { nodes: 2, stored: true }).await.unwrap();
    let database = database.unwrap();
    is_spoken_to(&running).await;
    let room = Uuid::now_v7().to_string();
    let mut ann = Speaker::join(&running, 0, "ann", &room).await.unwrap();
    let mut ben = Speaker::join(&running, 1, "ben", &room).await.unwrap();
    let client_id = Uuid::now_v7().to_string();
    let first = ann.send(&client_id, "once").await.unwrap();
    let count = format!("SELECT count(*) FROM messages WHERE room_id = '{room}' AND content = 'once'");
    assert_eq!(database.value(&count).await.unwrap(), "1", "acknowledged: {first}");
    let copy = ben.delivery().await.unwrap();
    let again = ann.send(&client_id, "once").await.unwrap();
    assert_eq!(database.value(&count).await.unwrap(), "1");
    let answer = |payload: &str| serde_json::from_str::<serde_json::Value>(object_of(payload)).unwrap();
    let (first, again, copy) = (answer(&first), answer(&again), answer(&copy));
    for field in ["seq", "id", "at"] {
        assert_eq!(again[field], first[field]);
        assert_eq!(copy[field], first[field]);
    }
    assert_eq!((&first["duplicate"], &again["duplicate"]), (&false.into(), &true.into()));
    assert!(ben.is_spared(&running.dialect.delivery).await, "a repetition is delivered to nobody");

    let dialect = running.dialect.clone();
    let seq = first["seq"].to_string();
    ben.say(dialect.read.as_ref().unwrap(), &[("seq", &seq)]).await.unwrap();
    assert_eq!(answer(&ann.until("42[\"receipt:read\"").await.unwrap())["user"], "ben");
    let mark = format!("SELECT seq FROM receipts WHERE room_id = '{room}' AND user_id = 'ben'");
    assert_eq!(database.value(&mark).await.unwrap(), seq);
    ben.say(dialect.typing.as_ref().unwrap(), &[]).await.unwrap();
    assert_eq!(answer(&ann.until("42[\"typing:start\"").await.unwrap())["user"], "ben");
    ben.say(dialect.presence.as_ref().unwrap(), &[("status", "away")]).await.unwrap();
    assert_eq!(answer(&ann.until("42[\"presence:changed\"").await.unwrap())["status"], "away");

    let mut names: Vec<&str> = running.processes.iter().map(|process| process.name.as_str()).collect();
    names.sort_unstable();
    assert_eq!(names, ["node", "node", "postgres", "redis"]);
    drop((ann, ben, database));
    ends_as_a_whole(running);
}

#[tokio::test]
async fn socketio_refuses_bad_tokens_and_sends_without_a_join() {
    let running = start(&Other::SocketIo, &ALONE).await.unwrap();
    let room = Uuid::now_v7().to_string();
    let bad = tidings_harness::Token::of("ann").sign("another secret");
    let refused = Speaker::join_with(&running, 0, "ann", &room, bad).await;
    let error = refused.err().expect("a bad token is refused").to_string();
    assert!(error.starts_with("44"), "{error}");
    let mut ann = Speaker::join(&running, 0, "ann", &room).await.unwrap();
    let elsewhere = running.dialect.send.replace("{room}", "elsewhere");
    ann.say(&elsewhere, &[("client_id", "c"), ("text", "hi")]).await.unwrap();
    let error = ann.until("42[\"error\"").await.unwrap();
    assert!(running.dialect.errors.iter().any(|begins| error.starts_with(begins)), "{error}");
}

#[tokio::test]
async fn described_server_works_with_its_dialect() {
    let started = start(&Other::WriteLimit, &ALONE).await.unwrap();
    let description = serde_json::json!({
        "url": format!("ws://{}", started.nodes[0]),
        "pids": [started.processes[0].pid],
        "dialect": started.dialect,
    });
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(&file, description.to_string()).unwrap();
    let running = start(&Other::Described(file.path().to_owned()), &ALONE).await.unwrap();
    is_spoken_to(&running).await;
}

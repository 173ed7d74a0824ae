//! `play` must judge a correct system as clean, but not a system that loses, repeats, reorders, changes or hides a
//! message, or stops answering. The system under test is a small fake in memory that fails on demand.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use crate::erring::{Fault, FaultySystem};
use rstest::rstest;
use serde_json::{Value, json};
use tidings_harness::folder::Folder;
use tidings_harness::play::kit::Kit;
use tidings_harness::play::player::Players;
use tidings_harness::play::report::Report;
use tidings_harness::play::run::{PlayOptions, Progress, Speed, play, play_with};
use tidings_harness::play::transcript::{Act, Conversation, Line};
use tidings_harness::play::verdict::Verdict;
use tidings_harness::socket_io::SocketIoTransport;
use tidings_harness::{Nodes, Stack};

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

async fn play_with_fault(fault: Fault) -> (Report, Verdict) {
    let nodes = FaultySystem::start(fault).await;
    let standstill = Duration::from_secs(2);
    let options = PlayOptions { standstill, ..PlayOptions::new(Speed::Times(1.0), 2) };
    play(conversation(), options, nodes, &Progress::default()).await.unwrap()
}

#[tokio::test]
async fn correct_system_gets_clean_verdict() {
    let (report, verdict) = play_with_fault(Fault::None).await;
    assert!(verdict.is_clean(), "{verdict:?}");
    assert_eq!((report.messages, report.rooms, report.people), (27, 1, 3));
    // Alice, Bob (who came back) and two observers have all messages; Carol loaded the earlier ones.
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
#[case(Fault::RepeatsEventCursor)]
#[case(Fault::RepeatsMessagePage)]
#[tokio::test]
async fn single_fault_is_detected(#[case] fault: Fault) {
    let (report, _) = play_with_fault(fault).await;
    let count = match fault {
        Fault::None => unreachable!("this is no fault"),
        Fault::Loses | Fault::NeverSaysStored => report.missing,
        Fault::Repeats | Fault::AppendsARetryTwice => report.duplicated,
        Fault::Reorders => report.reordered,
        Fault::ChangesHistory
        | Fault::HidesHistory
        | Fault::RepeatsEventCursor
        | Fault::RepeatsMessagePage => report.history_mismatch,
    };
    assert!(count > 0, "{report:?}");
}

/// Runs the program of `./dev play` against the fake; returns exit code, output and the file that it wrote.
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
    let printed = [output.stdout, output.stderr].map(|bytes| String::from_utf8(bytes).unwrap()).concat();
    (output.status.code(), printed, serde_json::from_str(&std::fs::read_to_string(json).unwrap()).unwrap())
}

#[tokio::test]
async fn play_program_exits_with_1_and_writes_figures_after_fault() {
    let folder = Folder::new().unwrap();
    let transcript = Path::new(env!("CARGO_MANIFEST_DIR")).join("data/ubuntu-2016-12-19.jsonl");
    let clean = run_play(&FaultySystem::start(Fault::None).await, &transcript, folder.path()).await;
    assert_eq!((clean.0, &clean.2["missing"], &clean.2["messages"]), (Some(0), &json!(0), &json!(108)));
    let first_line: Value = serde_json::from_str(clean.1.lines().next().unwrap()).unwrap();
    assert_eq!(first_line, clean.2);
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

    let faulty = run_play(&FaultySystem::start(Fault::Loses).await, &transcript, folder.path()).await;
    assert_eq!((faulty.0, &faulty.2["missing"]), (Some(1), &json!(1)), "{}", faulty.1);
    assert!(faulty.1.contains(" lacks "), "{}", faulty.1);
}

#[tokio::test]
async fn failed_play_replaces_figures_of_earlier_run() {
    let folder = Folder::new().unwrap();
    let nodes = FaultySystem::start(Fault::None).await;
    let (code, printed, json) = run_play(&nodes, Path::new("nobody-said-this.jsonl"), folder.path()).await;
    assert_eq!(code, Some(1));
    assert!(printed.contains("nobody-said-this.jsonl"), "{printed}");
    assert!(json["error"].as_str().unwrap().contains("nobody-said-this.jsonl"), "{json}");
}

#[tokio::test]
async fn full_speed_play_respects_gateway_rate_limits() {
    let gateway = Stack::builder().gateway_env("TIDINGS_MESSAGES_PER_SECOND", 10);
    let stack = gateway.gateway_env("TIDINGS_MESSAGES_BURST", 5).start().await.unwrap();
    let say = |number: u64| Line { at_ms: 0, act: Act::Say(number.to_string()) };
    let people = BTreeMap::from([("alice".to_owned(), (0..25).map(say).collect())]);
    let rooms = BTreeMap::from([("kitchen".to_owned(), Conversation { people })]);
    let options = PlayOptions::new(Speed::Max, 1);
    let (report, verdict) = play(rooms, options, Nodes::of(&stack), &Progress::default()).await.unwrap();
    assert!(verdict.is_clean(), "{verdict:?}");
    // Five messages at once, then twenty at ten per second.
    assert!(report.seconds > 1.9, "{report:?}");
}

#[tokio::test]
async fn conversation_over_socket_io_gets_clean_verdict() {
    let stack = Stack::builder().gateways(2).gateway_env("TIDINGS_SOCKET_IO", "on").start().await.unwrap();
    let nodes = Nodes { socket_io: Some(SocketIoTransport::WebSocket), ..Nodes::of(&stack) };
    let options = PlayOptions::new(Speed::Times(1.0), 2);
    let (report, verdict) = play(conversation(), options, nodes, &Progress::default()).await.unwrap();
    assert!(verdict.is_clean(), "{verdict:?}");
    assert_eq!((report.messages, report.rooms, report.people), (27, 1, 3));
}

#[tokio::test]
async fn messages_count_as_missing_when_kit_process_ends() {
    let folder = Folder::new().unwrap();
    let program = folder.path().join("player.mjs");
    let ends = r#"console.log('{"ready":true}'); process.stdin.once("data", () => process.exit(1));"#;
    std::fs::write(&program, ends).unwrap();
    let players = Players::Kit(Arc::new(Kit::start(&program).await.unwrap()));
    let options = PlayOptions { standstill: Duration::from_secs(2), ..PlayOptions::new(Speed::Max, 1) };
    let nodes = FaultySystem::start(Fault::None).await;
    let progress = Progress::default();
    let played = play_with(players, conversation(), options, nodes, &progress).await;
    let (report, verdict) = played.unwrap();
    assert_eq!((report.messages, report.missing), (0, 27), "{verdict:?}");
    assert!(verdict.descriptions.iter().any(|line| line.contains("has ended")), "{verdict:?}");

    std::fs::write(&program, "process.exit(1);").unwrap();
    let error = Kit::start(&program).await.err().unwrap().to_string();
    assert!(error.contains("is the kit built?"), "{error}");
}

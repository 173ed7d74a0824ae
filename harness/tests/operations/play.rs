//! `play` as a judge: clean about a system that keeps its promises, and not fooled by one that loses,
//! repeats, reorders, changes or hides a message, or stops answering. The system is a small one in memory
//! that errs on demand.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use crate::erring::{Fault, System};
use rstest::rstest;
use serde_json::{Value, json};
use tidings_harness::folder::Folder;
use tidings_harness::play::kit::Kit;
use tidings_harness::play::player::Players;
use tidings_harness::play::report::Report;
use tidings_harness::play::run::{Direction, Progress, Speed, play, play_with};
use tidings_harness::play::transcript::{Act, Conversation, Line};
use tidings_harness::play::verdict::Verdict;
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
#[case(Fault::StandsStillInHistory)]
#[case(Fault::RepeatsHistory)]
#[tokio::test]
async fn a_system_that_errs_once_is_found_out(#[case] fault: Fault) {
    let (report, _) = judged(fault).await;
    let count = match fault {
        Fault::None => unreachable!("errs"),
        Fault::Loses | Fault::NeverSaysStored => report.missing,
        Fault::Repeats | Fault::AppendsARetryTwice => report.duplicated,
        Fault::Reorders => report.reordered,
        Fault::ChangesHistory | Fault::HidesHistory | Fault::StandsStillInHistory | Fault::RepeatsHistory => {
            report.history_mismatch
        }
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

#[tokio::test]
async fn nothing_counts_as_played_when_the_process_with_the_kit_ends() {
    let folder = Folder::new().unwrap();
    let program = folder.path().join("player.mjs");
    let ends = r#"console.log('{"ready":true}'); process.stdin.once("data", () => process.exit(1));"#;
    std::fs::write(&program, ends).unwrap();
    let players = Players::Kit(Arc::new(Kit::start(&program).await.unwrap()));
    let direction = Direction { standstill: Duration::from_secs(2), ..Direction::new(Speed::Max, 1) };
    let nodes = System::start(Fault::None).await;
    let progress = Progress::default();
    let played = play_with(players, conversation(), direction, nodes, &progress).await;
    let (report, verdict) = played.unwrap();
    assert_eq!((report.messages, report.missing), (0, 27), "{verdict:?}");
    assert!(verdict.told.iter().any(|told| told.contains("has ended")), "{verdict:?}");

    std::fs::write(&program, "process.exit(1);").unwrap();
    let why = Kit::start(&program).await.err().unwrap().to_string();
    assert!(why.contains("is the kit built?"), "{why}");
}

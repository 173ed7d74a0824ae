//! The services break each promise on purpose (`shared/src/sabotage.rs`), and the checker must detect it. A checker
//! that finds nothing here would find nothing elsewhere. One run can break several promises if each of them breaks a different
//! rule.

use std::time::Duration;

use anyhow::{Result, ensure};
use tidings_harness::faults::{Fault, FaultReport, LinkFault, Plan, run};
use tidings_harness::history::Rule;
use tidings_harness::stack::Link;
use tidings_shared::sabotage::{FAULT_VARIABLE, RULES_VARIABLE};

const MESSAGES_PER_SECOND: u32 = 60;
/// Messages per second in a run with one of the switches of [`AT_HIGH_RATE`].
const HIGH_MESSAGES_PER_SECOND: u32 = 120;
const SEED: u64 = 8;

/// With these switches the clients never catch up, because nothing delivers the missing events.
const NEVER_CAUGHT_UP: [&str; 2] = ["prefix", "complete"];

/// With these switches there are more messages: the outbox of a slow connection must grow beyond its limit, and messages
/// must be lost within three seconds.
const AT_HIGH_RATE: [&str; 3] = ["bounded", "stored", "epoch"];

/// With this switch the files are in a bucket.
const IN_A_BUCKET: [&str; 1] = ["metadata"];

/// What `append.lua` remembers, and the look-up in PostgreSQL, with their replacements. Without both a repetition is
/// appended again, and the writer makes it a void.
const MEMORY_OF_CLIENT_IDS: [&str; 2] = [
    "if entry then\u{1f}if false then",
    "if client_id ~= '' and not is_decided() then return {'lookup', look_up} end\u{1f}",
];

/// Runs the faults while the services have these switches, which are separated by commas. Requires that the clients catch
/// up, except with [`NEVER_CAUGHT_UP`]: a run in which they do not breaks rules even without a switch.
async fn run_sabotaged(switches: &str, faults: Vec<Fault>) -> Result<FaultReport> {
    let rules = switches.split(',').any(|switch| switch == "memory");
    let settings = if rules {
        vec![(RULES_VARIABLE.to_owned(), MEMORY_OF_CLIENT_IDS.join("\u{1e}"))]
    } else {
        vec![(FAULT_VARIABLE.to_owned(), switches.to_owned())]
    };
    let has_one_of = |some: &[&str]| switches.split(',').any(|switch| some.contains(&switch));
    let catches_up = !has_one_of(&NEVER_CAUGHT_UP);
    let plan = Plan {
        rate: if has_one_of(&AT_HIGH_RATE) { HIGH_MESSAGES_PER_SECOND } else { MESSAGES_PER_SECOND },
        // A run ends when its clients have caught up, which takes long on a busy machine.
        settle: Duration::from_secs(if catches_up { 90 } else { 20 }),
        settings,
        bucket: has_one_of(&IN_A_BUCKET),
        ..Plan::once(SEED, faults)
    };
    let report = run(&plan).await?;
    ensure!(report.at_rest || !catches_up, "{report:?}");
    eprintln!("{switches}: {:?}", report.broken);
    Ok(report)
}

/// Like [`run_sabotaged`], and requires that the checker reports a violation of each of these rules with one of the texts.
async fn ensure_detected(
    switches: &str,
    faults: Vec<Fault>,
    expected: &[(Rule, &[&str])],
) -> Result<FaultReport> {
    let report = run_sabotaged(switches, faults).await?;
    for (rule, texts) in expected {
        let beginning = format!("{rule:?} broken in ");
        let mut violations = report.stories.iter().filter_map(|story| story.lines().next());
        let is_detected = violations.any(|violation| {
            violation.starts_with(&beginning) && texts.iter().any(|text| violation.contains(text))
        });
        ensure!(is_detected, "{switches}: {rule:?} was not detected: {report:?}");
    }
    Ok(report)
}

fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

#[tokio::test(flavor = "multi_thread")]
async fn leaked_or_missing_data_and_unbounded_outboxes_are_detected() -> Result<()> {
    let expected: [(Rule, &[&str]); 5] = [
        (Rule::Private, &[""]),
        (Rule::Push, &["got no notification"]),
        (Rule::Webhook, &["got None"]),
        (Rule::File, &["preview"]),
        (Rule::Bounded, &["bytes are queued"]),
    ];
    // The stall is long, because a busy machine delivers few messages per second.
    let faults = vec![Fault::Stall(ms(30_000))];
    let report = ensure_detected("private,push,webhook,preview,bounded", faults, &expected).await?;
    ensure!(report.max_outbox_bytes > 4 << 20, "{report:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn repeated_or_missing_events_and_removed_files_are_detected() -> Result<()> {
    let faults = vec![
        Fault::Storm,
        Fault::Storm,
        Fault::PauseGateway(0, ms(1000)),
        Fault::Storm,
        Fault::Nothing(ms(6000)),
    ];
    ensure_detected(
        "order,feed,file",
        faults,
        &[(Rule::Order, &[""]), (Rule::Feed, &["came after"]), (Rule::File, &["404"])],
    )
    .await
    .map(drop)
}

#[tokio::test(flavor = "multi_thread")]
async fn repetitions_metadata_and_wrong_orders_are_detected() -> Result<()> {
    // Clients repeat a message only if its answer was lost, and the switch `once` needs repeated messages.
    let answers_lost = |gateway| Fault::Link(Link::ClientsGateway(gateway), LinkFault::AnswersLost, ms(1000));
    let faults = vec![answers_lost(0), answers_lost(1), Fault::Nothing(ms(6000))];
    let expected: [(Rule, &[&str]); 4] = [
        (Rule::Sent, &[""]),
        (Rule::File, &["another size", "tells its position"]),
        (Rule::Feed, &["came late"]),
        (Rule::Webhook, &["came out of order"]),
    ];
    ensure_detected("once,metadata,feed-order,webhook-order", faults, &expected).await.map(drop)
}

#[tokio::test(flavor = "multi_thread")]
async fn duplicates_that_became_voids_are_detected() -> Result<()> {
    let answers_lost = |gateway| Fault::Link(Link::ClientsGateway(gateway), LinkFault::AnswersLost, ms(1000));
    let faults = vec![answers_lost(0), answers_lost(1), Fault::Nothing(ms(3000))];
    ensure_detected("memory", faults, &[(Rule::Once, &["again as a void"])]).await.map(drop)
}

#[tokio::test(flavor = "multi_thread")]
async fn premature_stored_answer_is_detected() -> Result<()> {
    ensure_detected("stored", vec![Fault::SplitBrain(ms(3000))], &[(Rule::Stored, &[""])]).await.map(drop)
}

#[tokio::test(flavor = "multi_thread")]
async fn records_skipped_by_writer_are_detected() -> Result<()> {
    let expected: [(Rule, &[&str]); 2] =
        [(Rule::Dense, &[""]), (Rule::Prefix, &["while the run lasted: nothing is stored at"])];
    ensure_detected("prefix", vec![Fault::Nothing(ms(5000))], &expected).await.map(drop)
}

#[tokio::test(flavor = "multi_thread")]
async fn delivery_past_a_hole_is_detected() -> Result<()> {
    ensure_detected("complete", vec![Fault::Nothing(ms(5000))], &[(Rule::Complete, &[""])]).await.map(drop)
}

#[tokio::test(flavor = "multi_thread")]
async fn cursor_accepted_after_its_epoch_is_detected() -> Result<()> {
    let report = run_sabotaged("epoch", vec![Fault::SplitBrain(ms(3000)), Fault::Storm]).await?;
    // The run breaks at least one of these rules. Which ones depends on what the clients had received.
    let rules = [Rule::Agreement, Rule::Complete, Rule::Accepted, Rule::Order];
    ensure!(rules.iter().any(|rule| report.broken.contains(rule)), "{report:?}");
    Ok(())
}

//! The services break each promise on purpose (`shared/src/sabotage.rs`), and the checker must detect it. A checker
//! that finds nothing here would find nothing elsewhere. One run breaks several promises where each breaks other rules.

use std::time::Duration;

use anyhow::{Result, ensure};
use tidings_harness::faults::{Fault, FaultReport, LinkFault, Plan, run};
use tidings_harness::history::Rule;
use tidings_harness::stack::Link;

const MESSAGES_PER_SECOND: u32 = 60;
/// Enough for the buffer of a slow connection to grow beyond its limit.
const MANY_MESSAGES_PER_SECOND: u32 = 120;
const SEED: u64 = 8;

/// With these switches the clients never catch up, because nothing delivers the missing events.
const NEVER_CAUGHT_UP: [&str; 2] = ["prefix", "complete"];

/// With these switches the files are in a bucket.
const IN_A_BUCKET: &str = "metadata";

/// Runs faults that trigger the switches, which are separated by commas. The clients must catch up, because a run in which
/// they do not breaks rules even without sabotage.
async fn run_with(switches: &str, faults: Vec<Fault>) -> Result<FaultReport> {
    let settings = vec![("TIDINGS_SABOTAGE".to_owned(), switches.to_owned())];
    let catches_up = !NEVER_CAUGHT_UP.contains(&switches);
    let plan = Plan {
        rate: if switches.contains("bounded") { MANY_MESSAGES_PER_SECOND } else { MESSAGES_PER_SECOND },
        // A run ends when its clients have caught up, which takes long on a busy machine.
        settle: Duration::from_secs(if catches_up { 90 } else { 20 }),
        settings,
        bucket: switches.contains(IN_A_BUCKET),
        ..Plan::once(SEED, faults)
    };
    let report = run(&plan).await?;
    ensure!(report.at_rest || !catches_up, "{report:?}");
    eprintln!("{switches}: {:?}", report.broken);
    Ok(report)
}

/// Requires that the checker reports each of the rules.
async fn ensure_detected(switches: &str, faults: Vec<Fault>, rules: &[Rule]) -> Result<FaultReport> {
    let report = run_with(switches, faults).await?;
    for rule in rules {
        ensure!(report.broken.contains(rule), "{switches}: {rule:?} was not detected: {report:?}");
    }
    Ok(report)
}

fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

#[tokio::test(flavor = "multi_thread")]
async fn hidden_or_forgotten_events_and_unbounded_buffers_are_detected() -> Result<()> {
    let rules = [Rule::Private, Rule::Push, Rule::Webhook, Rule::File, Rule::Bounded];
    // The stall is long, because a busy machine delivers few messages per second.
    let faults = vec![Fault::Stall(ms(20_000))];
    let report = ensure_detected("private,push,webhook,preview,bounded", faults, &rules).await?;
    ensure!(report.max_outbox_bytes > 4 << 20, "{report:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn old_and_missing_events_and_removed_files_are_detected() -> Result<()> {
    let faults = vec![
        Fault::Storm,
        Fault::Storm,
        Fault::PauseGateway(0, ms(1000)),
        Fault::Storm,
        Fault::Nothing(ms(6000)),
    ];
    ensure_detected("order,feed,file", faults, &[Rule::Order, Rule::Feed, Rule::File]).await.map(drop)
}

#[tokio::test(flavor = "multi_thread")]
async fn repeated_appends_and_metadata_of_images_are_detected() -> Result<()> {
    // Messages whose answers were lost are sent again.
    let answers_lost = |gateway| Fault::Link(Link::ClientsGateway(gateway), LinkFault::AnswersLost, ms(1000));
    let faults = vec![answers_lost(0), answers_lost(1), Fault::Nothing(ms(6000))];
    ensure_detected("once,metadata", faults, &[Rule::Sent, Rule::File]).await.map(drop)
}

#[tokio::test(flavor = "multi_thread")]
async fn premature_stored_answer_is_detected() -> Result<()> {
    ensure_detected("stored", vec![Fault::SplitBrain(ms(3000))], &[Rule::Stored]).await.map(drop)
}

#[tokio::test(flavor = "multi_thread")]
async fn records_skipped_by_writer_are_detected() -> Result<()> {
    ensure_detected("prefix", vec![Fault::Nothing(ms(5000))], &[Rule::Dense]).await.map(drop)
}

#[tokio::test(flavor = "multi_thread")]
async fn delivery_past_a_hole_is_detected() -> Result<()> {
    ensure_detected("complete", vec![Fault::Nothing(ms(5000))], &[Rule::Complete]).await.map(drop)
}

#[tokio::test(flavor = "multi_thread")]
async fn cursor_accepted_after_its_epoch_is_detected() -> Result<()> {
    let report = run_with("epoch", vec![Fault::SplitBrain(ms(3000)), Fault::Storm]).await?;
    // Which of them are broken depends on what the clients had received.
    let rules = [Rule::Agreement, Rule::Complete, Rule::Accepted, Rule::Order];
    ensure!(rules.iter().any(|rule| report.broken.contains(rule)), "{report:?}");
    Ok(())
}

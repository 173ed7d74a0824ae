//! The services break each promise on purpose (`shared/src/sabotage.rs`), and the checker must detect it. A checker
//! that finds nothing here would find nothing elsewhere. `Bounded` has its own file.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Result, ensure};
use tidings_harness::faults::{Fault, Plan, run};
use tidings_harness::history::Rule;

const MESSAGES_PER_SECOND: u32 = 120;
const SEED: u64 = 8;

/// With these switches the clients never catch up, because nothing delivers the missing events.
const NEVER_CAUGHT_UP: [&str; 2] = ["prefix", "complete"];

/// With these switches the files are in a bucket.
const IN_A_BUCKET: [&str; 1] = ["metadata"];

/// Runs faults that trigger the sabotage, and requires that the checker reports at least one of the rules. The clients
/// must catch up, because a run in which they do not breaks rules even without sabotage.
async fn ensure_detected(sabotage: &str, faults: Vec<Fault>, rules: &[Rule]) -> Result<()> {
    let settings = vec![("TIDINGS_SABOTAGE".to_owned(), sabotage.to_owned())];
    let catches_up = !NEVER_CAUGHT_UP.contains(&sabotage);
    let plan = Plan {
        rate: MESSAGES_PER_SECOND,
        // A run ends when its clients have caught up, which takes long on a busy machine.
        settle: Duration::from_secs(if catches_up { 90 } else { 20 }),
        settings,
        bucket: IN_A_BUCKET.contains(&sabotage),
        ..Plan::once(SEED, faults)
    };
    let report = run(&plan).await?;
    let expected: BTreeSet<Rule> = rules.iter().copied().collect();
    ensure!(report.at_rest || !catches_up, "{report:?}");
    ensure!(!report.broken.is_disjoint(&expected), "{sabotage} was not detected: {report:?}");
    eprintln!("{sabotage}: {:?}", report.broken);
    Ok(())
}

fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

#[tokio::test(flavor = "multi_thread")]
async fn delivery_of_old_events_is_detected() -> Result<()> {
    let faults = vec![Fault::Storm, Fault::Storm, Fault::PauseGateway(0, ms(1000)), Fault::Storm];
    ensure_detected("order", faults, &[Rule::Order]).await
}

#[tokio::test(flavor = "multi_thread")]
async fn second_append_of_repeated_send_is_detected() -> Result<()> {
    // A repeated send needs a cut between a message and its answer. That time is short, so many cuts are necessary.
    let faults = [Fault::Storm, Fault::KillGateway(0), Fault::KillGateway(1), Fault::Storm];
    ensure_detected("once", faults.iter().cycle().take(20).cloned().collect(), &[Rule::Sent]).await
}

#[tokio::test(flavor = "multi_thread")]
async fn premature_stored_answer_is_detected() -> Result<()> {
    ensure_detected("stored", vec![Fault::SplitBrain(ms(3000))], &[Rule::Stored]).await
}

#[tokio::test(flavor = "multi_thread")]
async fn records_skipped_by_writer_are_detected() -> Result<()> {
    ensure_detected("prefix", vec![Fault::Nothing(ms(5000))], &[Rule::Dense]).await
}

#[tokio::test(flavor = "multi_thread")]
async fn events_missing_in_the_feed_are_detected() -> Result<()> {
    ensure_detected("feed", vec![Fault::Nothing(ms(5000))], &[Rule::Feed]).await
}

#[tokio::test(flavor = "multi_thread")]
async fn events_missing_at_the_receiver_are_detected() -> Result<()> {
    ensure_detected("webhook", vec![Fault::Nothing(ms(5000))], &[Rule::Webhook]).await
}

#[tokio::test(flavor = "multi_thread")]
async fn removed_files_of_messages_are_detected() -> Result<()> {
    ensure_detected("file", vec![Fault::Nothing(ms(8000))], &[Rule::File]).await
}

#[tokio::test(flavor = "multi_thread")]
async fn metadata_left_in_images_is_detected() -> Result<()> {
    ensure_detected("metadata", vec![Fault::Nothing(ms(8000))], &[Rule::File]).await
}

#[tokio::test(flavor = "multi_thread")]
async fn missing_previews_are_detected() -> Result<()> {
    ensure_detected("preview", vec![Fault::Nothing(ms(8000))], &[Rule::File]).await
}

#[tokio::test(flavor = "multi_thread")]
async fn forgotten_notifications_are_detected() -> Result<()> {
    ensure_detected("push", vec![Fault::Nothing(ms(8000))], &[Rule::Push]).await
}

#[tokio::test(flavor = "multi_thread")]
async fn delivery_past_a_hole_is_detected() -> Result<()> {
    ensure_detected("complete", vec![Fault::Nothing(ms(5000))], &[Rule::Complete]).await
}

#[tokio::test(flavor = "multi_thread")]
async fn delivery_without_visibility_check_is_detected() -> Result<()> {
    ensure_detected("private", vec![Fault::Nothing(ms(5000))], &[Rule::Private]).await
}

#[tokio::test(flavor = "multi_thread")]
async fn cursor_accepted_after_its_epoch_is_detected() -> Result<()> {
    let rules = [Rule::Agreement, Rule::Complete, Rule::Accepted, Rule::Order];
    ensure_detected("epoch", vec![Fault::SplitBrain(ms(3000)), Fault::Storm], &rules).await
}

//! Each promise, broken on purpose by the services themselves (`shared/src/sabotage.rs`), is noticed: a checker that saw
//! nothing here would show nothing elsewhere. `Bounded` has its own file.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Result, ensure};
use tidings_harness::faults::{Fault, Plan, run};
use tidings_harness::history::Rule;

const RATE: u32 = 120;
const SEED: u64 = 8;

/// Some cannot come to rest: nobody is given what is missing.
const NEVER_AT_REST: [&str; 2] = ["prefix", "complete"];

/// Faults that give it the occasion, and the rules of which one at least must be seen broken. A run that does not come to
/// rest breaks rules by that alone, sabotage or not.
async fn is_noticed(sabotage: &str, faults: Vec<Fault>, rules: &[Rule]) -> Result<()> {
    let settings = vec![("TIDINGS_SABOTAGE".to_owned(), sabotage.to_owned())];
    let plan = Plan { rate: RATE, settle: Duration::from_secs(20), settings, ..Plan::once(SEED, faults) };
    let report = run(&plan).await?;
    let expected: BTreeSet<Rule> = rules.iter().copied().collect();
    ensure!(report.at_rest || NEVER_AT_REST.contains(&sabotage), "{report:?}");
    ensure!(!report.broken.is_disjoint(&expected), "{sabotage} was not noticed: {report:?}");
    eprintln!("{sabotage}: {:?}", report.broken);
    Ok(())
}

fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_that_delivers_what_is_old_is_noticed() -> Result<()> {
    let faults = vec![Fault::Storm, Fault::Storm, Fault::PauseGateway(0, ms(1000)), Fault::Storm];
    is_noticed("order", faults, &[Rule::Order]).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_that_appends_a_repetition_again_is_noticed() -> Result<()> {
    // Whatever is stored soon is seldom repeated: it takes many cuts until one comes between a message and its answer.
    let faults = [Fault::Storm, Fault::KillGateway(0), Fault::KillGateway(1), Fault::Storm];
    is_noticed("once", faults.iter().cycle().take(20).cloned().collect(), &[Rule::Sent]).await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_stored_before_it_is_stored_is_noticed() -> Result<()> {
    is_noticed("stored", vec![Fault::SplitBrain(ms(3000))], &[Rule::Stored]).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_writer_that_leaves_records_out_is_noticed() -> Result<()> {
    is_noticed("prefix", vec![Fault::Nothing(ms(5000))], &[Rule::Dense]).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_that_goes_on_behind_a_hole_is_noticed() -> Result<()> {
    is_noticed("complete", vec![Fault::Nothing(ms(5000))], &[Rule::Complete]).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_that_does_not_ask_for_whom_a_message_is_is_noticed() -> Result<()> {
    is_noticed("private", vec![Fault::Nothing(ms(5000))], &[Rule::Private]).await
}

#[tokio::test(flavor = "multi_thread")]
async fn cursors_that_outlive_their_epoch_are_noticed() -> Result<()> {
    let rules = [Rule::Agreement, Rule::Complete, Rule::Accepted, Rule::Order];
    is_noticed("epoch", vec![Fault::SplitBrain(ms(3000)), Fault::Storm], &rules).await
}

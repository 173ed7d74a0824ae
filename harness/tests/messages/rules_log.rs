//! Mutation tests for rules that need no service: each runs a test of this program again without a rule. With the rule
//! the test runs like all others. docs/RULES.md lists the rules.

use anyhow::{Result, ensure};
use tidings_shared::sabotage::RULES_VARIABLE;
use tokio::process::Command;

/// Runs a test of this program without a rule, and requires that it fails with this text. `removal` is an entry of the
/// variable: the name of the rule, or its text and the replacement, separated by U+001F.
async fn ensure_red(test: &str, removal: &str, failure: &str) -> Result<()> {
    let output = Command::new(std::env::current_exe()?)
        .args([test, "--exact", "--nocapture"])
        .env(RULES_VARIABLE, removal)
        .kill_on_drop(true)
        .output()
        .await?;
    let printed = [output.stdout, output.stderr].concat();
    let printed = String::from_utf8_lossy(&printed);
    ensure!(printed.contains("running 1 test"), "there is no test {test}: {printed}");
    ensure!(
        !output.status.success() && printed.contains(failure),
        "{test} does not fail with {failure:?} without {removal:?}: {printed}"
    );
    Ok(())
}

/// A room without a hash is still seeded, because nothing could be appended to it.
#[tokio::test]
async fn hash_of_another_epoch_accepts_nothing() -> Result<()> {
    let removal = "if epoch ~= EPOCH then return {'seed'} end\u{1f}if not epoch then return {'seed'} end";
    let test = "log::new_redis_process_gets_own_epoch_before_writes";
    ensure_red(test, removal, "an event was appended to a hash of epoch 1").await
}

#[tokio::test]
async fn promoted_process_gets_a_new_epoch() -> Result<()> {
    let test = "log::process_promoted_with_older_data_gets_new_epoch";
    ensure_red(test, "a promotion ends the epoch of a process", "seq 2 of epoch 1 is given twice").await
}

#[tokio::test]
async fn watermark_of_a_later_epoch_stays() -> Result<()> {
    let removal = "if epoch and tonumber(epoch) > tonumber(EPOCH) then return 'newer' end\u{1f}";
    let test = "log::late_owner_does_not_overwrite_watermark_of_later_epoch";
    ensure_red(test, removal, "the watermark is 1 ").await
}

#[tokio::test]
async fn script_compares_the_mark_of_its_epoch() -> Result<()> {
    let removal = "if redis.call('GET', epoch_mark_key) ~= EPOCH then return redis.error_reply('EPOCHENDED ' .. \
                   epoch_mark_key) end\u{1f}";
    ensure_red("log_cluster::stale_session_is_refused_by_the_mark", removal, "Error: Ok(true)").await
}

#[tokio::test]
async fn look_up_counts_only_while_no_window_is_dropped() -> Result<()> {
    let removal = "if looked_up == '1' or looked_up == look_up then\u{1f}\
                   if looked_up ~= '0' and looked_up ~= 'new' then";
    ensure_red("log_client_ids::look_up_that_took_too_long_is_repeated", removal, "duplicate: false").await
}

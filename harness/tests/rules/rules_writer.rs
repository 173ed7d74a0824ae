//! The rules of the writer: what a batch must find in the row of its partition.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use tidings_harness::Ports;

use crate::replay::{
    BrokenPromise, Removal, ReplaySystem, WAIT_TIMEOUT, ensure_needed, ensure_redundant, small_stack,
};
use crate::row_lock::{HeldLock, end_connections, until_waiting};
use crate::rules_seeds_late::{long_lease_stack, replay_writer_stays_at_the_first_process};

/// The beginning of the statement with which a batch claims its partitions.
const BATCH_STATEMENT: &str = "WITH locked AS";

/// The name of the counter of committed batches, without the common prefix.
const BATCH_COUNTER: &str = "write_seconds_count";

/// The owner is paused with a batch in memory, until another node has written this batch and more. Then it continues,
/// and cannot learn for a while that it owns nothing any more.
///
/// There is one node until the owner is paused. Otherwise partitions could move to balance two nodes, or because a busy
/// node renews late. A partition that moves while the test holds its row is not settled, so no batch would wait for it.
async fn replay_paused_owner_continues_with_its_batch(system: &mut ReplaySystem) -> Result<BrokenPromise> {
    system.until_seeded(1).await?;
    // Only the batches of a settled partition wait for the lock of its row.
    system.send_until_stored("a").await?;
    let before = system.counter(BATCH_COUNTER).await?;
    let partition = HeldLock::of_partition(&system.stack, system.partition()?.0).await?;
    system.send_until_accepted("b").await?;
    until_waiting(&system.stack, BATCH_STATEMENT).await?;
    system.stack.persistence(0).pause()?;
    end_connections(&system.stack).await?;
    partition.release(&system.stack).await?;
    // Without this row the first node cannot renew its leases, so it does not learn that they are lost.
    let renewals = HeldLock::by_statement(&system.stack, "SELECT FROM replicas FOR UPDATE").await?;
    system.stack.add_persistence(Ports::free()?).await?;
    // These messages need no look-up, because the gateway knows only the paused node.
    for id in ["c", "d"] {
        system.send_until_accepted(id).await?;
    }
    let begun = Instant::now();
    while system.stored_rows().await? != ["a", "b", "c", "d"] {
        ensure!(begun.elapsed() < WAIT_TIMEOUT, "no other node writes b, c and d");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    system.stack.persistence(0).resume()?;
    let begun = Instant::now();
    // The first node may not answer the request for its metrics at once.
    while system.counter(BATCH_COUNTER).await.unwrap_or(0) <= before {
        ensure!(begun.elapsed() < WAIT_TIMEOUT, "the first node does not continue with its batch");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    if let Some(broken) = system.check_stored("e").await? {
        return Ok(Some(broken));
    }
    renewals.release(&system.stack).await?;
    let live = "SELECT count(*) FROM replicas WHERE expires_at > clock_timestamp()";
    system.stack.database().until(live, "2").await?;
    for id in ["f", "g"] {
        if let Some(broken) = system.check_stored(id).await? {
            return Ok(Some(broken));
        }
    }
    let rows = system.stored_rows().await?;
    Ok((rows != ["a", "b", "c", "d", "e", "f", "g"]).then(|| format!("PostgreSQL holds {rows:?}")))
}

#[tokio::test]
async fn paused_owner_is_harmless_without_token_and_number() -> Result<()> {
    let token = Removal::Text("p.token = v.token AND ", "");
    let number = Removal::Text("SELECT $4::text,", "SELECT gen_random_uuid() || $4::text,");
    let previous = Removal::Text("($5::bigint = 1 OR EXISTS (", "(TRUE OR EXISTS (");
    let builder = small_stack().persistence_env("TIDINGS_LEASE_MS", 3000);
    ensure_redundant(&[token, number, previous], builder, replay_paused_owner_continues_with_its_batch).await
}

#[tokio::test]
async fn batch_is_written_only_in_its_epoch() -> Result<()> {
    let removal = Removal::Text("AND p.epoch = v.epoch ", "");
    ensure_needed(&[removal], long_lease_stack().proxied(), replay_writer_stays_at_the_first_process).await
}

/// An entry of a stream is lost before it is written.
async fn replay_entry_of_the_stream_is_lost(system: &mut ReplaySystem) -> Result<BrokenPromise> {
    system.suspend_writer().await?;
    for id in ["a", "b"] {
        system.send_until_accepted(id).await?;
    }
    let (redis, stream) = (system.stack.redis(), system.partition()?.ingest());
    let mut range = redis::cmd("XRANGE");
    let entries: Vec<(String, Vec<String>)> = redis.command(range.arg(stream).arg("-").arg("+")).await?;
    let first = entries.first().context("the stream is empty")?;
    let _: usize = redis.command(redis::cmd("XDEL").arg(stream).arg(&first.0)).await?;
    system.resume_writer().await?;
    let begun = Instant::now();
    while system.stored_rows().await?.is_empty() && system.counter("holes_total").await? == 0 {
        ensure!(begun.elapsed() < WAIT_TIMEOUT, "the writer does not read b");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let rows = system.stored_rows().await?;
    Ok((!rows.is_empty()).then(|| format!("PostgreSQL holds {rows:?}, and nothing at the seq before")))
}

#[tokio::test]
async fn record_that_does_not_follow_the_head_is_not_written() -> Result<()> {
    ensure_needed(
        &[Removal::Named("a record follows the head")],
        small_stack(),
        replay_entry_of_the_stream_is_lost,
    )
    .await
}

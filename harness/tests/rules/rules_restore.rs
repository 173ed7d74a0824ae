//! The rules of a PostgreSQL that is restored to an earlier moment while Redis keeps its data.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use tidings_harness::Ports;

use crate::replay::{
    BrokenPromise, FinalAnswer, Removal, ReplaySystem, WAIT_TIMEOUT, ensure_needed, small_stack,
};
use crate::restored_postgres::{after_restore, copy_postgres, restore_postgres};
use crate::row_lock::{HeldLock, is_commit_waiting, make_commits_wait, until_waiting};
use crate::rules_seeds_late::long_lease_stack;
use crate::rules_stored::{INSERT_MESSAGES, LOCK_MESSAGES};

/// Longer than persistence needs to compare Redis with PostgreSQL.
const NOTICE_TIME: Duration = Duration::from_secs(8);

/// The last message is lost with PostgreSQL.
async fn replay_postgres_goes_back(system: &mut ReplaySystem) -> Result<BrokenPromise> {
    system.send_until_stored("a").await?;
    let copy = copy_postgres(&system.stack).await?;
    system.send_until_stored("b").await?;
    restore_postgres(&system.stack, &copy).await?;
    check_after_loss(system).await
}

/// PostgreSQL has lost the message b. Its sender repeats it, and then the job runs.
async fn check_after_loss(system: &ReplaySystem) -> Result<BrokenPromise> {
    tokio::time::sleep(NOTICE_TIME).await;
    if let FinalAnswer::Stored(ack) = system.retry_until_answered("b", NOTICE_TIME).await? {
        let rows = system.stored_rows().await?;
        return Ok((!rows.contains(&"b".to_owned()))
            .then(|| format!("b is answered `stored` at {}, and PostgreSQL holds {rows:?}", ack.seq)));
    }
    let job = after_restore(&system.stack, system.stack.database().url(), &[]).await?;
    ensure!(job.status.success(), "{job:?}");
    system.check_stored("b").await
}

#[tokio::test]
async fn owner_compares_redis_with_postgres() -> Result<()> {
    let removal = Removal::Named("an owner compares Redis with PostgreSQL");
    ensure_needed(&[removal], small_stack().own_postgres(), replay_postgres_goes_back).await
}

/// PostgreSQL loses the last batch, and the connections stay, as behind a pooler. At once a message of another room in
/// the partition is stored. With it the watermark gets another proof, which PostgreSQL has.
async fn replay_last_batch_is_lost(system: &mut ReplaySystem) -> Result<BrokenPromise> {
    let (room, other) = (system.room.clone(), system.new_room_in_same_partition().await?);
    system.room.clone_from(&other);
    system.send_until_stored("a").await?;
    system.room.clone_from(&room);
    for id in ["a", "b"] {
        system.send_until_stored(id).await?;
    }
    let lose = format!(
        "DELETE FROM messages WHERE client_id = 'b'; UPDATE rooms SET head_seq = 1 WHERE id = '{room}'; \
         DELETE FROM batches WHERE number = (SELECT max(number) FROM batches)"
    );
    system.stack.database().query(&lose).await?;
    system.room = other;
    system.send_until_accepted("c").await?;
    system.room = room;
    check_after_loss(system).await
}

#[tokio::test]
async fn batch_is_written_only_after_the_previous_one() -> Result<()> {
    let removal = Removal::Text("($5::bigint = 1 OR EXISTS (", "(TRUE OR EXISTS (");
    ensure_needed(&[removal], small_stack(), replay_last_batch_is_lost).await
}

/// Removes the newest message of the room from PostgreSQL, as if PostgreSQL had been restored to the moment before its
/// commit. Returns the broken promise if the repetition of the message is answered `stored`.
async fn lose_newest_message(system: &ReplaySystem, id: &str) -> Result<BrokenPromise> {
    let room = &system.room;
    let sql = format!(
        "WITH lost AS (DELETE FROM messages WHERE room_id = '{room}' AND client_id = '{id}' RETURNING seq) \
         UPDATE rooms SET head_seq = lost.seq - 1 FROM lost WHERE id = '{room}'"
    );
    system.stack.database().query(&sql).await?;
    ensure!(!system.stored_rows().await?.contains(&id.to_owned()), "{id} is still stored");
    tokio::time::sleep(NOTICE_TIME).await;
    Ok(match system.retry_until_answered(id, NOTICE_TIME).await? {
        FinalAnswer::Stored(ack) => Some(format!("{id} is answered `stored` at {}, and is lost", ack.seq)),
        _ => None,
    })
}

/// The owner is paused after its COMMIT and before it writes the watermark. It continues when another node has stored
/// more. Then PostgreSQL loses the newest commit.
async fn replay_former_owner_writes_its_watermark_late(system: &mut ReplaySystem) -> Result<BrokenPromise> {
    system.until_seeded(1).await?;
    system.send_until_stored("a").await?;
    make_commits_wait(&system.stack, "messages", "NEW.client_id = 'b'").await?;
    let commits = HeldLock::of_commits(&system.stack).await?;
    system.send_until_accepted("b").await?;
    let begun = Instant::now();
    while !is_commit_waiting(&system.stack).await? {
        ensure!(begun.elapsed() < WAIT_TIMEOUT, "b is not written");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    system.stack.persistence(0).pause()?;
    commits.release(&system.stack).await?;
    system.stack.add_persistence(Ports::free()?).await?;
    system.send_until_accepted("c").await?;
    let begun = Instant::now();
    while system.stored_rows().await? != ["a", "b", "c"] {
        ensure!(begun.elapsed() < WAIT_TIMEOUT, "no other node writes c");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    system.until_watermark_is_at_end().await?;
    system.stack.persistence(0).resume()?;
    // The former owner writes its watermark within this time.
    tokio::time::sleep(Duration::from_secs(2)).await;
    lose_newest_message(system, "c").await
}

#[tokio::test]
async fn late_watermark_keeps_the_later_proof() -> Result<()> {
    let removal = Removal::Text("if proof ~= '' and not is_late then", "if proof ~= '' then");
    let builder = small_stack().persistence_env("TIDINGS_LEASE_MS", 3000);
    ensure_needed(&[removal], builder, replay_former_owner_writes_its_watermark_late).await
}

/// The watermark of the newest commit is not written, so its record is read again. Then PostgreSQL loses this commit.
async fn replay_record_is_read_again_and_lost(system: &mut ReplaySystem) -> Result<BrokenPromise> {
    system.send_until_stored("a").await?;
    let lock = HeldLock::by_statement(&system.stack, LOCK_MESSAGES).await?;
    system.send_until_accepted("b").await?;
    until_waiting(&system.stack, INSERT_MESSAGES).await?;
    let _: () = system.stack.redis().command(redis::cmd("SCRIPT").arg("FLUSH")).await?;
    lock.release(&system.stack).await?;
    system.until_watermark_is_at_end().await?;
    lose_newest_message(system, "b").await
}

#[tokio::test]
async fn record_that_is_read_again_is_a_proof() -> Result<()> {
    let removal = Removal::Named("events that are read again are a proof");
    ensure_needed(&[removal], long_lease_stack(), replay_record_is_read_again_and_lost).await
}

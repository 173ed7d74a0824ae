//! The rules of the answer `stored`: exceptions, the watermark, duplicates.

use anyhow::{Result, ensure};
use tidings_harness::Stack;
use tidings_harness::stack::StackBuilder;

use crate::replay::{
    BrokenPromise, FinalAnswer, Removal, ReplaySystem, STORE_DEADLINE, ensure_needed, small_stack,
};
use crate::row_lock::{HeldLock, until_waiting};

/// A statement that blocks inserts of messages.
pub const LOCK_MESSAGES: &str = "LOCK TABLE messages IN SHARE MODE";
/// The beginning of the statement that inserts messages.
pub const INSERT_MESSAGES: &str = "INSERT INTO messages";

/// Builds a stack with a 30 s partition lease, so that the partitions do not change their owner during the test.
fn long_lease_stack() -> StackBuilder {
    Stack::builder().persistence_env("TIDINGS_LEASE_MS", 30_000)
}

/// Redis forgets a stored message, and its sender claims that the repetition is a first attempt. The writer finds the
/// duplicate.
async fn replay_duplicate_is_found_by_writer(system: &mut ReplaySystem) -> Result<BrokenPromise> {
    let first = system.send_until_stored("a").await?;
    system.forget_client_ids().await?;
    let second = system.send_until_accepted("a").await?;
    ensure!((first.seq, second.seq) == (1, 2), "{first:?} {second:?}");
    // The notice with the outcome has passed, so a later request learns the outcome from Redis.
    let head = format!("SELECT head_seq >= 2 FROM rooms WHERE id = '{}'", system.room);
    let database = system.stack.database();
    let head_reached = tokio::time::timeout(STORE_DEADLINE, database.until(&head, "t")).await;
    if !matches!(head_reached, Ok(Ok(()))) {
        return Ok(Some(format!("the writer stores nothing: {:?}", system.stored_rows().await?)));
    }
    system.until_watermark_is_at_end().await?;
    // The gateway receives notices in order. When it has the notice of this message, the notice of the duplicate has
    // passed.
    system.send_until_stored("b").await?;
    let answer = system.retry_until_answered("a", STORE_DEADLINE).await?;
    let rows = system.stored_rows().await?;
    let copies = rows.iter().filter(|row| *row == "a").count();
    let right = matches!(&answer, FinalAnswer::Stored(ack) if ack.seq == 1) && copies == 1;
    Ok((!right).then(|| format!("the repetition is answered {answer:?}, and PostgreSQL holds {rows:?}")))
}

#[tokio::test]
async fn exceptions_are_stored_with_watermark() -> Result<()> {
    let rule = "for i = place + 1, place + 2 * count, 2 do redis.call('HSET', exceptions_key, ARGV[i], ARGV[i + 1]) end";
    ensure_needed(&[Removal::Text(rule, "")], small_stack(), replay_duplicate_is_found_by_writer).await
}

#[tokio::test]
async fn unique_constraint_rejects_repeated_client_id() -> Result<()> {
    let removal = Removal::Sql("DROP INDEX messages_by_sender");
    ensure_needed(&[removal], small_stack(), replay_duplicate_is_found_by_writer).await
}

#[tokio::test]
async fn late_duplicate_becomes_a_void() -> Result<()> {
    let removal = Removal::Text("ORDER BY place ON CONFLICT DO NOTHING", "ORDER BY place");
    ensure_needed(&[removal], small_stack(), replay_duplicate_is_found_by_writer).await
}

/// Redis keeps its data in a restart. The sender of a stored message repeats it in the new epoch.
async fn replay_stored_message_is_repeated_after_restart(system: &mut ReplaySystem) -> Result<BrokenPromise> {
    system.send_until_stored("a").await?;
    system.stack.redis().restart().await?;
    system.until_seeded(2).await?;
    system.check_stored("a").await
}

#[tokio::test]
async fn last_stored_record_stays_in_the_stream() -> Result<()> {
    let rule = "redis.call('XTRIM', ingest_key, 'MINID', new)";
    let next = "redis.call('XTRIM', ingest_key, 'MINID', (string.gsub(new, '%d+$', function(n) return tostring(tonumber(n) + 1) end)))";
    ensure_needed(
        &[Removal::Text(rule, next)],
        small_stack(),
        replay_stored_message_is_repeated_after_restart,
    )
    .await
}

#[tokio::test]
async fn owner_settles_at_a_watermark_of_its_epoch() -> Result<()> {
    let removal = Removal::Named("owner settles at a watermark of its epoch");
    ensure_needed(&[removal], small_stack(), replay_stored_message_is_repeated_after_restart).await
}

/// Redis refuses the watermark of the only batch, because it has forgotten its scripts.
async fn replay_watermark_is_refused_once(system: &mut ReplaySystem) -> Result<BrokenPromise> {
    let lock = HeldLock::by_statement(&system.stack, LOCK_MESSAGES).await?;
    system.send_until_accepted("a").await?;
    until_waiting(&system.stack, INSERT_MESSAGES).await?;
    let _: () = system.stack.redis().command(redis::cmd("SCRIPT").arg("FLUSH")).await?;
    lock.release(&system.stack).await?;
    system.check_stored("a").await
}

#[tokio::test]
async fn owner_settles_again_after_an_unwritten_watermark() -> Result<()> {
    let removal = Removal::Named("unwritten watermark settles again");
    ensure_needed(&[removal], long_lease_stack(), replay_watermark_is_refused_once).await
}

/// Redis loses an accepted message while its sender waits for `stored`. Then a message of the next epoch is stored.
async fn replay_message_is_lost_while_its_sender_waits(system: &mut ReplaySystem) -> Result<BrokenPromise> {
    system.suspend_writer().await?;
    let lost = system.alice.send_as(&system.room, "a", "a");
    let steps = async {
        system.until_head_in_redis(1).await?;
        system.stack.redis().restart_empty().await?;
        system.until_seeded(2).await?;
        system.resume_writer().await?;
        system.send_until_stored("b").await
    };
    let (lost, other) = tokio::join!(lost, steps);
    let other = other?;
    Ok(lost.ok().map(|ack| format!("{ack:?}, and PostgreSQL holds b at {}", other.seq)))
}

#[tokio::test]
async fn watermark_is_valid_only_in_its_epoch() -> Result<()> {
    let removal = Removal::Named("watermark counts only in its epoch");
    ensure_needed(&[removal], small_stack(), replay_message_is_lost_while_its_sender_waits).await
}

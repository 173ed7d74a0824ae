//! A batch of new messages is written with one statement, which waits for other transactions. The statement must see
//! rows that these transactions change during the wait, although it began before.

use std::time::Duration;

use crate::room_log::{RoomLog, hold, hold_messages, hold_partition, metric};
use anyhow::{Result, ensure};
use tidings_harness::Stack;

const MAX_BACKLOG_RECORDS: u64 = 10_000;
const LOCK_SECONDS: f32 = 1.0;
const LOST_RETRIES: &str = "tidings_persistence_retries_total{cause=\"lost\"}";

/// Starts a replica whose lease is not renewed during a test, and creates a room whose head the replica knows.
async fn stack_with_room() -> Result<(Stack, RoomLog)> {
    let stack = Stack::builder().gateways(0).persistence_env("TIDINGS_LEASE_MS", 30_000).start().await?;
    let room = RoomLog::new(&stack, MAX_BACKLOG_RECORDS).await?;
    room.send("1").await?;
    room.send("2").await?;
    Ok((stack, room))
}

/// Waits until the single statement of a batch waits for a lock.
async fn until_statement_waits(stack: &Stack) -> Result<()> {
    let waiting = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() \
                   AND wait_event_type = 'Lock' AND query LIKE 'WITH locked AS%INSERT INTO messages%'";
    stack.database().until(waiting, "1").await
}

#[tokio::test]
async fn new_messages_are_written_by_one_statement() -> Result<()> {
    let (stack, room) = stack_with_room().await?;
    let held = hold_messages(&stack, LOCK_SECONDS).await?;
    room.append("3").await?;
    until_statement_waits(&stack).await?;
    held.await?;
    room.until_head(&stack, 3).await?;
    ensure!(room.message_texts(&stack).await? == ["1", "2", "3"]);
    Ok(())
}

#[tokio::test]
async fn partition_taken_during_the_wait_is_not_written() -> Result<()> {
    let (stack, room) = stack_with_room().await?;
    let (partition, take) = (room.partition().0, "owner = 'another', token = token + 1");
    let until = "lease_until = clock_timestamp() + interval '3 seconds'";
    let take = format!("UPDATE partitions SET {take}, {until} WHERE partition = {partition}");
    let taken = hold(&stack, &take, LOCK_SECONDS).await?;
    room.append("3").await?;
    until_statement_waits(&stack).await?;
    taken.await?;
    tokio::time::sleep(Duration::from_millis(500)).await;
    ensure!(room.message_texts(&stack).await? == ["1", "2"]);
    ensure!(metric(&stack, 0, LOST_RETRIES).await? == 1.0);
    // The lease of the other owner expires, and then the replica takes the partition again.
    room.until_head(&stack, 3).await?;
    ensure!(room.message_texts(&stack).await? == ["1", "2", "3"]);
    Ok(())
}

#[tokio::test]
async fn lost_partition_keeps_no_other_from_being_written() -> Result<()> {
    let (stack, room) = stack_with_room().await?;
    let mut other = RoomLog::new(&stack, MAX_BACKLOG_RECORDS).await?;
    while other.partition() == room.partition() {
        other = RoomLog::new(&stack, MAX_BACKLOG_RECORDS).await?;
    }
    other.send("1").await?;
    let held = hold_partition(&stack, other.partition(), LOCK_SECONDS).await?;
    other.append("2").await?;
    until_statement_waits(&stack).await?;
    // The replica reads these records during the wait, so both rooms are in the next batch.
    room.append("3").await?;
    other.append("3").await?;
    let partition = room.partition().0;
    let take = format!("UPDATE partitions SET token = token + 1 WHERE partition = {partition}");
    stack.database().query(&take).await?;
    held.await?;
    other.until_head(&stack, 3).await?;
    ensure!(
        other.message_texts(&stack).await? == ["1", "2", "3"]
            && room.message_texts(&stack).await? == ["1", "2"]
    );
    ensure!(metric(&stack, 0, LOST_RETRIES).await? == 1.0);
    Ok(())
}

#[tokio::test]
async fn rows_renewed_during_the_wait_are_written() -> Result<()> {
    let (stack, room) = stack_with_room().await?;
    let renew = format!(
        "UPDATE partitions SET lease_until = clock_timestamp() + interval '30 seconds' WHERE partition = {}; \
         UPDATE rooms SET name = 'renamed' WHERE id = '{}'",
        room.partition().0,
        room.room
    );
    let renewed = hold(&stack, &renew, LOCK_SECONDS).await?;
    room.append("3").await?;
    until_statement_waits(&stack).await?;
    renewed.await?;
    room.until_head(&stack, 3).await?;
    let stored = format!("SELECT name || head_seq FROM rooms WHERE id = '{}'", room.room);
    ensure!(stack.database().value(&stored).await? == "renamed3");
    Ok(())
}

/// Simulates a batch that was committed although the answer to its COMMIT was lost.
#[tokio::test]
async fn batch_with_a_taken_number_is_not_written() -> Result<()> {
    let (stack, room) = stack_with_room().await?;
    let take = "INSERT INTO batches SELECT replica, max(number) + 1 FROM batches GROUP BY replica";
    stack.database().query(take).await?;
    room.append("3").await?;
    room.until_head(&stack, 3).await?;
    ensure!(metric(&stack, 0, LOST_RETRIES).await? == 1.0);
    room.send("4").await?;
    ensure!(metric(&stack, 0, LOST_RETRIES).await? == 1.0, "the next number is free");
    ensure!(room.message_texts(&stack).await? == ["1", "2", "3", "4"]);
    Ok(())
}

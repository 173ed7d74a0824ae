//! Batches of new messages are written with one statement, which waits for other transactions. Rows that these change
//! meanwhile must be seen, although the statement began before.

use std::time::Duration;

use crate::room_log::{RoomLog, hold, hold_messages, hold_partition, metric};
use anyhow::{Result, ensure};
use tidings_harness::Stack;

const MAX_BACKLOG: u64 = 10_000;
const HELD_SECONDS: f32 = 1.0;
const LOST: &str = "tidings_persistence_retries_total{cause=\"lost\"}";

/// A replica whose lease is not renewed during a test, and a room whose head it knows.
async fn stack_with_room() -> Result<(Stack, RoomLog)> {
    let stack = Stack::builder().gateways(0).persistence_env("TIDINGS_LEASE_MS", 30_000).start().await?;
    let room = RoomLog::new(&stack, MAX_BACKLOG).await?;
    room.send("1").await?;
    room.send("2").await?;
    Ok((stack, room))
}

/// Waits until the single statement of a batch waits for a lock.
async fn until_statement_waits(stack: &Stack) -> Result<()> {
    let waiting = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() \
                   AND wait_event_type = 'Lock' AND query LIKE 'WITH moved AS%'";
    stack.database().until(waiting, "1").await
}

#[tokio::test]
async fn new_messages_are_written_by_one_statement() -> Result<()> {
    let (stack, room) = stack_with_room().await?;
    let held = hold_messages(&stack, HELD_SECONDS).await?;
    room.append("3").await?;
    until_statement_waits(&stack).await?;
    held.await?;
    room.until_head(&stack, 3).await?;
    ensure!(room.texts(&stack).await? == ["1", "2", "3"]);
    Ok(())
}

#[tokio::test]
async fn partition_taken_during_the_wait_is_not_written() -> Result<()> {
    let (stack, room) = stack_with_room().await?;
    let (partition, take) = (room.partition().0, "owner = 'another', token = token + 1");
    let until = "lease_until = clock_timestamp() + interval '3 seconds'";
    let take = format!("UPDATE partitions SET {take}, {until} WHERE partition = {partition}");
    let taken = hold(&stack, &take, HELD_SECONDS).await?;
    room.append("3").await?;
    until_statement_waits(&stack).await?;
    taken.await?;
    tokio::time::sleep(Duration::from_millis(500)).await;
    ensure!(room.texts(&stack).await? == ["1", "2"]);
    ensure!(metric(&stack, 0, LOST).await? == 1.0);
    // The other lease expires, and the next round takes the partition.
    room.until_head(&stack, 3).await?;
    ensure!(room.texts(&stack).await? == ["1", "2", "3"]);
    Ok(())
}

#[tokio::test]
async fn lost_partition_keeps_no_other_from_being_written() -> Result<()> {
    let (stack, room) = stack_with_room().await?;
    let mut other = RoomLog::new(&stack, MAX_BACKLOG).await?;
    while other.partition() == room.partition() {
        other = RoomLog::new(&stack, MAX_BACKLOG).await?;
    }
    other.send("1").await?;
    let held = hold_partition(&stack, other.partition(), HELD_SECONDS).await?;
    other.append("2").await?;
    until_statement_waits(&stack).await?;
    // These are read during the wait, and both rooms are in the next batch.
    room.append("3").await?;
    other.append("3").await?;
    let partition = room.partition().0;
    let take = format!("UPDATE partitions SET token = token + 1 WHERE partition = {partition}");
    stack.database().query(&take).await?;
    held.await?;
    other.until_head(&stack, 3).await?;
    ensure!(other.texts(&stack).await? == ["1", "2", "3"] && room.texts(&stack).await? == ["1", "2"]);
    ensure!(metric(&stack, 0, LOST).await? == 1.0);
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
    let renewed = hold(&stack, &renew, HELD_SECONDS).await?;
    room.append("3").await?;
    until_statement_waits(&stack).await?;
    renewed.await?;
    room.until_head(&stack, 3).await?;
    let stored = format!("SELECT name || head_seq FROM rooms WHERE id = '{}'", room.room);
    ensure!(stack.database().value(&stored).await? == "renamed3");
    Ok(())
}

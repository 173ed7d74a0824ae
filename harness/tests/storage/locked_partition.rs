//! The row of one partition is locked by a stuck transaction. The other partitions keep their owner and are settled,
//! and their messages are stored.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use tidings_harness::Stack;

use crate::room_log::{RoomLog, WAIT_TIMEOUT, hold_partition};

const MAX_BACKLOG_RECORDS: u64 = 10_000;
const LEASE: Duration = Duration::from_millis(1000);
/// How long a message of another partition may take while a row is locked.
const STORE_DEADLINE: Duration = Duration::from_secs(3);

/// Starts replicas, and creates two rooms with a message each, in different partitions of the same owner.
async fn stack_with_rooms(replicas: usize) -> Result<(Stack, RoomLog, RoomLog)> {
    let builder = Stack::builder().gateways(0).persistence(replicas);
    let stack = builder.persistence_env("TIDINGS_LEASE_MS", LEASE.as_millis()).start().await?;
    let shares = "SELECT count(DISTINCT owner) FROM partitions HAVING count(owner) = 64";
    let begun = Instant::now();
    while stack.database().query(shares).await? != [[replicas.to_string()]] {
        ensure!(begun.elapsed() < WAIT_TIMEOUT, "the partitions are not shared");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let locked = RoomLog::new(&stack, MAX_BACKLOG_RECORDS).await?;
    let other = loop {
        let room = RoomLog::new(&stack, MAX_BACKLOG_RECORDS).await?;
        let same = format!(
            "SELECT count(DISTINCT owner) FROM partitions WHERE partition IN ({}, {})",
            room.partition().0,
            locked.partition().0
        );
        if room.partition() != locked.partition() && stack.database().value(&same).await? == "1" {
            break room;
        }
    };
    locked.send("1").await?;
    other.send("1").await?;
    Ok((stack, locked, other))
}

/// Sends a message, which must be stored within [`STORE_DEADLINE`].
async fn send_within_deadline(room: &RoomLog, name: &str) -> Result<()> {
    let begun = Instant::now();
    room.send(name).await?;
    ensure!(begun.elapsed() < STORE_DEADLINE, "{name} is stored after {:?}", begun.elapsed());
    Ok(())
}

#[tokio::test]
async fn other_partitions_keep_their_owner() -> Result<()> {
    let (stack, locked, other) = stack_with_rooms(2).await?;
    let owners = "SELECT string_agg(partition || owner || token, ',' ORDER BY partition) FROM partitions";
    let before = stack.database().value(owners).await?;
    let hold = hold_partition(&stack, locked.partition(), 7.0).await?;
    let begun = Instant::now();
    for n in 2.. {
        send_within_deadline(&other, &n.to_string()).await?;
        if begun.elapsed() > 4 * LEASE {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    ensure!(!hold.is_finished(), "the lock ended too early");
    ensure!(stack.database().value(owners).await? == before, "a lease ran out");
    hold.await?;
    send_within_deadline(&locked, "2").await
}

#[tokio::test]
async fn other_partitions_are_settled() -> Result<()> {
    let (stack, locked, other) = stack_with_rooms(1).await?;
    let hold = hold_partition(&stack, locked.partition(), 12.0).await?;
    // All partitions must be settled in the new epoch.
    stack.redis().restart().await?;
    other.send("2").await?;
    send_within_deadline(&other, "3").await?;
    ensure!(!hold.is_finished(), "settling waited for the lock");
    hold.await?;
    locked.send("2").await?;
    ensure!(
        locked.message_texts(&stack).await? == ["1", "2"]
            && other.message_texts(&stack).await? == ["1", "2", "3"]
    );
    Ok(())
}

#[tokio::test]
async fn batch_with_a_locked_partition_is_written_without_it() -> Result<()> {
    let (stack, locked, other) = stack_with_rooms(1).await?;
    let hold = hold_partition(&stack, locked.partition(), 16.0).await?;
    locked.append("2").await?;
    // The batch waits for the lock until its statement ends after 10 s.
    other.send("2").await?;
    send_within_deadline(&other, "3").await?;
    ensure!(!hold.is_finished(), "the batch waited for the lock");
    hold.await?;
    locked.until_head(&stack, 2).await?;
    ensure!(
        locked.message_texts(&stack).await? == ["1", "2"]
            && other.message_texts(&stack).await? == ["1", "2", "3"]
    );
    Ok(())
}

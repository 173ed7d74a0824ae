//! Replicas share the partitions. A replica that is paused, dies or leaves is replaced and can do no harm afterwards.

use std::time::{Duration, Instant};

use crate::room_log::{RoomLog, WAIT_TIMEOUT, hold, hold_messages, metric};
use anyhow::{Result, ensure};
use tidings_harness::Stack;

const MAX_BACKLOG_RECORDS: u64 = 10_000;
const LEASE: Duration = Duration::from_millis(1500);

async fn start_stack(replicas: usize) -> Result<Stack> {
    let builder = Stack::builder().gateways(0).persistence(replicas);
    builder.persistence_env("TIDINGS_LEASE_MS", LEASE.as_millis()).start().await
}

/// The number of partitions of each owner with a valid lease, largest first.
async fn partition_counts(stack: &Stack) -> Result<Vec<String>> {
    let sql = "SELECT count(*) FROM partitions JOIN replicas r ON r.id = owner \
               WHERE r.expires_at > clock_timestamp() GROUP BY owner ORDER BY 1 DESC";
    Ok(stack.database().query(sql).await?.into_iter().flatten().collect())
}

async fn until_partition_counts(stack: &Stack, expected: &[&str]) -> Result<()> {
    let begun = Instant::now();
    loop {
        let found = partition_counts(stack).await?;
        if found == expected {
            return Ok(());
        }
        ensure!(begun.elapsed() < WAIT_TIMEOUT, "{found:?}, not {expected:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn replicas_share_partitions_and_take_over_free_ones() -> Result<()> {
    let stack = start_stack(3).await?;
    until_partition_counts(&stack, &["22", "22", "20"]).await?;
    stack.persistence(2).stop().await?;
    // The replica released its partitions, so the others do not wait for its lease.
    ensure!(stack.database().value("SELECT count(*) FROM replicas").await? == "2");
    until_partition_counts(&stack, &["32", "32"]).await?;
    stack.persistence(1).kill();
    until_partition_counts(&stack, &["64"]).await?;
    let room = RoomLog::new(&stack, MAX_BACKLOG_RECORDS).await?;
    room.send("after all that").await?;
    stack.persistence(1).restart().await?;
    until_partition_counts(&stack, &["32", "32"]).await
}

/// Waits until a replica owns the room's partition; returns the index of the replica.
async fn wait_for_owner(stack: &Stack, room: &RoomLog) -> Result<usize> {
    let begun = Instant::now();
    let sql = format!("SELECT COALESCE(owner, '') FROM partitions WHERE partition = {}", room.partition().0);
    loop {
        let owner = stack.database().value(&sql).await?;
        let port = |node: &tidings_harness::Node| format!("127.0.0.1:{}/", node.ports().public);
        if let Some(number) = stack.persistence_nodes().iter().position(|node| owner.starts_with(&port(node)))
        {
            return Ok(number);
        }
        ensure!(begun.elapsed() < WAIT_TIMEOUT, "the partition has no owner");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn resumed_owner_does_no_harm_after_takeover() -> Result<()> {
    let stack = start_stack(2).await?;
    until_partition_counts(&stack, &["32", "32"]).await?;
    let room = RoomLog::new(&stack, MAX_BACKLOG_RECORDS).await?;
    let mut expected = Vec::new();
    for round in 0..3 {
        let first = wait_for_owner(&stack, &room).await?;
        // Pauses the owner during a batch, while its transaction waits to insert.
        let hold = hold_messages(&stack, 1.0).await?;
        for n in 0..50 {
            let name = format!("{round}.{n}");
            room.append(&name).await?;
            expected.push(name);
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
        stack.persistence(first).pause()?;
        hold.await?;
        let begun = Instant::now();
        while wait_for_owner(&stack, &room).await? == first {
            ensure!(begun.elapsed() < WAIT_TIMEOUT, "the paused replica is still the owner");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        for n in 50..100 {
            let name = format!("{round}.{n}");
            room.append(&name).await?;
            expected.push(name);
        }
        room.until_head(&stack, expected.len() - 50).await?;
        stack.persistence(first).resume()?;
        for n in 100..150 {
            let name = format!("{round}.{n}");
            room.append(&name).await?;
            expected.push(name);
        }
        room.until_head(&stack, expected.len()).await?;
        until_partition_counts(&stack, &["32", "32"]).await?;
    }
    ensure!(room.message_texts(&stack).await? == expected);
    for node in 0..2 {
        ensure!(metric(&stack, node, "tidings_persistence_holes_total").await? == 0.0);
        ensure!(metric(&stack, node, "tidings_persistence_voids_total").await? == 0.0);
    }
    Ok(())
}

#[tokio::test]
async fn repeatedly_killed_owners_lose_and_duplicate_nothing() -> Result<()> {
    let stack = start_stack(2).await?;
    let room = RoomLog::new(&stack, MAX_BACKLOG_RECORDS).await?;
    let mut expected = Vec::new();
    for round in 0..4 {
        let first = wait_for_owner(&stack, &room).await?;
        for n in 0..200 {
            let name = format!("{round}.{n}");
            room.append(&name).await?;
            expected.push(name);
        }
        stack.persistence(first).kill();
        stack.persistence(first).restart().await?;
    }
    room.until_head(&stack, expected.len()).await?;
    ensure!(room.message_texts(&stack).await? == expected);
    Ok(())
}

#[tokio::test]
async fn stopping_replica_releases_partitions_in_time() -> Result<()> {
    let stack = start_stack(1).await?;
    let room = RoomLog::new(&stack, MAX_BACKLOG_RECORDS).await?;
    for n in 0..300 {
        room.append(&n.to_string()).await?;
    }
    let begun = Instant::now();
    stack.persistence(0).stop().await?;
    ensure!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    ensure!(partition_counts(&stack).await?.is_empty());
    stack.persistence(0).restart().await?;
    room.until_head(&stack, 300).await?;
    Ok(())
}

#[tokio::test]
async fn replica_with_outdated_fencing_token_writes_nothing() -> Result<()> {
    // Renewals are too rare to detect the loss of the lease. Only the check in each batch can detect it.
    let stack = Stack::builder().gateways(0).persistence_env("TIDINGS_LEASE_MS", 30_000).start().await?;
    let room = RoomLog::new(&stack, MAX_BACKLOG_RECORDS).await?;
    room.send("mine").await?;
    let partition = room.partition().0;
    let take = format!(
        "UPDATE partitions SET owner = 'another', token = token + 1, \
         lease_until = clock_timestamp() + interval '3 seconds' WHERE partition = {partition}"
    );
    stack.database().query(&take).await?;
    room.append("theirs").await?;
    tokio::time::sleep(Duration::from_millis(1500)).await;
    ensure!(room.message_texts(&stack).await? == ["mine"]);
    ensure!(metric(&stack, 0, "tidings_persistence_retries_total{cause=\"lost\"}").await? == 1.0);
    // The lease of the other owner expires, and then the replica takes the partition again.
    room.until_head(&stack, 2).await?;
    Ok(())
}

#[tokio::test]
async fn locked_numbers_and_rows_of_dead_replicas_delay_no_renewal() -> Result<()> {
    let stack = Stack::builder().gateways(0).persistence_env("TIDINGS_LEASE_MS", 3000).start().await?;
    until_partition_counts(&stack, &["64"]).await?;
    // A replica deletes this row some seconds later, and meanwhile the row gets locked.
    let dead =
        "INSERT INTO replicas (id, expires_at) VALUES ('dead', clock_timestamp() - interval '27 seconds')";
    stack.database().query(dead).await?;
    let locks = "SELECT FROM replicas WHERE id = 'dead' FOR UPDATE; LOCK TABLE batches IN SHARE MODE";
    let held = hold(&stack, locks, 8.0).await?;
    while !held.is_finished() {
        ensure!(partition_counts(&stack).await? == ["64"], "the replica did not renew its leases");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    held.await?;
    stack.database().until("SELECT count(*) FROM replicas WHERE id = 'dead'", "0").await
}

#[tokio::test]
async fn batch_rows_of_deleted_replica_are_deleted() -> Result<()> {
    let stack = start_stack(1).await?;
    let room = RoomLog::new(&stack, MAX_BACKLOG_RECORDS).await?;
    let numbers = |replica: &str| format!("SELECT count(*) FROM batches WHERE replica = '{replica}'");
    let gone = "INSERT INTO replicas (id, expires_at) VALUES ('gone', clock_timestamp()); \
                INSERT INTO batches (replica, number) VALUES ('gone', 1), ('gone', 2), ('late', 1); \
                DELETE FROM replicas WHERE id = 'gone'";
    stack.database().query(gone).await?;
    ensure!(stack.database().value(&numbers("gone")).await? == "0");
    // After its start, a replica deletes the batch rows whose replica is unknown. Such a row remains if a batch is
    // committed after its replica was deleted.
    stack.persistence(0).restart().await?;
    stack.database().until(&numbers("late"), "0").await?;
    room.send("numbered").await?;
    ensure!(stack.database().value("SELECT count(*) FROM batches").await? != "0");
    Ok(())
}

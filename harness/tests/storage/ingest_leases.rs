//! Replicas share the partitions. A replica that is paused, dies or leaves is replaced and can do no harm afterwards.

use std::time::{Duration, Instant};

use crate::room_log::{PATIENCE, RoomLog, hold_messages, metric};
use anyhow::{Result, ensure};
use tidings_harness::Stack;

const MAX_BACKLOG: u64 = 10_000;
const LEASE: Duration = Duration::from_millis(1500);

async fn stack(replicas: usize) -> Result<Stack> {
    let builder = Stack::builder().gateways(0).persistence(replicas);
    builder.persistence_env("TIDINGS_LEASE_MS", LEASE.as_millis()).start().await
}

/// The number of partitions of each owner with a valid lease, largest first.
async fn shares(stack: &Stack) -> Result<Vec<String>> {
    let sql = "SELECT count(*) FROM partitions WHERE owner IS NOT NULL AND lease_until > clock_timestamp() \
               GROUP BY owner ORDER BY 1 DESC";
    Ok(stack.database().query(sql).await?.into_iter().flatten().collect())
}

async fn until_shares(stack: &Stack, expected: &[&str]) -> Result<()> {
    let begun = Instant::now();
    loop {
        let found = shares(stack).await?;
        if found == expected {
            return Ok(());
        }
        ensure!(begun.elapsed() < PATIENCE, "{found:?}, not {expected:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn replicas_share_partitions_and_take_over_free_ones() -> Result<()> {
    let stack = stack(3).await?;
    until_shares(&stack, &["22", "22", "20"]).await?;
    stack.persistence(2).stop().await?;
    // The replica released its partitions, so the others do not wait for its lease.
    ensure!(stack.database().value("SELECT count(*) FROM replicas").await? == "2");
    until_shares(&stack, &["32", "32"]).await?;
    stack.persistence(1).kill();
    until_shares(&stack, &["64"]).await?;
    let room = RoomLog::new(&stack, MAX_BACKLOG).await?;
    room.send("after all that").await?;
    stack.persistence(1).restart().await?;
    until_shares(&stack, &["32", "32"]).await
}

/// The replica that owns the room's partition.
async fn owner(stack: &Stack, room: &RoomLog) -> Result<usize> {
    let begun = Instant::now();
    let sql = format!("SELECT COALESCE(owner, '') FROM partitions WHERE partition = {}", room.partition().0);
    loop {
        let owner = stack.database().value(&sql).await?;
        let port = |node: &tidings_harness::Node| format!("127.0.0.1:{}/", node.ports().public);
        if let Some(number) = stack.persistence_nodes().iter().position(|node| owner.starts_with(&port(node)))
        {
            return Ok(number);
        }
        ensure!(begun.elapsed() < PATIENCE, "the partition has no owner");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn resumed_owner_does_no_harm_after_takeover() -> Result<()> {
    let stack = stack(2).await?;
    until_shares(&stack, &["32", "32"]).await?;
    let room = RoomLog::new(&stack, MAX_BACKLOG).await?;
    let mut expected = Vec::new();
    for round in 0..3 {
        let first = owner(&stack, &room).await?;
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
        while owner(&stack, &room).await? == first {
            ensure!(begun.elapsed() < PATIENCE, "the paused replica is still the owner");
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
        until_shares(&stack, &["32", "32"]).await?;
    }
    ensure!(room.texts(&stack).await? == expected);
    for node in 0..2 {
        ensure!(metric(&stack, node, "tidings_persistence_holes_total").await? == 0.0);
        ensure!(metric(&stack, node, "tidings_persistence_voids_total").await? == 0.0);
    }
    Ok(())
}

#[tokio::test]
async fn repeatedly_killed_owners_lose_and_duplicate_nothing() -> Result<()> {
    let stack = stack(2).await?;
    let room = RoomLog::new(&stack, MAX_BACKLOG).await?;
    let mut expected = Vec::new();
    for round in 0..4 {
        let first = owner(&stack, &room).await?;
        for n in 0..200 {
            let name = format!("{round}.{n}");
            room.append(&name).await?;
            expected.push(name);
        }
        stack.persistence(first).kill();
        stack.persistence(first).restart().await?;
    }
    room.until_head(&stack, expected.len()).await?;
    ensure!(room.texts(&stack).await? == expected);
    Ok(())
}

#[tokio::test]
async fn stopping_replica_releases_partitions_in_time() -> Result<()> {
    let stack = stack(1).await?;
    let room = RoomLog::new(&stack, MAX_BACKLOG).await?;
    for n in 0..300 {
        room.append(&n.to_string()).await?;
    }
    let begun = Instant::now();
    stack.persistence(0).stop().await?;
    ensure!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    ensure!(shares(&stack).await?.is_empty());
    stack.persistence(0).restart().await?;
    room.until_head(&stack, 300).await?;
    Ok(())
}

#[tokio::test]
async fn replica_with_outdated_fencing_token_writes_nothing() -> Result<()> {
    // Renewals are too rare to reveal the loss; only the check in each batch can.
    let stack = Stack::builder().gateways(0).persistence_env("TIDINGS_LEASE_MS", 30_000).start().await?;
    let room = RoomLog::new(&stack, MAX_BACKLOG).await?;
    room.send("mine").await?;
    let partition = room.partition().0;
    let take = format!(
        "UPDATE partitions SET owner = 'another', token = token + 1, \
         lease_until = clock_timestamp() + interval '3 seconds' WHERE partition = {partition}"
    );
    stack.database().query(&take).await?;
    room.append("theirs").await?;
    tokio::time::sleep(Duration::from_millis(1500)).await;
    ensure!(room.texts(&stack).await? == ["mine"]);
    ensure!(metric(&stack, 0, "tidings_persistence_retries_total{cause=\"lost\"}").await? == 1.0);
    // The other lease expires, and the next round takes the partition.
    room.until_head(&stack, 2).await?;
    Ok(())
}

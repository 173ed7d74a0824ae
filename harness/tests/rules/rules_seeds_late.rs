//! The rules of seeds that compete with another seed or with a batch. Gateways do not know a replica that is added
//! later, so it seeds only what the test asks of it.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use tidings_harness::redis::Redis;
use tidings_harness::stack::StackBuilder;
use tidings_harness::{Ports, Stack};
use tidings_shared::{
    ids::{Epoch, RoomId},
    log::{Authority, SeedOutcome},
};
use tokio::task::JoinHandle;

use crate::processes::{redirect_gateways_to, redirect_persistence_to, start_promoted_replica};
use crate::replay::{
    BrokenPromise, Removal, ReplaySystem, STORE_DEADLINE, WAIT_TIMEOUT, ensure_needed, small_stack,
};
use crate::replay_system::authority_client;
use crate::row_lock::{HeldLock, is_commit_waiting, make_commits_wait};

/// Builds a stack with a 30 s partition lease, so that the first node keeps its partitions during the test.
pub fn long_lease_stack() -> StackBuilder {
    Stack::builder().persistence_env("TIDINGS_LEASE_MS", 30_000)
}

/// A seed may take 3 s. A paused replica must be resumed well before that, or its seed is given up.
const MAX_SEED_PAUSE: Duration = Duration::from_millis(2500);

/// Asks the added replica to seed the room. Returns when the seed waits at its COMMIT; `None` if no seed waits there
/// within `timeout`, for example because another replica has seeded the room.
async fn seed_until_commit(
    system: &ReplaySystem,
    epoch: u64,
    timeout: Duration,
) -> Result<Option<JoinHandle<()>>> {
    let begun = Instant::now();
    loop {
        let (authority, room) = (authority_client(&system.stack, 1)?, RoomId::parse(&system.room)?);
        // The outcome of the seed does not matter.
        let seed = tokio::spawn(async move { drop(authority.seed(Epoch(epoch), &[room]).await) });
        while !seed.is_finished() {
            if is_commit_waiting(&system.stack).await? {
                return Ok(Some(seed));
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        // The replica may not know the epoch yet.
        if begun.elapsed() > timeout {
            return Ok(None);
        }
    }
}

/// Two replicas seed a room. The second one is paused between its decision and its write, until a message was accepted.
async fn replay_late_seed_writes_last(system: &mut ReplaySystem) -> Result<BrokenPromise> {
    system.stack.add_persistence(Ports::free()?).await?;
    make_commits_wait(&system.stack, "room_epochs", &format!("NEW.room_id = '{}'", system.room)).await?;
    let http = system.stack.http("alice");
    let (room, other) = (system.room.clone(), http.new_room(&["bob"]).await?);
    for epoch in 2..12 {
        system.stack.redis().restart_empty().await?;
        system.until_opened(epoch).await?;
        // This message of another room makes the gateway open a Redis session of the epoch, so that the first message
        // of the room needs no replica.
        system.room.clone_from(&other);
        system.send_until_accepted(&format!("{epoch}")).await?;
        system.room.clone_from(&room);
        let lock = HeldLock::of_commits(&system.stack).await?;
        let begun = Instant::now();
        let Some(seed) = seed_until_commit(system, epoch, Duration::from_secs(10)).await? else {
            lock.release(&system.stack).await?;
            continue;
        };
        system.stack.persistence(1).pause()?;
        lock.release(&system.stack).await?;
        system.until_base_is_decided(epoch).await?;
        let outcome = system.seed_at(0, epoch).await?;
        ensure!(outcome == SeedOutcome::Seeded, "{outcome:?}");
        let first = system.send_until_accepted(&format!("first {epoch}")).await?;
        system.stack.persistence(1).resume()?;
        let in_time = begun.elapsed() < MAX_SEED_PAUSE;
        let _ = tokio::time::timeout(STORE_DEADLINE, seed).await;
        let second = system.send_until_accepted(&format!("second {epoch}")).await?;
        if second.seq <= first.seq {
            return Ok(Some(format!("seq {} is given twice, in epoch {}", second.seq, second.epoch)));
        }
        if in_time {
            return Ok(None);
        }
    }
    bail!("the machine is too slow: each seed was given up, or no seed came to its COMMIT")
}

#[tokio::test]
async fn seed_writes_only_the_hash_that_it_read() -> Result<()> {
    let rule =
        "if (epoch or '') ~= known_epoch or (present_seq or '') ~= known_seq then return 'changed' end";
    ensure_needed(&[Removal::Text(rule, "")], long_lease_stack(), replay_late_seed_writes_last).await
}

/// A replica takes over with another Redis process and seeds the room, while the writer is still at the first process.
pub async fn replay_writer_stays_at_the_first_process(system: &mut ReplaySystem) -> Result<BrokenPromise> {
    system.send_until_stored("a").await?;
    let second = start_promoted_replica(&system.stack).await?;
    system.stack.links().persistence_redis().point_to(second.port());
    system.stack.add_persistence(Ports::free()?).await?;
    system.until_opened(2).await?;
    let outcome = system.seed_at(1, 2).await?;
    ensure!(outcome == SeedOutcome::Seeded, "{outcome:?}");
    let refused = "retries_total{cause=\"lost\"}";
    let (begun, before) = (Instant::now(), system.counter(refused).await?);
    let lost = system.send_until_accepted("b").await?;
    // The writer reads the message, and then writes it or finds that it must not.
    while system.stored_rows().await?.len() < 2 && system.counter(refused).await? == before {
        ensure!(begun.elapsed() < STORE_DEADLINE, "the writer does not read b");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    redirect_gateways_to(&system.stack, &second);
    let broken = system.check_stored("c").await?;
    ensure!(lost.seq == 2, "{lost:?}");
    Ok(broken)
}

#[tokio::test]
async fn seed_moves_its_partition_to_its_epoch() -> Result<()> {
    let rule = "UPDATE partitions SET epoch = $2 WHERE partition = ANY ($1::smallint[])";
    let removal = Removal::Text(rule, "SELECT $1::smallint[], $2::bigint");
    ensure_needed(&[removal], long_lease_stack().proxied(), replay_writer_stays_at_the_first_process).await
}

/// A seed is paused at its COMMIT. Meanwhile the epoch ends, and another replica seeds the room for the next epoch.
async fn replay_seed_of_an_ended_epoch_commits_last(system: &mut ReplaySystem) -> Result<BrokenPromise> {
    system.suspend_writer().await?;
    system.send_until_accepted("a").await?;
    let second = Redis::start().await?;
    system.stack.links().persistence_redis().point_to(second.port());
    system.stack.add_persistence(Ports::free()?).await?;
    system.until_opened(2).await?;
    // A seed of another room of the partition would do the same.
    let moved = format!("UPDATE partitions SET epoch = 2 WHERE partition = {}", system.partition()?.0);
    system.stack.database().query(&moved).await?;
    make_commits_wait(
        &system.stack,
        "room_epochs",
        &format!("NEW.room_id = '{}' AND NEW.epoch = 2", system.room),
    )
    .await?;
    let lock = HeldLock::of_commits(&system.stack).await?;
    let seed = seed_until_commit(system, 2, WAIT_TIMEOUT).await?.context("no seed reaches its COMMIT")?;
    system.stack.persistence(1).pause()?;
    redirect_persistence_to(&system.stack, system.stack.redis());
    system.until_opened(3).await?;
    let outcome = system.seed_at(0, 3).await?;
    lock.release(&system.stack).await?;
    system.until_base_is_decided(2).await?;
    system.stack.persistence(1).kill();
    seed.abort();
    system.resume_writer().await?;
    let broken = system.check_stored("b").await?;
    Ok(broken.map(|broken| format!("a seed during another is {outcome:?}, and {broken}")))
}

#[tokio::test]
async fn seed_locks_its_partition() -> Result<()> {
    let rule = "WHERE partition = ANY ($1::smallint[]) ORDER BY partition FOR UPDATE SKIP LOCKED";
    let removal = Removal::Text(rule, "WHERE partition = ANY ($1::smallint[]) ORDER BY partition");
    ensure_needed(&[removal], small_stack().proxied(), replay_seed_of_an_ended_epoch_commits_last).await
}

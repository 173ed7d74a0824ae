//! Seeds of rooms whose partitions are locked by other transactions, or are moving to another Redis process: the request
//! waits for a lock that is soon free, and answers `Later` for the other rooms.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use tidings_harness::{Stack, redis::RedisTopology};
use tidings_shared::{
    ids::{Epoch, RoomId},
    log::{Authority, AuthorityError, SeedOutcome, keys::Partition},
};
use tokio::task::JoinHandle;

use crate::internal_listener::internal_client;
use crate::room_log::{RoomLog, WAIT_TIMEOUT, hold};

/// A busy machine may free the rows too late for the 40 or 200 ms that a seed waits.
const MAX_ATTEMPTS: usize = 8;
/// Polls pg_stat_activity until a seed is blocked on a lock, for at most 5 s. It polls inside PostgreSQL, so that the
/// rows are freed within milliseconds.
const UNTIL_SEED_WAITS: &str = "DO $$ BEGIN FOR n IN 1..1500 LOOP \
       PERFORM pg_sleep(0.003); \
       PERFORM pg_stat_clear_snapshot(); \
       EXIT WHEN EXISTS (SELECT FROM pg_stat_activity WHERE wait_event_type = 'Lock' \
         AND datname = current_database() AND query LIKE 'SELECT partition, epoch FROM partitions %'); \
     END LOOP; END $$";
/// How long a row stays locked, in seconds. Longer than a seed request takes, so the seed cannot wait for the row.
const LONG_LOCK_S: f32 = 4.0;

/// The statement that locks the rows of partitions, as the writer does.
fn lock_rows(partitions: &[Partition]) -> String {
    let numbers: Vec<String> = partitions.iter().map(|partition| partition.0.to_string()).collect();
    let numbers = numbers.join(", ");
    format!("SELECT FROM partitions WHERE partition IN ({numbers}) ORDER BY partition FOR UPDATE")
}

/// Locks the rows of partitions until a seed waits for one of them.
async fn hold_until_seed_waits(stack: &Stack, partitions: &[Partition]) -> Result<JoinHandle<()>> {
    hold(stack, &format!("{}; {UNTIL_SEED_WAITS}", lock_rows(partitions)), 0.0).await
}

/// Creates rooms of three partitions. They are in the order in which seeds lock their partitions.
async fn rooms_of_three_partitions(stack: &Stack) -> Result<Vec<RoomId>> {
    let mut rooms = BTreeMap::new();
    while rooms.len() < 3 {
        let room = RoomId::parse(&stack.http("alice").new_room(&[]).await?)?;
        rooms.insert(Partition::of(&room), room);
    }
    Ok(rooms.into_values().collect())
}

/// A stack with one Redis, whose partitions have the same epoch. Also returns the epoch.
async fn stack_with_epoch() -> Result<(Stack, Epoch)> {
    let stack = Stack::builder().gateways(0).redis(RedisTopology::Single).start().await?;
    let room = RoomLog::new(&stack, 100).await?;
    let epoch = room.log.session_of(&room.room).await?.epoch;
    Ok((stack, epoch))
}

#[tokio::test]
async fn one_seed_request_waits_for_briefly_locked_partition() -> Result<()> {
    let stack = Stack::builder().gateways(0).start().await?;
    let (client, room) = (internal_client(&stack)?, RoomLog::new(&stack, 100).await?);
    let epoch = room.log.session_of(&room.room).await?.epoch;
    for _ in 0..MAX_ATTEMPTS {
        let held = hold_until_seed_waits(&stack, &[room.partition()]).await?;
        ensure!(!held.is_finished(), "the lock ended too early");
        let outcomes = client.seed(epoch, std::slice::from_ref(&room.room)).await?;
        held.await?;
        if outcomes == [SeedOutcome::Seeded] {
            return Ok(());
        }
        ensure!(outcomes == [SeedOutcome::Later], "{outcomes:?}");
    }
    bail!("no seed waited for the lock")
}

#[tokio::test]
async fn briefly_locked_partitions_are_seeded_in_one_transaction() -> Result<()> {
    let (stack, epoch) = stack_with_epoch().await?;
    let client = internal_client(&stack)?;
    for _ in 0..MAX_ATTEMPTS {
        let rooms = rooms_of_three_partitions(&stack).await?;
        let locked = [Partition::of(&rooms[0]), Partition::of(&rooms[1])];
        let held = hold_until_seed_waits(&stack, &locked).await?;
        ensure!(!held.is_finished(), "the locks ended too early");
        let outcomes = client.seed(epoch, &rooms).await?;
        held.await?;
        ensure!(outcomes[2] == SeedOutcome::Seeded, "the free partition waited: {outcomes:?}");
        let transactions = format!(
            "SELECT count(DISTINCT xmin::text) FROM room_epochs WHERE room_id IN ('{}', '{}')",
            rooms[0], rooms[1]
        );
        let is_one = stack.database().value(&transactions).await? == "1";
        if outcomes == [SeedOutcome::Seeded; 3] && is_one {
            return Ok(());
        }
    }
    bail!("no transaction seeded the rooms of both partitions")
}

#[tokio::test]
async fn long_locked_partition_does_not_keep_another_locked() -> Result<()> {
    let (stack, epoch) = stack_with_epoch().await?;
    let client = internal_client(&stack)?;
    for _ in 0..MAX_ATTEMPTS {
        let rooms = rooms_of_three_partitions(&stack).await?;
        let [brief, long] = [Partition::of(&rooms[0]), Partition::of(&rooms[2])];
        // The rollback frees the row that was locked after the savepoint. The seed then holds this row, and waits for
        // the other one.
        let lock = format!(
            "{}; SAVEPOINT brief; {}; {UNTIL_SEED_WAITS}; ROLLBACK TO SAVEPOINT brief",
            lock_rows(&[long]),
            lock_rows(&[brief])
        );
        let held = hold(&stack, &lock, LONG_LOCK_S).await?;
        let outcomes = client.seed(epoch, &rooms).await?;
        ensure!(!held.is_finished(), "the request waited for the long lock: {outcomes:?}");
        held.await?;
        ensure!(outcomes[1..] == [SeedOutcome::Seeded, SeedOutcome::Later], "{outcomes:?}");
        if outcomes[0] == SeedOutcome::Seeded {
            ensure!(client.seed(epoch, &rooms).await? == [SeedOutcome::Seeded; 3]);
            return Ok(());
        }
    }
    bail!("the partition that was free again was never seeded")
}

#[tokio::test]
async fn rooms_of_moving_partition_are_seeded_later() -> Result<()> {
    const MASTERS: usize = 3;
    let topology = RedisTopology::Cluster { masters: MASTERS, replicas_per_master: 0 };
    let stack = Stack::builder().gateways(0).redis(topology).start().await?;
    let cluster = stack.shards().cluster().context("the stack has a cluster")?;
    let (client, moving) = (internal_client(&stack)?, RoomLog::new(&stack, 100).await?);
    let session = moving.log.session_of(&moving.room).await?;
    let neighbour = loop {
        let room = RoomId::parse(&stack.http("alice").new_room(&[]).await?)?;
        let partition = Partition::of(&room);
        if partition != moving.partition() && session.partitions.contains(partition) {
            break room;
        }
    };
    let rooms = [moving.room.clone(), neighbour];
    let number = moving.partition().0;
    let to = (cluster.master_of(number).await? + 1) % MASTERS;
    cluster.begin_move(number, to).await?;
    let outcomes = client.seed(session.epoch, &rooms[..1]).await;
    ensure!(outcomes == Ok(vec![SeedOutcome::Later]), "{outcomes:?}");
    let outcomes = client.seed(session.epoch, &rooms).await;
    ensure!(outcomes == Ok(vec![SeedOutcome::Later, SeedOutcome::Seeded]), "{outcomes:?}");
    cluster.finish_move(number, to).await?;
    let begun = Instant::now();
    loop {
        match client.seed(session.epoch, &rooms[..1]).await {
            Ok(outcomes) => ensure!(outcomes == [SeedOutcome::Later], "{outcomes:?}"),
            Err(AuthorityError::EpochEnded) => return Ok(()),
            Err(error) => ensure!(begun.elapsed() < WAIT_TIMEOUT, "{error}"),
        }
        ensure!(begun.elapsed() < WAIT_TIMEOUT, "the partition has no new epoch");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

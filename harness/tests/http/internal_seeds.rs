//! A seed of a room whose partition is locked for a moment: the request waits for the lock.

use anyhow::{Result, bail, ensure};
use tidings_harness::Stack;
use tidings_shared::log::{Authority, SeedOutcome, keys::Partition};
use tokio::task::JoinHandle;

use crate::internal_listener::internal_client;
use crate::room_log::{RoomLog, hold};

/// A busy machine may free the row too late for the 200 ms that a seed waits.
const MAX_ATTEMPTS: usize = 4;

/// Locks the row of a partition until a seed waits for it, but for at most 5 s. The statement itself looks for the
/// waiting seed, so that it frees the row within milliseconds.
async fn hold_until_seed_waits(stack: &Stack, partition: Partition) -> Result<JoinHandle<()>> {
    let number = partition.0;
    let lock = format!(
        "SELECT FROM partitions WHERE partition = {number} FOR UPDATE; \
         DO $$ BEGIN FOR n IN 1..500 LOOP \
           PERFORM pg_sleep(0.01); \
           PERFORM pg_stat_clear_snapshot(); \
           EXIT WHEN EXISTS (SELECT FROM pg_stat_activity WHERE wait_event_type = 'Lock' \
             AND datname = current_database() AND query LIKE 'SELECT partition, epoch FROM partitions %'); \
         END LOOP; END $$"
    );
    hold(stack, &lock, 0.0).await
}

#[tokio::test]
async fn one_seed_request_waits_for_briefly_locked_partition() -> Result<()> {
    let stack = Stack::builder().gateways(0).start().await?;
    let (client, room) = (internal_client(&stack)?, RoomLog::new(&stack, 100).await?);
    let epoch = room.log.session_of(&room.room).await?.epoch;
    for _ in 0..MAX_ATTEMPTS {
        let held = hold_until_seed_waits(&stack, room.partition()).await?;
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

//! The rules of a PostgreSQL that is restored to an earlier moment while Redis keeps its data.

use std::time::Duration;

use anyhow::{Result, ensure};

use crate::replay::{BrokenPromise, FinalAnswer, Removal, ReplaySystem, ensure_needed, small_stack};
use crate::restored_postgres::{after_restore, copy_postgres, restore_postgres};

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

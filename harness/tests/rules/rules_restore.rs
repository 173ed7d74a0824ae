//! The rules of a PostgreSQL that is restored to an earlier moment while Redis keeps its data.

use std::time::Duration;

use anyhow::{Result, ensure};

use crate::replay::{BrokenPromise, FinalAnswer, Removal, ReplaySystem, ensure_needed, small_stack};
use crate::restored_postgres::{after_restore, copy_postgres, restore_postgres};

/// Longer than persistence needs to compare Redis with PostgreSQL.
const NOTICE_TIME: Duration = Duration::from_secs(8);

/// The last message is lost with PostgreSQL. Its sender repeats it, and then the job runs.
async fn replay_postgres_goes_back(system: &mut ReplaySystem) -> Result<BrokenPromise> {
    system.send_until_stored("a").await?;
    let copy = copy_postgres(&system.stack).await?;
    system.send_until_stored("b").await?;
    restore_postgres(&system.stack, &copy).await?;
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

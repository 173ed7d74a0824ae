//! The rules of the answer `stored` after a crash or a pause of the writer.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use crate::replay::{BrokenPromise, Removal, ReplaySystem, STORE_DEADLINE, ensure_needed, small_stack};
use crate::row_lock::{HeldLock, until_waiting};
use crate::rules_stored::{INSERT_MESSAGES, LOCK_MESSAGES};

/// A duplicate is stored as a void while the memory of Redis is full, so the void cannot be announced. Then the writer
/// crashes.
async fn replay_writer_crashes_before_the_announcement(system: &mut ReplaySystem) -> Result<BrokenPromise> {
    let redis = system.stack.redis();
    system.send_until_stored("a").await?;
    system.forget_client_ids().await?;
    let lock = HeldLock::by_statement(&system.stack, LOCK_MESSAGES).await?;
    let second = system.send_until_accepted("a").await?;
    ensure!(second.seq == 2, "{second:?}");
    until_waiting(&system.stack, INSERT_MESSAGES).await?;
    let memory = |bytes: u8| redis::cmd("CONFIG").arg("SET").arg("maxmemory").arg(bytes).to_owned();
    let _: () = redis.command(&memory(1)).await?;
    lock.release(&system.stack).await?;
    system.until_watermark_is_at_end().await?;
    system.stack.persistence(0).kill();
    let _: () = redis.command(&memory(0)).await?;
    system.stack.persistence(0).restart().await?;
    let begun = Instant::now();
    while begun.elapsed() < STORE_DEADLINE {
        if system.stored_rows().await?.iter().any(|row| row == "message:void") {
            return Ok(None);
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    Ok(Some(format!("the duplicate stays visible: {:?}", system.stored_rows().await?)))
}

#[tokio::test]
async fn voids_are_announced_from_their_rows() -> Result<()> {
    let removal = Removal::Named("voids are announced from their rows");
    ensure_needed(&[removal], small_stack(), replay_writer_crashes_before_the_announcement).await
}

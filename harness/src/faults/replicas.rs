//! Disturbs replicas of the programs beside persistence while the other parts of the system break.

use std::time::Duration;

use anyhow::{Context, Result};
use tokio::time::sleep;

use crate::companion::CompanionNode;

/// Time between two disturbances, and how long one lasts.
pub(super) const PAUSE_MS: std::ops::Range<u64> = 1000..4000;
pub(super) const DISTURBANCE_MS: std::ops::Range<u64> = 300..3000;

/// Kills a replica, and starts it again after this time.
pub(super) async fn kill_and_restart(node: &CompanionNode, time: Duration) -> Result<()> {
    node.kill();
    sleep(time).await;
    restart(node).await
}

/// Pauses a replica for this time.
pub(super) async fn pause_and_resume(node: &CompanionNode, time: Duration) -> Result<()> {
    node.pause()?;
    sleep(time).await;
    node.resume()
}

/// Restarts a replica, which ends in an orderly way if it still runs.
pub(super) async fn restart(node: &CompanionNode) -> Result<()> {
    // It is not ready while PostgreSQL is broken, so it gets a second chance.
    if node.restart().await.is_err() {
        node.restart().await.context("a replica does not start")?;
    }
    Ok(())
}

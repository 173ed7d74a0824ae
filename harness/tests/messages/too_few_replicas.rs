//! Redis refuses writes because it has fewer replicas than `min-replicas-to-write`. Senders are told to repeat, and the
//! sessions stay.

use anyhow::{Result, bail, ensure};
use tidings_harness::{ClientError, Stack};

/// Sets how many replicas Redis needs for a write. It has none.
async fn require_replicas(stack: &Stack, count: usize) -> Result<()> {
    let mut set = redis::cmd("CONFIG");
    set.arg("SET").arg("min-replicas-to-write").arg(count);
    for node in stack.shards().nodes() {
        node.command::<()>(&set).await?;
    }
    Ok(())
}

#[tokio::test]
async fn send_is_unavailable_while_redis_lacks_replicas() -> Result<()> {
    let stack = Stack::builder().gateways(1).start().await?;
    let room = stack.http("alice").new_room(&["bob"]).await?;
    let alice = stack.connect("alice").await?;
    let first = alice.send(&room, "1").await?;
    require_replicas(&stack, 1).await?;
    for attempt in 1..=3 {
        match alice.send_as(&room, "2", "2").await {
            Err(ClientError::Answered(error)) => ensure!(
                error.code == "unavailable" && error.retry_after_ms.is_some(),
                "attempt {attempt}: {error:?}"
            ),
            other => bail!("attempt {attempt}: {other:?}"),
        }
    }
    require_replicas(&stack, 0).await?;
    let second = alice.send_as(&room, "2", "2").await?;
    ensure!(second.seq == first.seq + 1 && !second.duplicate, "{second:?}");
    ensure!(second.epoch == first.epoch, "a session ended, and {} began", second.epoch);
    Ok(())
}

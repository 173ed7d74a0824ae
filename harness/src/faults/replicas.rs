//! Disturbs replicas of the programs beside persistence while the other parts of the system break.

use std::ops::{Deref, Range};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use rand::Rng;
use rand::rngs::StdRng;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep, timeout};

use crate::companion::CompanionNode;
use crate::postgres::Database;
use crate::webhooks::{Receiver, ReceiverBehaviour};

/// Time between two disturbances, and how long one lasts.
pub(super) const PAUSE_MS: Range<u64> = 1000..4000;
pub(super) const DISTURBANCE_MS: Range<u64> = 300..3000;
/// How long a receiver waits for the next delivery after the run has settled.
const DELIVERY_TIMEOUT: Duration = Duration::from_secs(90);
/// How long a receiver waits while the queue in the database is empty. A replica that has just started queues what it reads
/// within a second.
const EMPTY_QUEUE_TIMEOUT: Duration = Duration::from_secs(15);
/// Timeout of a query for the length of the queue.
const QUEUE_TIMEOUT: Duration = Duration::from_secs(2);
/// The pause between two checks of the receiver and the queue.
const POLL_INTERVAL: Duration = Duration::from_millis(200);

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

/// Kills replicas and starts them again. A connection that a fault has broken without a sign would hold up a replica for
/// half a minute.
pub(super) async fn start_anew<N: Deref<Target = CompanionNode>>(nodes: &[N]) -> Result<()> {
    for node in nodes {
        kill_and_restart(node, Duration::ZERO).await?;
    }
    Ok(())
}

/// Disturbs two replicas and the receiver of their requests until `stop` is notified. Then both replicas run, and the
/// receiver accepts everything.
pub(super) async fn disturb_with_receiver<N: Deref<Target = CompanionNode>>(
    nodes: [N; 2],
    receiver: Arc<Receiver>,
    stop: Arc<Notify>,
    mut rng: StdRng,
) -> Result<[N; 2]> {
    let ms = Duration::from_millis;
    loop {
        let (pause, time) = (ms(rng.random_range(PAUSE_MS)), ms(rng.random_range(DISTURBANCE_MS)));
        tokio::select! {
            () = sleep(pause) => {}
            () = stop.notified() => return Ok(nodes),
        }
        let node = &nodes[rng.random_range(0..2)];
        match rng.random_range(0..5) {
            0 => kill_and_restart(node, time).await?,
            1 => pause_and_resume(node, time * 2).await?,
            2 => receiver.behave(ReceiverBehaviour::Answer(503, String::new())),
            3 => receiver.behave(ReceiverBehaviour::Down),
            _ => receiver.behave(ReceiverBehaviour::Slow(time)),
        }
        sleep(time).await;
        receiver.behave(ReceiverBehaviour::Accept);
    }
}

/// Waits until the receiver has every delivery. Gives up after [`DELIVERY_TIMEOUT`] without a new one, or after
/// [`EMPTY_QUEUE_TIMEOUT`] without a new one and with an empty queue. `queue_length_sql` counts the deliveries in the
/// queue. `progress` returns how many deliveries the receiver has, and whether these are all.
pub(super) async fn wait_for_deliveries(
    database: &Database,
    queue_length_sql: &str,
    mut progress: impl FnMut() -> Result<(usize, bool)>,
) -> Result<()> {
    let mut count = 0;
    let (mut last_received_at, mut queue_last_used_at) = (Instant::now(), Instant::now());
    loop {
        let (received, is_complete) = progress()?;
        if received > count {
            (count, last_received_at) = (received, Instant::now());
        }
        if is_complete || last_received_at.elapsed() > DELIVERY_TIMEOUT {
            return Ok(());
        }
        // A queue that cannot be read counts as used.
        let length = timeout(QUEUE_TIMEOUT, database.value(queue_length_sql)).await;
        if !matches!(length, Ok(Ok(length)) if length == "0") {
            queue_last_used_at = Instant::now();
        }
        if last_received_at.max(queue_last_used_at).elapsed() > EMPTY_QUEUE_TIMEOUT {
            return Ok(());
        }
        sleep(POLL_INTERVAL).await;
    }
}

//! Disturbs replicas of the programs beside persistence while the other parts of the system break.

use std::ops::{Deref, Range};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use rand::Rng;
use rand::rngs::StdRng;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep};

use crate::companion::CompanionNode;
use crate::postgres::Database;
use crate::webhooks::{Receiver, ReceiverBehaviour};

/// Time between two disturbances, and how long one lasts.
pub(super) const PAUSE_MS: Range<u64> = 1000..4000;
pub(super) const DISTURBANCE_MS: Range<u64> = 300..3000;
/// How long a receiver waits for the next delivery after the run has settled.
const DELIVERY_TIMEOUT: Duration = Duration::from_secs(90);
/// The same while no delivery waits in the database. A replica needs less than a second to queue what it reads.
const EMPTY_QUEUE_TIMEOUT: Duration = Duration::from_secs(15);
/// How often a receiver looks.
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

/// Waits until the receiver has everything, or nothing more comes. `queue` is a query for the number of deliveries that
/// wait in the database. `receive` returns how many the receiver has, and whether these are all.
pub(super) async fn wait_for_deliveries(
    database: &Database,
    queue: &str,
    mut receive: impl FnMut() -> Result<(usize, bool)>,
) -> Result<()> {
    let mut count = 0;
    let (mut newest, mut waiting) = (Instant::now(), Instant::now());
    loop {
        let (received, is_complete) = receive()?;
        if received > count {
            (count, newest) = (received, Instant::now());
        }
        if is_complete || newest.elapsed() > DELIVERY_TIMEOUT {
            return Ok(());
        }
        if database.value(queue).await? != "0" {
            waiting = Instant::now();
        }
        if newest.max(waiting).elapsed() > EMPTY_QUEUE_TIMEOUT {
            return Ok(());
        }
        sleep(POLL_INTERVAL).await;
    }
}

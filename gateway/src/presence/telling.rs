//! Tells what users have become: finds the small rooms that they are in, and has one script decide and publish.

use std::sync::Arc;

use tidings_shared::ids::UserId;
use tokio::sync::mpsc;

use crate::{
    bus::{Bus, PeopleError},
    metrics::Metrics,
};

/// Users told of in one go: with 200 rooms each it is 12,800 sizes of rooms to read.
const TOLD_AT_ONCE: usize = 64;

/// Tells of those who come by the queue.
pub(super) async fn tell_them(bus: Arc<Bus>, metrics: Metrics, mut to_tell: mpsc::Receiver<UserId>) {
    let mut users = Vec::with_capacity(TOLD_AT_ONCE);
    while to_tell.recv_many(&mut users, TOLD_AT_ONCE).await > 0 {
        if let Err(error) = tell(&bus, &metrics, &users).await {
            // They are due in Redis: the sweep comes back to them.
            tracing::debug!(%error, "presence cannot be told");
        }
        users.clear();
    }
}

/// Tells what these users are now, where that is not what was told of them last.
pub(super) async fn tell(bus: &Bus, metrics: &Metrics, users: &[UserId]) -> Result<(), PeopleError> {
    for users in users.chunks(TOLD_AT_ONCE) {
        let told = async {
            let users = bus.rooms_to_tell(users).await?;
            bus.tell_presence(&users).await
        };
        let told = told.await.inspect_err(|_| {
            metrics.presence_failures.with_label_values(&["tell"]).inc();
        })?;
        metrics.presence_told.inc_by(told.iter().filter(|told| **told).count() as u64);
    }
    Ok(())
}

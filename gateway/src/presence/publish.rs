//! Publishes presence changes: finds the small rooms of each user, and calls a Redis script that publishes to these
//! rooms what has changed.

use std::sync::Arc;

use tidings_shared::ids::UserId;
use tokio::sync::mpsc;

use crate::{
    bus::{Bus, LookupError},
    metrics::Metrics,
};

/// Users published in one command: with 200 rooms each, the command reads the sizes of 12,800 rooms.
const USERS_PER_COMMAND: usize = 64;

pub(super) async fn run(bus: Arc<Bus>, metrics: Metrics, mut queue: mpsc::Receiver<UserId>) {
    let mut users = Vec::with_capacity(USERS_PER_COMMAND);
    while queue.recv_many(&mut users, USERS_PER_COMMAND).await > 0 {
        if let Err(error) = publish(&bus, &metrics, &users).await {
            // The users are due in Redis, so the sweep finds them.
            tracing::debug!(%error, "presence cannot be published now");
        }
        users.clear();
    }
}

/// Publishes the current presence of these users, if it differs from what was published last.
pub(super) async fn publish(bus: &Bus, metrics: &Metrics, users: &[UserId]) -> Result<(), LookupError> {
    for users in users.chunks(USERS_PER_COMMAND) {
        let published = async {
            let users = bus.rooms_to_notify(users).await?;
            bus.publish_presence(&users).await
        };
        let published = published.await.inspect_err(|_| {
            metrics.presence_failures.with_label_values(&["tell"]).inc();
        })?;
        metrics.presence_published.inc_by(published.iter().filter(|published| **published).count() as u64);
    }
    Ok(())
}

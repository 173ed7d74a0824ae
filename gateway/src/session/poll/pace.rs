//! Pacing: a poll that exceeds its user's rate limit waits for its turn until its timeout ends. The poll joins its
//! rooms only after this wait, so it misses nothing: events of the time of the wait are part of its answer.

use std::{num::NonZeroU32, time::Duration};

use tidings_shared::{error::Refusal, ids::UserId};
use tokio::time::Instant;

use crate::{
    limits::{Limit, rooms_cost},
    session::Gate,
    worker::Node,
};

/// Maximum wait. It leaves enough of the longest timeout of a poll to read the rooms.
const MAX_PACING_DELAY: Duration = Duration::from_secs(25);

/// Takes the cost of a poll from its user's bucket. Waits for the tokens if they arrive before the deadline.
///
/// # Errors
/// `rate_limited` when the tokens do not arrive in time; `unavailable` when the node stops.
pub(super) async fn pace(
    node: &Node,
    user: &UserId,
    rooms: usize,
    until: Instant,
    gate: &Gate,
) -> Result<(), Refusal> {
    let until = until.min(Instant::now() + MAX_PACING_DELAY);
    let cost = NonZeroU32::MIN.saturating_add(rooms_cost(rooms));
    while let Err(retry_after_ms) = node.rate_limits.take(Limit::Polls, user, cost) {
        let allowed_at = Instant::now().checked_add(Duration::from_millis(retry_after_ms));
        let Some(allowed_at) = allowed_at.filter(|allowed_at| *allowed_at <= until) else {
            node.metrics.limited.with_label_values(&[Limit::Polls.name()]).inc();
            return Err(Limit::Polls.refusal(retry_after_ms));
        };
        tokio::select! {
            () = tokio::time::sleep_until(allowed_at) => {}
            () = gate.draining.cancelled() => gate.refuse_if_draining()?,
        }
    }
    Ok(())
}

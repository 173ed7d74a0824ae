//! Pacing: a poll that is over its user's allowance waits for its turn while its timeout lasts. Nothing is joined yet,
//! so nothing is missed: what happens meanwhile comes in the answer.

use std::{num::NonZeroU32, time::Duration};

use tidings_shared::{error::Refusal, ids::UserId};
use tokio::time::Instant;

use crate::{
    limits::{Limit, rooms_cost},
    session::Gate,
    worker::Node,
};

/// Waits no longer than this, so that of the longest timeout enough is left to look into the rooms.
const PACED_WITHIN: Duration = Duration::from_secs(25);

/// Takes a poll of so many rooms off its user's allowance, when there is as much until then.
///
/// # Errors
/// `rate_limited` when there will not be; `unavailable` when the node stops.
pub(super) async fn pace(
    node: &Node,
    user: &UserId,
    rooms: usize,
    until: Instant,
    gate: &Gate,
) -> Result<(), Refusal> {
    let until = until.min(Instant::now() + PACED_WITHIN);
    let cost = NonZeroU32::MIN.saturating_add(rooms_cost(rooms));
    while let Err(retry_after_ms) = node.allowances.take(Limit::Polls, user, cost) {
        let turn = Instant::now().checked_add(Duration::from_millis(retry_after_ms));
        let Some(turn) = turn.filter(|turn| *turn <= until) else {
            node.metrics.limited.with_label_values(&[Limit::Polls.name()]).inc();
            return Err(Limit::Polls.refusal(retry_after_ms));
        };
        tokio::select! {
            () = tokio::time::sleep_until(turn) => {}
            () = gate.closed.cancelled() => gate.check_open()?,
        }
    }
    Ok(())
}

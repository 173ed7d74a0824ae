//! Waiting until a position of a room is stored, for readers who know that it was accepted.
//! Promises to hold no connection while waiting and to give up after five seconds.

use std::time::Duration;

use tidings_shared::error::Refusal;
use tidings_shared::ids::RoomId;
use tokio::time::{Instant, sleep};

use super::caller::Caller;
use super::problem::Problem;
use super::state::State;
use crate::query;

/// How long a reader waits.
const WAIT: Duration = Duration::from_secs(5);
/// The stored head is read after the first pause, then after twice that, and so on up to the longest: a
/// batch is stored within milliseconds unless the backlog is long.
const FIRST_PAUSE: Duration = Duration::from_millis(5);
const LONGEST_PAUSE: Duration = Duration::from_millis(160);

/// Returns once the room's stored head is at least `upto`.
///
/// # Errors
/// `unavailable` after five seconds; `rate_limited` when the caller waits often enough already, `overloaded` when too
/// many do.
pub async fn stored(state: &State, caller: &Caller, room: &RoomId, upto: i64) -> Result<(), Problem> {
    let _place = state.waiting.take(&caller.user, "waits for the log to be stored")?;
    let deadline = Instant::now() + WAIT;
    let mut pause = FIRST_PAUSE;
    while Instant::now() < deadline {
        if query::stored_head(&state.db, room).await?.is_some_and(|head| head >= upto) {
            return Ok(());
        }
        sleep(pause).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
    Err(Refusal::unavailable(format!("seq {upto} of the room is not stored yet; try again")).into())
}

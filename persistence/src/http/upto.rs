//! Waits until a position of a room is stored, for readers who know that it was accepted. Holds no database connection
//! while waiting, and gives up after five seconds.

use std::time::Duration;

use tidings_shared::error::Refusal;
use tidings_shared::ids::RoomId;
use tokio::time::{Instant, sleep};

use super::caller::Caller;
use super::problem::Problem;
use super::state::State;
use crate::query;

/// How long a reader waits.
const TIMEOUT: Duration = Duration::from_secs(5);
/// The pauses between reads of the stored head double from the first to the longest: a batch is stored within
/// milliseconds unless the backlog is long.
const FIRST_PAUSE: Duration = Duration::from_millis(5);
const LONGEST_PAUSE: Duration = Duration::from_millis(160);

/// Returns once the room's stored head is at least `upto`.
///
/// # Errors
/// `unavailable` after five seconds; `rate_limited` when the caller has too many waiting requests, `overloaded` when
/// all callers together do.
pub async fn wait_until_stored(
    state: &State,
    caller: &Caller,
    room: &RoomId,
    upto: i64,
) -> Result<(), Problem> {
    let _permit = state.waiting.take(&caller.user, "waits for the log to be stored")?;
    let deadline = Instant::now() + TIMEOUT;
    let mut pause = FIRST_PAUSE;
    while Instant::now() < deadline {
        if query::stored_head(&state.db, room).await?.is_some_and(|head| head >= upto) {
            return Ok(());
        }
        sleep(pause).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
    Err(Refusal::unavailable(format!("seq {upto} of the room is not stored yet; retry")).into())
}

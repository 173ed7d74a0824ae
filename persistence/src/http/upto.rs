//! Waits until a position of a room is stored, for readers who know that it was accepted. Holds no database connection
//! while waiting, and gives up after five seconds.

use std::time::Duration;

use tidings_shared::error::Refusal;
use tidings_shared::ids::{RoomId, Seq};
use tokio::time::Instant;

use super::caller::Caller;
use super::problem::Problem;
use super::state::State;
use crate::query;

/// How long a reader waits.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Returns once the room's stored head is at least `upto`. Refuses with `unavailable` after five seconds,
/// `rate_limited` when the caller has too many waiting requests, and `overloaded` when all callers together do.
pub async fn wait_until_stored(
    state: &State,
    caller: &Caller,
    room: &RoomId,
    upto: i64,
) -> Result<(), Problem> {
    let _permit = state.waiting.take(&caller.user, "waits for the log to be stored")?;
    let seq = Seq(u64::try_from(upto).unwrap_or_default());
    if query::wait_until_stored(&state.db, room, seq, Instant::now() + TIMEOUT).await? {
        return Ok(());
    }
    Err(Refusal::unavailable(format!("seq {upto} of the room is not stored yet; retry")).into())
}

//! Waits until changes that a decision did not see are stored, so that it can be decided again.

use std::time::Duration;

use sea_orm::{ConnectionTrait, DbErr};
use tidings_shared::error::Refusal;
use tidings_shared::ids::{Epoch, RoomId, Seq};
use tidings_shared::log::Log;
use tokio::time::{Instant, sleep};

use super::MembershipError;
use crate::query;

/// The pauses between reads of the stored head double from the first to the longest.
const FIRST_PAUSE: Duration = Duration::from_millis(5);
const LONGEST_PAUSE: Duration = Duration::from_millis(160);

/// Checks an answer that appends nothing against the log, as the log itself checks an append: whether the state read at
/// `head` includes everything accepted. If not, waits until that is stored and returns false. The caller then reads
/// again, and need not check a second time.
///
/// # Errors
/// `unavailable` when Redis is away, or when it is not stored before the deadline.
pub async fn check_against_log(
    db: &impl ConnectionTrait,
    log: &Log,
    room: &RoomId,
    head: Seq,
    deadline: Instant,
) -> Result<bool, MembershipError> {
    let accepted = log.read(room, None, Epoch(0), None, &[]).await?.head.seq;
    if accepted <= head {
        return Ok(true);
    }
    if wait_until_stored(db, room, accepted, deadline).await? {
        return Ok(false);
    }
    Err(Refusal::unavailable("recent changes of the room are not stored yet; retry").into())
}

/// Whether the room is stored up to `seq` before the deadline.
///
/// # Errors
/// When the database cannot be read.
pub async fn wait_until_stored(
    db: &impl ConnectionTrait,
    room: &RoomId,
    seq: Seq,
    deadline: Instant,
) -> Result<bool, DbErr> {
    let mut pause = FIRST_PAUSE;
    loop {
        let head = query::stored_head(db, room).await?;
        if head.and_then(|head| u64::try_from(head).ok()).is_none_or(|head| head >= seq.0) {
            // A missing room has nothing to wait for.
            return Ok(true);
        }
        if Instant::now() + pause >= deadline {
            return Ok(false);
        }
        sleep(pause).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

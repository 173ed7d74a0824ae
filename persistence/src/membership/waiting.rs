//! Waiting until what a decision may not know of is stored, so that it can be decided anew.

use std::time::Duration;

use sea_orm::{ConnectionTrait, DbErr};
use tidings_shared::error::Refusal;
use tidings_shared::ids::{Epoch, RoomId, Seq};
use tidings_shared::log::Log;
use tokio::time::{Instant, sleep};

use super::MembershipError;
use crate::query;

/// The stored head is read after the first pause, then after twice that, and so on up to the longest.
const FIRST_PAUSE: Duration = Duration::from_millis(5);
const LONGEST_PAUSE: Duration = Duration::from_millis(160);

/// Holds an answer that appends nothing against the log, as the log does by itself with what is appended: whether what
/// was read at `head` was all that is accepted. Else it waits until that is stored, and answers false: read anew, it
/// needs not be held against the log again, whatever comes meanwhile.
///
/// # Errors
/// `unavailable` when Redis is out of reach, or it is not stored before the deadline.
pub async fn was_all(
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
    if is_stored(db, room, accepted, deadline).await? {
        return Ok(false);
    }
    Err(Refusal::unavailable("the room is not stored far enough to tell; try again").into())
}

/// Whether the room is stored up to `seq` before the deadline.
///
/// # Errors
/// When the database cannot be read.
pub async fn is_stored(
    db: &impl ConnectionTrait,
    room: &RoomId,
    seq: Seq,
    deadline: Instant,
) -> Result<bool, DbErr> {
    let mut pause = FIRST_PAUSE;
    loop {
        let head = query::stored_head(db, room).await?;
        if head.and_then(|head| u64::try_from(head).ok()).is_none_or(|head| head >= seq.0) {
            // Without the room there is nothing to wait for.
            return Ok(true);
        }
        if Instant::now() + pause >= deadline {
            return Ok(false);
        }
        sleep(pause).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

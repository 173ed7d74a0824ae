//! Waiting until what overtook a decision is stored, so that it can be decided anew.

use std::time::Duration;

use sea_orm::{ConnectionTrait, DbErr};
use tidings_shared::ids::{RoomId, Seq};
use tokio::time::{Instant, sleep};

use crate::query;

/// The stored head is read after the first pause, then after twice that, and so on up to the longest.
const FIRST_PAUSE: Duration = Duration::from_millis(5);
const LONGEST_PAUSE: Duration = Duration::from_millis(160);

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

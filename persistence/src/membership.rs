//! Who is in a room, changed through its log: read how things stand at the stored head, decide, append on condition
//! that they still stand so, wait until it is stored. What another change overtook is decided anew.
//! Promises that a room never loses its last owner and that nobody is added or removed twice, without a lock.

mod appending;
mod deciding;
mod waiting;

use std::sync::Arc;
use std::time::Duration;

use sea_orm::{DatabaseConnection, DbErr};
use tidings_shared::{
    error::Refusal,
    ids::{RoomId, Seq, UserId},
    log::{AppendError, Log},
    membership,
};
use tokio::time::Instant;

use crate::account::Newcomers;
use crate::ingest::batch::{MEMBER_ADDED, MEMBER_CHANGED, MEMBER_REMOVED};
use crate::query::{standing::standing, users};

pub use appending::stored;
pub use deciding::{Asker, Bounds, Wish};
use deciding::{Decision, decide, is_hidden};
pub use waiting::was_all;

/// A decision that is overtaken again and again is given up after so many rounds, or so long.
const ROUNDS: usize = 10;
pub const PATIENCE: Duration = Duration::from_secs(10);

/// Why a membership was not changed.
#[derive(Debug, thiserror::Error)]
pub enum MembershipError {
    #[error(transparent)]
    Refused(#[from] Refusal),
    #[error(transparent)]
    Database(#[from] DbErr),
}

impl From<AppendError> for MembershipError {
    fn from(error: AppendError) -> Self {
        Self::Refused(error.into())
    }
}

/// How things stand after a wish was carried out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// The user's role; `removed` when they are no member.
    pub role: String,
    /// Seq of the event; the stored head that was read where nothing was to be done.
    pub seq: Seq,
}

/// See the module.
pub struct Memberships {
    pub db: DatabaseConnection,
    pub log: Arc<Log>,
    pub newcomers: Newcomers,
    pub bounds: Bounds,
}

impl Memberships {
    /// Changes the membership of `user` as `asker` wishes; answers when it is stored.
    ///
    /// # Errors
    /// [`MembershipError`]; after `unavailable` it may have been done or not.
    pub async fn change(
        &self,
        asker: Asker<'_>,
        room: &RoomId,
        user: &UserId,
        wish: &Wish,
    ) -> Result<Outcome, MembershipError> {
        let deadline = Instant::now() + PATIENCE;
        let mut held_against_log = false;
        for _ in 0..ROUNDS {
            let most_rooms = i64::from(self.bounds.rooms_per_user);
            let standing = standing(&self.db, room, asker.user, user, most_rooms).await?;
            // Whether a room exists is not told by how long the answer takes, either.
            let standing = standing.filter(|standing| !is_hidden(standing, asker, user, wish));
            let standing = standing.ok_or_else(|| Refusal::not_found("room"))?;
            let head = Seq(u64::try_from(standing.head_seq).unwrap_or_default());
            let decided = decide(&standing, asker, user, wish, self.bounds);
            // The asker may have seen what is accepted and not stored yet: what is appended is held against it there.
            if !held_against_log && !matches!(&decided, Ok(decision) if decision.is_appended()) {
                held_against_log = true;
                if !was_all(&self.db, &self.log, room, head, deadline).await? {
                    continue;
                }
            }
            let (kind, change) = match decided? {
                Decision::Nothing { role } => return Ok(Outcome { role, seq: head }),
                Decision::Add(change) => (MEMBER_ADDED, change),
                Decision::Change(change) => (MEMBER_CHANGED, change),
                Decision::Remove(change) => (MEMBER_REMOVED, change),
            };
            if kind == MEMBER_ADDED && !users::ensure(&self.db, [user], self.newcomers).await? {
                return Err(Refusal::not_found("user").into());
            }
            let entry = appending::entry(room, asker.user, user, kind, &change, head);
            match self.log.append(&entry).await {
                Ok(accepted) => {
                    self.tell(user).await;
                    stored(&self.log, room, &accepted).await?;
                    return Ok(Outcome { role: change.role, seq: accepted.seq });
                }
                Err(AppendError::Stale(seq)) => {
                    if !waiting::is_stored(&self.db, room, seq, deadline).await? {
                        break;
                    }
                }
                Err(error) => return Err(error.into()),
            }
        }
        Err(Refusal::unavailable("the room's members change too fast; try again").into())
    }

    /// What the cache holds is of the past from now on. Who cannot be told now is told when the change is committed.
    async fn tell(&self, user: &UserId) {
        let Some(session) = self.log.current_session() else { return };
        if let Err(error) = membership::changed(&mut session.connection(), [user]).await {
            self.log.failed(&session, &error);
        }
    }
}

//! What the handlers share: the database, the log, who may come in, and the limits.
//! The one place of `http` that touches the membership cache.

use std::sync::Arc;
use std::time::Duration;

use sea_orm::DatabaseConnection;
use tidings_shared::auth::Verifier;
use tidings_shared::error::Refusal;
use tidings_shared::ids::{RoomId, Seq, UserId};
use tidings_shared::log::Log;
use tidings_shared::membership;
use tidings_shared::origin::AllowedOrigins;
use tokio::sync::Semaphore;
use tokio_util::task::TaskTracker;

use super::problem::Problem;

/// Requests that may wait for a position to be stored at one time; each reads one row now and then.
const MAX_WAITING: usize = 256;
/// A cache that could not be told of a change is told again this often, with this pause.
const RETELL_TIMES: u32 = 60;
const RETELL_PAUSE: Duration = Duration::from_secs(1);

/// What stands for the version of a list of rooms while it cannot be read.
const UNKNOWN_VERSION: &str = "unknown";

/// Bounds of what clients may send.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Text of a message, in Unicode scalar values.
    pub max_message_chars: usize,
}

/// Shared by all workers.
pub struct State {
    pub db: DatabaseConnection,
    pub auth: Arc<Verifier>,
    pub log: Arc<Log>,
    pub limits: Limits,
    pub origins: AllowedOrigins,
    /// Changes that the membership cache is still to be told of: the end of the service waits for them.
    pub telling: TaskTracker,
    /// Who waits for a position to be stored.
    pub(super) waiting: Semaphore,
}

impl State {
    #[must_use]
    pub fn new(
        db: DatabaseConnection,
        auth: Arc<Verifier>,
        log: Arc<Log>,
        limits: Limits,
        origins: AllowedOrigins,
    ) -> Self {
        let (telling, waiting) = (TaskTracker::new(), Semaphore::new(MAX_WAITING));
        Self { db, auth, log, limits, origins, telling, waiting }
    }

    /// The version of a user's list of rooms. To be read before the list: then a change in between
    /// shows as another version, never as a list that is too old for its version. While Redis is out of
    /// reach the list is given all the same, with a version that no list has: it will be asked for again.
    pub(super) async fn rooms_version(&self, user: &UserId) -> String {
        let version = async {
            let session = self.log.current_session()?;
            match membership::version(&mut session.connection(), user).await {
                Ok(counter) => Some(membership::wire_version(session.epoch, counter)),
                Err(error) => {
                    tracing::warn!(kind = ?error.kind(), code = error.code(), "reading the version of a list of rooms failed");
                    self.log.failed(&session, &error);
                    None
                }
            }
        };
        version.await.unwrap_or_else(|| UNKNOWN_VERSION.to_owned())
    }

    /// Moves a read position in the cache forward. Left as it is when Redis is out of reach: the stored one
    /// counts, and the next fill reads it.
    pub(super) async fn read_moved(&self, user: &UserId, room: &RoomId, seq: Seq) {
        let Some(session) = self.log.current_session() else { return };
        if let Err(error) = membership::advance_read(&mut session.connection(), user, room, seq).await {
            tracing::debug!(kind = ?error.kind(), code = error.code(), "moving a cached read position failed");
            self.log.failed(&session, &error);
        }
    }

    /// Tells the cache that memberships of these users are about to change: whoever dies between the change and
    /// the telling of it leaves nothing behind that was cached before. Proves as well that Redis can be told.
    pub(super) async fn memberships_change(&self, users: &[UserId]) -> Result<(), Problem> {
        if tell(&self.log, users).await {
            return Ok(());
        }
        Err(Refusal::unavailable("the room log is out of reach; try again").into())
    }

    /// Tells the cache that memberships of these users have changed, after the change is committed. What
    /// cannot be told now is told again behind the answer: the change itself stands.
    pub(super) async fn memberships_changed(&self, users: Vec<UserId>) {
        if tell(&self.log, &users).await {
            return;
        }
        let log = self.log.clone();
        self.telling.spawn(async move {
            for _ in 0..RETELL_TIMES {
                tokio::time::sleep(RETELL_PAUSE).await;
                if tell(&log, &users).await {
                    return;
                }
            }
            tracing::error!(users = users.len(), "the membership cache could not be told of a change");
        });
    }
}

async fn tell(log: &Log, users: &[UserId]) -> bool {
    let session = match log.session().await {
        Ok(session) => session,
        Err(error) => {
            tracing::warn!(%error, "Redis is out of reach");
            return false;
        }
    };
    match membership::changed(&mut session.connection(), users).await {
        Ok(()) => true,
        Err(error) => {
            tracing::warn!(kind = ?error.kind(), code = error.code(), "telling the membership cache failed");
            log.failed(&session, &error);
            false
        }
    }
}

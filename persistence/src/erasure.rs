//! Erasure of a user: the user is blocked and nothing more of theirs is appended, then they leave their rooms, then
//! their texts are deleted from PostgreSQL and from Redis. See docs/decisions/0010-behind-the-log.md.
//! An erasure always finishes, even when a process dies: its start is written down, and every replica looks for
//! erasures that no replica works on. Each step may be repeated. Data that shows where to look is deleted last, so that
//! a repetition finds everything.

mod leaving;

use std::sync::Arc;
use std::time::Duration;

use futures_util::{
    StreamExt, TryStreamExt,
    future::{join_all, try_join_all},
    stream,
};
use sea_orm::{DatabaseConnection, DbErr};
use tidings_shared::ids::{RoomId, UserId};
use tidings_shared::log::{AppendError, Log, stored::Stored};
use tidings_shared::people::{self, UserNotice};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::account;
use crate::query::{export, partitions};
use crate::writer::erase::{self, ErasureStatus};
use crate::writer::failure;

/// Lease of the replica that carries out an erasure; without renewal for this long it counts as dead.
const ERASURE_LEASE: Duration = Duration::from_secs(15);
/// Rooms that are left concurrently.
const CONCURRENT_ROOMS: usize = 8;
/// Time between two looks for erasures without a worker.
const SCAN_INTERVAL: Duration = Duration::from_secs(5);
/// Erasures that run concurrently, so that one that waits does not delay others.
const CONCURRENT_ERASURES: i64 = 10;
/// Pause before a failed erasure is retried.
const RETRY_PAUSE: Duration = Duration::from_secs(10);
/// How often a waiter checks whether the erasure is done.
const POLL_INTERVAL: Duration = Duration::from_millis(100);

/// Why an erasure did not finish; it will be retried.
#[derive(Debug, thiserror::Error)]
pub enum ErasureError {
    #[error("{}", failure::without_data(.0))]
    Database(#[from] DbErr),
    #[error("{0}")]
    Unavailable(String),
    #[error("another replica is carrying it out")]
    Elsewhere,
}

impl From<AppendError> for ErasureError {
    fn from(error: AppendError) -> Self {
        Self::Unavailable(error.to_string())
    }
}

/// See the module.
#[derive(Clone)]
pub struct Erasures {
    db: DatabaseConnection,
    log: Arc<Log>,
}

impl Erasures {
    #[must_use]
    pub fn new(db: DatabaseConnection, log: Arc<Log>) -> Self {
        Self { db, log }
    }

    /// The state of a user's erasure.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn status(&self, user: &UserId) -> Result<ErasureStatus, DbErr> {
        erase::status(&self.db, user).await
    }

    /// Records that a user is to be erased; from here on the user is blocked.
    ///
    /// # Errors
    /// When the database cannot be written; then the erasure did not begin.
    pub async fn begin(&self, user: &UserId) -> Result<(), DbErr> {
        erase::begin(&self.db, user).await
    }

    /// Waits until an erasure is done, by whichever replica; false when the time is over before.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn wait_until_erased(&self, user: &UserId, timeout: Duration) -> Result<bool, DbErr> {
        let deadline = Instant::now() + timeout;
        while self.status(user).await? != ErasureStatus::Erased {
            if Instant::now() + POLL_INTERVAL > deadline {
                return Ok(false);
            }
            tokio::time::sleep(POLL_INTERVAL).await;
        }
        Ok(true)
    }

    /// Erases, unless another replica does. Failures are retried by `run_pending`.
    pub async fn try_to_erase(&self, user: &UserId) {
        match self.erase(user).await {
            Ok(()) | Err(ErasureError::Elsewhere) => {}
            Err(error) => tracing::warn!(%error, "an erasure is not finished and will be retried"),
        }
    }

    /// Carries out erasures that no replica works on, until `stop`.
    pub async fn run_pending(self, stop: CancellationToken) {
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(SCAN_INTERVAL) => {}
            }
            let due = match erase::due(&self.db, CONCURRENT_ERASURES).await {
                Ok(due) => due,
                Err(error) => {
                    tracing::debug!(cause = failure::without_data(&error), "pending erasures cannot be read");
                    continue;
                }
            };
            let erased = join_all(due.iter().map(|user| self.try_to_erase(user)));
            if stop.run_until_cancelled(erased).await.is_none() {
                return;
            }
        }
    }

    async fn erase(&self, user: &UserId) -> Result<(), ErasureError> {
        if !erase::lease(&self.db, user, false, ERASURE_LEASE).await? {
            return if self.status(user).await? == ErasureStatus::Erased {
                Ok(())
            } else {
                Err(ErasureError::Elsewhere)
            };
        }
        let erased = tokio::select! {
            erased = self.steps(user) => erased,
            lost = self.keep_lease(user) => Err(lost),
        };
        if erased.is_err() {
            // If this fails too, the lease expires.
            let _ = erase::postpone(&self.db, user, RETRY_PAUSE).await;
        }
        erased
    }

    async fn steps(&self, user: &UserId) -> Result<(), ErasureError> {
        self.block_account(user).await?;
        self.log.block_appends(user).await?;
        self.leave_rooms(user).await?;
        // Afterwards everything that the user appended is stored, also in rooms of which they were not a member.
        self.flush_streams().await?;
        self.erase_messages(user).await?;
        self.erase_changes(user).await?;
        self.erase_dead_letters(user).await?;
        // Other users may have changed the user's messages meanwhile.
        self.flush_streams().await?;
        // Last, because the last-seen times are written with a delay.
        erase::presence(&self.db, user).await?;
        self.block_account(user).await?;
        // Another node may have added the user meanwhile, because it did not know of the erasure. A membership that is
        // stored later starts the erasure again.
        self.leave_rooms(user).await?;
        if !erase::finish(&self.db, user).await? {
            return Err(ErasureError::Unavailable("the user is in a room again".to_owned()));
        }
        tracing::info!("a user is erased");
        Ok(())
    }

    /// Refreshes the cached account, which is now blocked and has no name; gateways then close the user's connections.
    async fn block_account(&self, user: &UserId) -> Result<(), ErasureError> {
        let unavailable =
            || ErasureError::Unavailable("the account could not be updated in Redis".to_owned());
        let session = self.log.session().await.map_err(|_| unavailable())?;
        if !account::refresh_cache(&self.db, &self.log, user).await {
            return Err(unavailable());
        }
        let sent = people::publish(&mut session.connection(), [(user, &UserNotice::Account)]).await;
        sent.map_err(|error| {
            self.log.failed(&session, &error);
            unavailable()
        })
    }

    async fn leave_rooms(&self, user: &UserId) -> Result<(), ErasureError> {
        loop {
            // From the start each time, because rooms that were left are no longer in the list.
            let page = export::memberships(&self.db, user, "").await?;
            if page.is_empty() {
                return Ok(());
            }
            let rooms: Vec<RoomId> = page.iter().filter_map(|room| RoomId::parse(&room.room).ok()).collect();
            // A tail may be the only place that holds a message of the user that could not be stored.
            self.log.drop_tails(&rooms).await?;
            let left = rooms.into_iter().map(|room| {
                let (Self { db, log }, user) = (self.clone(), user.clone());
                async move { leaving::leave(&db, &log, &room, &user).await }
            });
            stream::iter(left).buffer_unordered(CONCURRENT_ROOMS).try_collect::<Vec<()>>().await?;
        }
    }

    async fn erase_messages(&self, user: &UserId) -> Result<(), ErasureError> {
        let mut after_room = String::new();
        while let Some((last, written)) = export::rooms_with_messages(&self.db, user, &after_room).await? {
            for room in &written {
                let mut after = String::new();
                while let Some(last) = erase::messages(&self.db, user, room, &after).await? {
                    after = last;
                }
            }
            // Tombstones also show where to look, so the tails are dropped after the messages.
            let rooms: Vec<RoomId> = written.iter().filter_map(|room| RoomId::parse(room).ok()).collect();
            self.log.drop_tails(&rooms).await?;
            after_room = last;
        }
        Ok(())
    }

    /// The tails are dropped first: after an undo, nothing shows in which rooms the user only edited or reacted.
    async fn erase_changes(&self, user: &UserId) -> Result<(), ErasureError> {
        loop {
            let (changes, reacted) =
                (erase::changes(&self.db, user).await?, erase::reacted(&self.db, user).await?);
            let mut rooms = changes.rooms();
            rooms.extend(reacted);
            if rooms.is_empty() {
                return Ok(());
            }
            self.log.drop_tails(&rooms).await?;
            changes.undo(&self.db).await?;
            erase::reactions(&self.db, user).await?;
        }
    }

    async fn erase_dead_letters(&self, user: &UserId) -> Result<(), ErasureError> {
        let mut after = 0;
        while let Some(found) = erase::dead_letters(&self.db, user, after).await? {
            after = found.last;
            self.log.drop_tails(&found.rooms).await?;
            found.delete(&self.db).await?;
        }
        Ok(())
    }

    /// Waits until everything appended so far is stored and is gone from the streams. A stream keeps its last stored
    /// record, which may be the user's, until another record follows; so a blank record is appended.
    async fn flush_streams(&self) -> Result<(), ErasureError> {
        let rooms = partitions::one_room_of_each(&self.db).await?;
        let blanks = rooms.into_iter().map(async |room| {
            let blank = self.log.append_blank(&room).await?;
            match self.log.wait_stored(&room, &blank).await {
                Stored::Here => Ok(()),
                other => {
                    Err(ErasureError::Unavailable(format!("a partition is not being stored: {other:?}")))
                }
            }
        });
        try_join_all(blanks).await.map(drop)
    }

    /// Renews the lease; returns the reason when it cannot be renewed.
    async fn keep_lease(&self, user: &UserId) -> ErasureError {
        loop {
            tokio::time::sleep(ERASURE_LEASE / 3).await;
            match erase::lease(&self.db, user, true, ERASURE_LEASE).await {
                Ok(true) => {}
                Ok(false) => return ErasureError::Elsewhere,
                Err(error) => return error.into(),
            }
        }
    }
}

//! Erasure of a user: first they are shut out and nothing more of theirs is appended, then they leave their rooms, then
//! their texts go, from PostgreSQL and from Redis. See docs/decisions/0010-behind-the-log.md.
//! Promises that it is finished, whoever dies in the middle: what is begun is written down, and every replica looks for
//! what nobody is at. Each step may be repeated; what tells where to look goes last, so that nothing is passed over.

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
use tidings_shared::people::{self, Notice};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::account;
use crate::query::{export, partitions};
use crate::writer::erase::{self, Standing};
use crate::writer::failure;

/// Whoever is at an erasure and is not heard of for so long has died.
const LEASE: Duration = Duration::from_secs(15);
/// Rooms that are left side by side.
const ROOMS_AT_ONCE: usize = 8;
/// Between two looks for erasures that nobody is at.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// So many side by side: one that waits in vain does not keep others waiting.
const TAKEN_AT_ONCE: i64 = 10;
/// One that failed rests for so long.
const PAUSE: Duration = Duration::from_secs(10);
/// How often whoever waits looks whether it is done.
const ASK_EVERY: Duration = Duration::from_millis(100);

/// Why an erasure did not come to its end: it will be tried again.
#[derive(Debug, thiserror::Error)]
pub enum ErasureError {
    #[error("{}", failure::without_data(.0))]
    Database(#[from] DbErr),
    #[error("{0}")]
    Unavailable(String),
    #[error("another replica is at it")]
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

    /// How far a user is erased.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn standing(&self, user: &UserId) -> Result<Standing, DbErr> {
        erase::standing(&self.db, user).await
    }

    /// Writes down that a user is to be erased; from here on they are shut out.
    ///
    /// # Errors
    /// When the database cannot be written; then nothing was begun.
    pub async fn begin(&self, user: &UserId) -> Result<(), DbErr> {
        erase::begin(&self.db, user).await
    }

    /// Waits until an erasure that was begun is done, whoever does it; false when it is not in time.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn until_erased(&self, user: &UserId, patience: Duration) -> Result<bool, DbErr> {
        let deadline = Instant::now() + patience;
        while self.standing(user).await? != Standing::Erased {
            if Instant::now() + ASK_EVERY > deadline {
                return Ok(false);
            }
            tokio::time::sleep(ASK_EVERY).await;
        }
        Ok(true)
    }

    /// Erases, unless another replica is at it. What fails is tried again by whoever looks after erasures.
    pub async fn try_to_erase(&self, user: &UserId) {
        match self.erase(user).await {
            Ok(()) | Err(ErasureError::Elsewhere) => {}
            Err(error) => tracing::warn!(%error, "an erasure is not at its end and is tried again"),
        }
    }

    /// Looks for erasures that nobody is at, until `stop`.
    pub async fn look_after(self, stop: CancellationToken) {
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(LOOK_EVERY) => {}
            }
            let due = match erase::due(&self.db, TAKEN_AT_ONCE).await {
                Ok(due) => due,
                Err(error) => {
                    tracing::debug!(cause = failure::without_data(&error), "erasures cannot be looked for");
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
        if !erase::lease(&self.db, user, false, LEASE).await? {
            return if self.standing(user).await? == Standing::Erased {
                Ok(())
            } else {
                Err(ErasureError::Elsewhere)
            };
        }
        let erased = tokio::select! {
            erased = self.steps(user) => erased,
            lost = self.keep(user) => Err(lost),
        };
        if erased.is_err() {
            // If this fails too, the lease runs out.
            let _ = erase::put_off(&self.db, user, PAUSE).await;
        }
        erased
    }

    async fn steps(&self, user: &UserId) -> Result<(), ErasureError> {
        self.shut_out(user).await?;
        self.log.forbid(user).await?;
        self.leave_rooms(user).await?;
        // Whatever of theirs was appended is stored then, also in rooms of which they were no members.
        self.push_out().await?;
        self.erase_messages(user).await?;
        self.erase_changes(user).await?;
        self.erase_dead_letters(user).await?;
        // Others may have changed what was theirs meanwhile.
        self.push_out().await?;
        // Last, since those who went are written down a while after they went.
        erase::presence(&self.db, user).await?;
        self.shut_out(user).await?;
        // Whoever did not know of it yet may have added them meanwhile. What is stored later still begins it anew.
        self.leave_rooms(user).await?;
        if !erase::finish(&self.db, user).await? {
            return Err(ErasureError::Unavailable("they are in a room again".to_owned()));
        }
        tracing::info!("a user is erased");
        Ok(())
    }

    /// Whoever caches the account learns that it is blocked and has no name; connections are closed.
    async fn shut_out(&self, user: &UserId) -> Result<(), ErasureError> {
        let unavailable = || ErasureError::Unavailable("Redis could not be told of the account".to_owned());
        let session = self.log.session().await.map_err(|_| unavailable())?;
        if !account::changed(&self.db, &self.log, user).await {
            return Err(unavailable());
        }
        let told = people::tell(&mut session.connection(), [(user, &Notice::Account)]).await;
        told.map_err(|error| {
            self.log.failed(&session, &error);
            unavailable()
        })
    }

    async fn leave_rooms(&self, user: &UserId) -> Result<(), ErasureError> {
        loop {
            // From the start each time: what is left is gone from the list.
            let page = export::memberships(&self.db, user, "").await?;
            if page.is_empty() {
                return Ok(());
            }
            let rooms: Vec<RoomId> = page.iter().filter_map(|room| RoomId::parse(&room.room).ok()).collect();
            // A tail may hold what of theirs could not be stored, and is known nowhere else.
            self.log.drop_tails(&rooms).await?;
            let left = rooms.into_iter().map(|room| {
                let (Self { db, log }, user) = (self.clone(), user.clone());
                async move { leaving::leave(&db, &log, &room, &user).await }
            });
            stream::iter(left).buffer_unordered(ROOMS_AT_ONCE).try_collect::<Vec<()>>().await?;
        }
    }

    async fn erase_messages(&self, user: &UserId) -> Result<(), ErasureError> {
        let mut looked_at = String::new();
        while let Some((last, written)) = export::rooms_written(&self.db, user, &looked_at).await? {
            for room in &written {
                let mut after = String::new();
                while let Some(last) = erase::messages(&self.db, user, room, &after).await? {
                    after = last;
                }
            }
            // Tombstones tell where to look as well as messages do.
            let rooms: Vec<RoomId> = written.iter().filter_map(|room| RoomId::parse(room).ok()).collect();
            self.log.drop_tails(&rooms).await?;
            looked_at = last;
        }
        Ok(())
    }

    /// Of rooms where they only edited or reacted nothing tells any more once that is undone: their tails go before.
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

    /// Waits until all that was appended by now is stored, and is in no stream any more: a stream keeps the last record
    /// that was stored, which may be theirs, until another takes its place.
    async fn push_out(&self) -> Result<(), ErasureError> {
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

    /// Keeps the lease; returns why it cannot be kept.
    async fn keep(&self, user: &UserId) -> ErasureError {
        loop {
            tokio::time::sleep(LEASE / 3).await;
            match erase::lease(&self.db, user, true, LEASE).await {
                Ok(true) => {}
                Ok(false) => return ErasureError::Elsewhere,
                Err(error) => return error.into(),
            }
        }
    }
}

//! Erasure of a user: first they are shut out, then they leave their rooms, then their texts go, from PostgreSQL and
//! from Redis. See docs/decisions/0010-behind-the-log.md.
//! Promises that it is finished, whoever dies in the middle: what is begun is written down, and every replica looks for
//! what nobody is at. Each step may be repeated.

mod leaving;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{StreamExt, TryStreamExt, future::try_join_all, stream};
use sea_orm::{DatabaseConnection, DbErr};
use tidings_shared::ids::{RoomId, UserId};
use tidings_shared::log::{AppendError, Log, keys::Partition, stored::Stored};
use tidings_shared::people::{self, Notice};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::account;
use crate::query::export;
use crate::writer::erase::{self, Standing};
use crate::writer::failure;

/// Whoever is at an erasure and is not heard of for so long has died.
const LEASE: Duration = Duration::from_secs(15);
/// Rooms that are left side by side.
const ROOMS_AT_ONCE: usize = 8;
/// Between two looks for erasures that nobody is at.
const LOOK_EVERY: Duration = Duration::from_secs(5);
const TAKEN_AT_ONCE: i64 = 10;
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
            for user in due {
                if stop.run_until_cancelled(self.try_to_erase(&user)).await.is_none() {
                    return;
                }
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
        let erased = self.steps(user).await;
        if erased.is_err() {
            // If this fails too, the lease runs out.
            let _ = erase::release(&self.db, user).await;
        }
        erased
    }

    async fn steps(&self, user: &UserId) -> Result<(), ErasureError> {
        let mut touched = Touched::default();
        self.shut_out(user).await?;
        self.leave_rooms(user, &mut touched).await?;
        self.erase_messages(user, &mut touched).await?;
        self.erase_changes(user, &mut touched).await?;
        erase::dead_letters(&self.db, user).await?;
        self.push_out(user, &touched).await?;
        // Last, since those who went are written down a while after they went.
        erase::presence(&self.db, user).await?;
        self.shut_out(user).await?;
        erase::finish(&self.db, user).await?;
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

    async fn leave_rooms(&self, user: &UserId, touched: &mut Touched) -> Result<(), ErasureError> {
        loop {
            // From the start each time: what is left is gone from the list.
            let page = export::memberships(&self.db, user, "").await?;
            if page.is_empty() {
                return Ok(());
            }
            let rooms: Vec<RoomId> = page.iter().filter_map(|room| RoomId::parse(&room.room).ok()).collect();
            for rooms in rooms.chunks(ROOMS_AT_ONCE * 8) {
                let left = rooms.iter().cloned().map(|room| {
                    let (Self { db, log }, user) = (self.clone(), user.clone());
                    async move { leaving::leave(&db, &log, &room, &user).await }
                });
                stream::iter(left).buffer_unordered(ROOMS_AT_ONCE).try_collect::<Vec<()>>().await?;
                self.keep(user).await?;
            }
            touched.add(&rooms);
        }
    }

    async fn erase_messages(&self, user: &UserId, touched: &mut Touched) -> Result<(), ErasureError> {
        let mut looked_at = String::new();
        while let Some((last, written)) = export::rooms_written(&self.db, user, &looked_at).await? {
            for room in &written {
                let mut after = String::new();
                while let Some(last) = erase::messages(&self.db, user, room, &after).await? {
                    after = last;
                    self.keep(user).await?;
                }
            }
            let rooms: Vec<RoomId> = written.iter().filter_map(|room| RoomId::parse(room).ok()).collect();
            self.log.drop_tails(&rooms).await?;
            touched.add(&rooms);
            self.keep(user).await?;
            looked_at = last;
        }
        Ok(())
    }

    async fn erase_changes(&self, user: &UserId, touched: &mut Touched) -> Result<(), ErasureError> {
        loop {
            let mut rooms = erase::changes(&self.db, user).await?;
            rooms.extend(erase::reactions(&self.db, user).await?);
            if rooms.is_empty() {
                return Ok(());
            }
            self.log.drop_tails(&rooms).await?;
            touched.add(&rooms);
            self.keep(user).await?;
        }
    }

    /// A partition's stream keeps the last record that was stored. It may be theirs: then another takes its place.
    async fn push_out(&self, user: &UserId, touched: &Touched) -> Result<(), ErasureError> {
        let blanks = touched.0.values().cloned().map(|room| {
            let log = self.log.clone();
            async move {
                let blank = log.append_blank(&room).await?;
                match log.wait_stored(&room, &blank).await {
                    Stored::Here => Ok(()),
                    other => {
                        Err(ErasureError::Unavailable(format!("a partition is not being stored: {other:?}")))
                    }
                }
            }
        });
        try_join_all(blanks).await?;
        self.keep(user).await
    }

    async fn keep(&self, user: &UserId) -> Result<(), ErasureError> {
        if erase::lease(&self.db, user, true, LEASE).await? { Ok(()) } else { Err(ErasureError::Elsewhere) }
    }
}

/// One room of each partition in which something of theirs was.
#[derive(Default)]
struct Touched(BTreeMap<Partition, RoomId>);

impl Touched {
    fn add(&mut self, rooms: &[RoomId]) {
        for room in rooms {
            self.0.entry(Partition::of(room)).or_insert_with(|| room.clone());
        }
    }
}

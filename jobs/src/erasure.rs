//! Erasure of a user: the user is blocked and nothing more of theirs is appended, then they leave their rooms, then
//! their texts are deleted from PostgreSQL and from Redis. See docs/decisions/0010-behind-the-log.md.
//! An erasure always finishes, even when a process dies: its start is written down, and every replica looks for
//! erasures that no replica works on. Each step may be repeated. Data that shows where to look is deleted last, so that
//! a repetition finds everything.

mod leaving;

use std::sync::Arc;
use std::time::Duration;

use futures_util::{StreamExt, TryStreamExt, future::try_join_all, stream};
use sea_orm::DatabaseConnection;
use tidings_persistence::account;
use tidings_persistence::query::export;
use tidings_persistence::writer::failure;
use tidings_shared::ids::{RoomId, UserId};
use tidings_shared::log::{Log, stored::Stored};
use tidings_shared::people::{self, UserNotice};
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::error::JobError;
use crate::sql::{erased_letters, erasure as sql, partitions};

/// Lease of the replica that carries out an erasure; without renewal for this long it counts as dead.
const ERASURE_LEASE: Duration = Duration::from_secs(15);
/// Rooms that are left concurrently.
const CONCURRENT_ROOMS: usize = 8;
/// Time between two looks for erasures without a worker.
const SCAN_INTERVAL: Duration = Duration::from_secs(5);
/// Erasures that run concurrently, so that one that waits does not delay others.
const CONCURRENT_ERASURES: usize = 10;
/// How long erasures under way may continue when the replica stops.
const STOP_TIMEOUT: Duration = Duration::from_secs(5);
/// Pause before a failed erasure is retried.
const RETRY_PAUSE: Duration = Duration::from_secs(10);

/// See the module.
#[derive(Clone)]
struct Erasures {
    db: DatabaseConnection,
    log: Arc<Log>,
}

/// Erases users, until `stop`: at once when `requested` is notified, and those that no other replica works on. Callers
/// wait for their erasure, so those under way have some time to finish after `stop`; another replica continues the rest.
pub async fn run(db: DatabaseConnection, log: Arc<Log>, requested: Arc<Notify>, stop: CancellationToken) {
    let erasures = Erasures { db, log };
    let mut running = JoinSet::new();
    loop {
        tokio::select! {
            () = stop.cancelled() => break,
            () = requested.notified(), if running.len() < CONCURRENT_ERASURES => {}
            // A slot is free. After a failure the next scan comes in time: PostgreSQL may refuse writes and answer reads.
            Some(erased) = running.join_next() => if !erased.unwrap_or(false) { continue },
            () = tokio::time::sleep(SCAN_INTERVAL) => {}
        }
        match sql::due(&erasures.db, CONCURRENT_ERASURES.saturating_sub(running.len())).await {
            Ok(due) => {
                due.into_iter().for_each(|user| drop(running.spawn(erasures.clone().try_to_erase(user))));
            }
            Err(error) => {
                tracing::debug!(cause = failure::without_data(&error), "pending erasures cannot be read");
            }
        }
    }
    let _ = tokio::time::timeout(STOP_TIMEOUT, running.join_all()).await;
}

impl Erasures {
    /// Erases, unless another replica does. A failure is retried. Returns false after a failure.
    async fn try_to_erase(self, user: UserId) -> bool {
        let erased = self.erase(&user).await;
        if let Err(error) = &erased {
            tracing::warn!(%error, "an erasure is not finished and will be retried");
        }
        erased.is_ok()
    }

    async fn erase(&self, user: &UserId) -> Result<(), JobError> {
        if !sql::lease(&self.db, user, false, ERASURE_LEASE).await? {
            return Ok(());
        }
        let erased = tokio::select! {
            erased = self.steps(user) => erased,
            lost = self.keep_lease(user) => lost,
        };
        if erased.is_err() {
            // If this fails too, the lease expires.
            let _ = sql::postpone(&self.db, user, RETRY_PAUSE).await;
        }
        erased
    }

    async fn steps(&self, user: &UserId) -> Result<(), JobError> {
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
        sql::presence(&self.db, user).await?;
        self.block_account(user).await?;
        // Another node may have added the user meanwhile, because it did not know of the erasure. A membership that is
        // stored later starts the erasure again.
        self.leave_rooms(user).await?;
        if !sql::finish(&self.db, user).await? {
            return Err(JobError("the user is in a room again".to_owned()));
        }
        tracing::info!("a user is erased");
        Ok(())
    }

    /// Refreshes the cached account, which is now blocked and has no name; gateways then close the user's connections.
    async fn block_account(&self, user: &UserId) -> Result<(), JobError> {
        let unavailable = || JobError("the account could not be updated in Redis".to_owned());
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

    async fn leave_rooms(&self, user: &UserId) -> Result<(), JobError> {
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

    async fn erase_messages(&self, user: &UserId) -> Result<(), JobError> {
        let mut after_room = String::new();
        while let Some((last, written)) = export::rooms_with_messages(&self.db, user, &after_room).await? {
            for room in &written {
                let mut after = String::new();
                while let Some(last) = sql::messages(&self.db, user, room, &after).await? {
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
    async fn erase_changes(&self, user: &UserId) -> Result<(), JobError> {
        loop {
            let (changes, reacted) =
                (sql::changes(&self.db, user).await?, sql::reacted(&self.db, user).await?);
            let mut rooms = changes.rooms();
            rooms.extend(reacted);
            if rooms.is_empty() {
                return Ok(());
            }
            self.log.drop_tails(&rooms).await?;
            changes.undo(&self.db).await?;
            sql::reactions(&self.db, user).await?;
        }
    }

    async fn erase_dead_letters(&self, user: &UserId) -> Result<(), JobError> {
        let mut after = 0;
        while let Some(found) = erased_letters::find(&self.db, user, after).await? {
            after = found.last;
            self.log.drop_tails(&found.rooms).await?;
            found.delete(&self.db).await?;
        }
        Ok(())
    }

    /// Waits until everything appended so far is stored and is gone from the streams. A stream keeps its last stored
    /// record, which may be the user's, until another record follows; so a blank record is appended.
    async fn flush_streams(&self) -> Result<(), JobError> {
        let rooms = partitions::one_room_of_each(&self.db).await?;
        let blanks = rooms.into_iter().map(async |room| {
            let blank = self.log.append_blank(&room).await?;
            match self.log.wait_stored(&room, &blank).await {
                Stored::Here => Ok(()),
                other => Err(JobError(format!("a partition is not being stored: {other:?}"))),
            }
        });
        try_join_all(blanks).await.map(drop)
    }

    /// Renews the lease; returns when another replica has it, or when it cannot be renewed.
    async fn keep_lease(&self, user: &UserId) -> Result<(), JobError> {
        loop {
            tokio::time::sleep(ERASURE_LEASE / 3).await;
            if !sql::lease(&self.db, user, true, ERASURE_LEASE).await? {
                return Ok(());
            }
        }
    }
}

//! Erasure of a user. First the user is blocked and can no longer append events. Then the user leaves all rooms. Then
//! the user's texts are deleted from PostgreSQL and from Redis. See docs/decisions/0010-behind-the-log.md.
//! PostgreSQL records the start of an erasure, and every replica looks for unfinished erasures that no replica works
//! on. So an erasure finishes even if a process crashes. Each step may be repeated. The rows from which a step finds
//! the user's data are deleted last, so that a repeated step finds all of the data.

mod leaving;

use std::sync::Arc;
use std::time::Duration;

use futures_util::{StreamExt, TryStreamExt, future::try_join_all, stream};
use sea_orm::DatabaseConnection;
use tidings_shared::ids::{RoomId, UserId};
use tidings_shared::log::{Log, stored::Stored};
use tidings_shared::people::{self, UserNotice};
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::account;
use crate::job_error::JobError;
use crate::query::export;
use crate::writer::{erased_letters, erasure as sql, failure};

/// Lease of the replica that carries out an erasure. Another replica takes over an erasure whose lease expired.
const ERASURE_LEASE: Duration = Duration::from_secs(15);
/// Number of rooms that a user leaves concurrently.
const CONCURRENT_ROOMS: usize = 8;
/// Interval of the search for erasures that no replica works on.
const SCAN_INTERVAL: Duration = Duration::from_secs(5);
/// Number of erasures that run concurrently. Above 1, because an erasure may wait long and must not delay others.
const CONCURRENT_ERASURES: usize = 10;
/// How long running erasures may continue when the replica stops.
const STOP_TIMEOUT: Duration = Duration::from_secs(5);
/// Pause before a failed erasure is retried.
const RETRY_PAUSE: Duration = Duration::from_secs(10);

#[derive(Clone)]
struct Eraser {
    db: DatabaseConnection,
    log: Arc<Log>,
}

/// Erases users until `stop` is cancelled. Looks for pending erasures at intervals, and when `requested` is notified.
/// After `stop`, running erasures get `STOP_TIMEOUT` to finish, because HTTP requests wait for them; another replica
/// continues the unfinished ones.
pub async fn run(db: DatabaseConnection, log: Arc<Log>, requested: Arc<Notify>, stop: CancellationToken) {
    let eraser = Eraser { db, log };
    let mut running = JoinSet::new();
    loop {
        tokio::select! {
            () = stop.cancelled() => break,
            () = requested.notified(), if running.len() < CONCURRENT_ERASURES => {}
            // An erasure ended, so the next one may start. After a failed erasure the loop waits for the next scan
            // instead, because PostgreSQL may answer reads but refuse writes.
            Some(erased) = running.join_next() => if !erased.unwrap_or(false) { continue },
            () = tokio::time::sleep(SCAN_INTERVAL) => {}
        }
        match sql::due_erasures(&eraser.db, CONCURRENT_ERASURES.saturating_sub(running.len())).await {
            Ok(due) => {
                due.into_iter().for_each(|user| drop(running.spawn(eraser.clone().try_to_erase(user))));
            }
            Err(error) => {
                tracing::debug!(cause = failure::redacted_cause(&error), "pending erasures cannot be read");
            }
        }
    }
    let _ = tokio::time::timeout(STOP_TIMEOUT, running.join_all()).await;
}

impl Eraser {
    /// Erases the user, unless another replica has the lease. Returns false after a failure; a later scan retries it.
    async fn try_to_erase(self, user: UserId) -> bool {
        let erased = self.erase(&user).await;
        if let Err(error) = &erased {
            tracing::warn!(%error, "an erasure is not finished and will be retried");
        }
        erased.is_ok()
    }

    async fn erase(&self, user: &UserId) -> Result<(), JobError> {
        if !sql::take_or_renew_lease(&self.db, user, false, ERASURE_LEASE).await? {
            return Ok(());
        }
        let erased = tokio::select! {
            erased = self.run_steps(user) => erased,
            lost = self.keep_lease(user) => lost,
        };
        if erased.is_err() {
            // If this statement fails too, the erasure is due again when its lease expires.
            let _ = sql::postpone_erasure(&self.db, user, RETRY_PAUSE).await;
        }
        erased
    }

    async fn run_steps(&self, user: &UserId) -> Result<(), JobError> {
        self.block_account(user).await?;
        self.log.block_appends(user).await?;
        sql::delete_devices(&self.db, user).await?;
        self.leave_rooms(user).await?;
        // Waits until everything that the user appended is stored. All streams are flushed, because the user may have
        // appended to rooms that the user left earlier.
        self.flush_streams().await?;
        self.erase_messages(user).await?;
        sql::remove_files(&self.db, user).await?;
        self.erase_changes(user).await?;
        self.erase_dead_letters(user).await?;
        // Flushes again, because other users may have changed the user's messages since the first flush.
        self.flush_streams().await?;
        // The last-seen time is deleted late, because last-seen times are written with a delay.
        sql::delete_last_seen(&self.db, user).await?;
        self.block_account(user).await?;
        // Leaves again, because another node that did not know of the erasure may have added the user to a room. If
        // such a membership is stored even later, the erasure starts again.
        self.leave_rooms(user).await?;
        if !sql::finish_erasure(&self.db, user).await? {
            return Err(JobError("the user is in a room again".to_owned()));
        }
        tracing::info!("a user is erased");
        Ok(())
    }

    /// Refreshes the cached account, which is then blocked and has no name, and makes gateways close the user's
    /// connections.
    async fn block_account(&self, user: &UserId) -> Result<(), JobError> {
        let unavailable = || JobError("the account could not be updated in Redis".to_owned());
        let session = self.log.session_of_user(user).await.map_err(|_| unavailable())?;
        if !account::refresh_cache(&self.db, &self.log, user).await {
            return Err(unavailable());
        }
        let sent = people::publish(&mut session.connection(), [(user, &UserNotice::Account)]).await;
        sent.inspect_err(|error| self.log.discard_if_unusable(&session, error)).map_err(|_| unavailable())
    }

    async fn leave_rooms(&self, user: &UserId) -> Result<(), JobError> {
        loop {
            // Reads from the start each time, because the list no longer contains the rooms that the user left.
            let rooms = sql::some_rooms(&self.db, user).await?;
            if rooms.is_empty() {
                return Ok(());
            }
            // Drops the tails, because a message that could not be stored may exist only there.
            self.log.drop_tails(&rooms).await?;
            let departures = rooms.into_iter().map(|room| {
                let (Self { db, log }, user) = (self.clone(), user.clone());
                async move { leaving::leave_room(&db, &log, &room, &user).await }
            });
            stream::iter(departures).buffer_unordered(CONCURRENT_ROOMS).try_collect::<Vec<()>>().await?;
        }
    }

    async fn erase_messages(&self, user: &UserId) -> Result<(), JobError> {
        let mut after_room = String::new();
        loop {
            let written = export::rooms_with_messages(&self.db, user, &after_room).await?;
            let Some(last) = written.last() else { return Ok(()) };
            after_room.clone_from(last);
            for room in &written {
                let mut after = String::new();
                while let Some(last) = sql::erase_messages(&self.db, user, room, &after).await? {
                    after = last;
                }
            }
            // Drops the tails only after the messages became tombstones. The tombstones keep the sender, so a repeated
            // erasure still finds these rooms.
            let rooms: Vec<RoomId> = written.iter().filter_map(|room| RoomId::parse(room).ok()).collect();
            self.log.drop_tails(&rooms).await?;
        }
    }

    /// Erases the user's edits and reactions. Drops the tails of the rooms first, because afterwards no row shows in
    /// which rooms the user edited or reacted.
    async fn erase_changes(&self, user: &UserId) -> Result<(), JobError> {
        loop {
            let (changes, reacted) =
                (sql::next_changes(&self.db, user).await?, sql::next_reactions(&self.db, user).await?);
            let mut rooms = changes.rooms();
            rooms.extend(reacted.rooms());
            if rooms.is_empty() {
                return Ok(());
            }
            self.log.drop_tails(&rooms).await?;
            changes.undo(&self.db).await?;
            reacted.delete(&self.db, user).await?;
        }
    }

    async fn erase_dead_letters(&self, user: &UserId) -> Result<(), JobError> {
        let mut after = 0;
        while let Some(found) = erased_letters::find_in_next_page(&self.db, user, after).await? {
            after = found.last;
            self.log.drop_tails(&found.rooms).await?;
            found.delete(&self.db).await?;
        }
        Ok(())
    }

    /// Waits until everything appended so far is stored and has left the ingest streams. A stream keeps its last stored
    /// record, which may be a record of the user, until another record follows. So this function appends a blank record
    /// to each stream.
    async fn flush_streams(&self) -> Result<(), JobError> {
        let rooms = sql::one_room_of_each_partition(&self.db).await?;
        let blanks = rooms.into_iter().map(async |room| {
            let blank = self.log.append_blank(&room).await?;
            match self.log.wait_stored(&room, &blank).await {
                Stored::AsAccepted => Ok(()),
                other => Err(JobError(format!("a partition is not being stored: {other:?}"))),
            }
        });
        try_join_all(blanks).await.map(drop)
    }

    /// Renews the lease at intervals. Returns Ok when the erasure is finished, and an error if a renewal fails.
    async fn keep_lease(&self, user: &UserId) -> Result<(), JobError> {
        loop {
            tokio::time::sleep(ERASURE_LEASE / 3).await;
            if !sql::take_or_renew_lease(&self.db, user, true, ERASURE_LEASE).await? {
                return Ok(());
            }
        }
    }
}

//! Which session serves a partition, a room or a user, and the heartbeat that finds dead connections and partitions
//! whose epoch has ended.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use redis::{RedisError, Value};

use super::{
    append::AppendError,
    commands::Log,
    keys::{COMMON_PARTITION, Partition, PartitionSet},
    layout::Layout,
    session::{BySession, Session, SessionError, read_each_mark},
    shard_map::NodeAddress,
    timing::RoundTrip,
};
use crate::{
    ids::{Epoch, RoomId, UserId},
    sabotage,
};

/// Pause between two attempts to learn the layout.
const LAYOUT_RETRY_PAUSE: Duration = Duration::from_millis(200);

impl Log {
    /// Returns the Redis session of a partition. Opens a session if none is open.
    pub async fn session(&self, partition: Partition) -> Result<Arc<Session>, SessionError> {
        self.calls.sessions.get(partition).await
    }

    /// Returns the Redis session of a room's partition: see [`Log::session`].
    pub async fn session_of(&self, room: &RoomId) -> Result<Arc<Session>, SessionError> {
        self.session(Partition::of(room)).await
    }

    /// Returns the Redis session of a user's partition: see [`Log::session`].
    pub async fn session_of_user(&self, user: &UserId) -> Result<Arc<Session>, SessionError> {
        self.session(Partition::of_user(user)).await
    }

    /// Returns the Redis session of a partition, or `None` if none is open.
    pub fn current_session(&self, partition: Partition) -> Option<Arc<Session>> {
        self.calls.sessions.current(partition)
    }

    /// The newest epoch of all sessions of this process so far, also of discarded ones; 0 before the first session.
    /// PostgreSQL numbers epochs in the order in which they are opened, so every lower epoch was opened earlier.
    pub fn newest_epoch(&self) -> Epoch {
        self.calls.sessions.newest_epoch()
    }

    /// Returns the layout of the keys and channels in Redis. Waits until a session has been opened.
    pub async fn layout(&self) -> Layout {
        loop {
            if let Ok(session) = self.session(COMMON_PARTITION).await {
                return session.layout();
            }
            if let Some(session) = Partition::all().find_map(|partition| self.current_session(partition)) {
                return session.layout();
            }
            tokio::time::sleep(LAYOUT_RETRY_PAUSE).await;
        }
    }

    /// For each shard the number of commands that it has refused since the start of this process, because it has fewer
    /// replicas than `min-replicas-to-write`.
    pub fn noreplicas_counts(&self) -> BTreeMap<NodeAddress, u64> {
        self.calls.lock_noreplicas_counts().clone()
    }

    /// Returns the sessions of all partitions, each once. Opens the sessions that are missing.
    pub async fn sessions(&self) -> Result<Vec<Arc<Session>>, SessionError> {
        let split = self.group_by_session(Partition::all().collect(), |partition| *partition).await?;
        Ok(split.into_iter().map(|(session, _)| session).collect())
    }

    /// Splits items by the sessions of their partitions, so that the caller can make one call for each session. The
    /// items of a session keep their order. Opens the sessions that are missing, and fails if one of them cannot be
    /// opened.
    pub async fn group_by_session<T>(
        &self,
        items: Vec<T>,
        partition_of: fn(&T) -> Partition,
    ) -> Result<BySession<T>, SessionError> {
        self.calls.sessions.group_by_session(items, partition_of).await
    }

    /// Splits items like [`Log::group_by_session`], but opens no session. Leaves out the items of partitions without a
    /// session.
    pub fn group_by_current_session<T>(
        &self,
        items: Vec<T>,
        partition_of: fn(&T) -> Partition,
    ) -> BySession<T> {
        self.split_by_current_session(items, partition_of).0
    }

    /// Splits items like [`Log::group_by_current_session`]. Also returns the items of partitions without a session.
    pub fn split_by_current_session<T>(
        &self,
        items: Vec<T>,
        partition_of: fn(&T) -> Partition,
    ) -> (BySession<T>, Vec<T>) {
        self.calls.sessions.split_by_current_session(items, partition_of)
    }

    /// Splits items like [`Log::group_by_current_session`] if any partition has a session, and otherwise like
    /// [`Log::group_by_session`]. So an unreachable shard does not delay the items of the others.
    pub async fn group_by_open_session<T>(
        &self,
        items: Vec<T>,
        partition_of: fn(&T) -> Partition,
    ) -> Result<BySession<T>, SessionError> {
        if Partition::all().any(|partition| self.current_session(partition).is_some()) {
            return Ok(self.group_by_current_session(items, partition_of));
        }
        self.group_by_session(items, partition_of).await
    }

    /// Stops using a session that failed, or whose epoch has ended. The next command opens another session.
    pub fn discard(&self, session: &Arc<Session>) {
        self.calls.sessions.discard(session);
    }

    /// Stops using a session for a partition whose epoch has ended. In a Redis Cluster the session still serves its
    /// other partitions.
    pub fn end_partition(&self, session: &Arc<Session>, partition: Partition) {
        self.calls.sessions.end_partitions(session, [partition].into_iter().collect());
    }

    /// Stops using a session if the error means that its connection or its process is unusable. Stops using it for
    /// those partitions that it no longer serves, according to the error.
    pub fn discard_if_unusable(&self, session: &Arc<Session>, error: &RedisError) {
        self.calls.discard_if_unusable(session, error);
    }

    /// Converts an error of a command, which is [`AppendError::Moving`] if the partition moves. Handles the session like
    /// [`Log::discard_if_unusable`].
    pub fn append_error(&self, session: &Arc<Session>, error: &RedisError) -> AppendError {
        self.calls.append_error(session, error)
    }

    /// Sends a heartbeat on both connections of each session, and discards a session if one of its connections is
    /// unusable. Opens the sessions that are missing. Shards of a cluster do not wait for each other.
    pub(super) async fn check_sessions(self: &Arc<Self>) {
        if !self.calls.sessions.is_cluster() {
            let Ok(sessions) = self.sessions().await else { return };
            for session in sessions {
                self.check_session(&session).await;
            }
            return;
        }
        for (session, _) in self.group_by_current_session(Partition::all().collect(), |partition| *partition)
        {
            let log = self.clone();
            tokio::spawn(async move { log.check_session(&session).await });
        }
        // One partition of each address is enough, because the sessions of an address are opened together.
        let Some(map) = self.map_watch().current() else { return };
        for address in map.addresses() {
            let mut partitions = map.partitions_of(&address).iter();
            if let Some(partition) = partitions.find(|partition| self.current_session(*partition).is_none()) {
                let log = self.clone();
                tokio::spawn(async move {
                    if let Err(error) = log.session(partition).await {
                        tracing::debug!(%error, %address, "a shard of the Redis Cluster has no session");
                    }
                });
            }
        }
    }

    async fn check_session(&self, session: &Arc<Session>) {
        let ping = redis::cmd("PING");
        let mut reads = session.reads_connection();
        let (answer, answer_to_read): (Result<(), _>, Result<Value, _>) = tokio::join!(
            self.timed(RoundTrip::Ping, self.check_epoch(session)),
            ping.query_async(&mut reads)
        );
        if let Err(error) = answer {
            self.discard_if_unusable(session, &error);
        }
        let timed_out = answer_to_read.as_ref().is_err_and(RedisError::is_timeout);
        let timed_out_twice = session.record_reads_ping(timed_out);
        if let Err(error) = answer_to_read
            && (timed_out_twice || !timed_out)
        {
            self.discard_if_unusable(session, &error);
        }
    }

    /// Sends a PING. In a cluster reads the marks of the session's partitions instead, because a process that was
    /// demoted, or whose slot has moved away, also answers to PING.
    async fn check_epoch(&self, session: &Arc<Session>) -> Result<(), RedisError> {
        let mut connection = session.connection();
        if session.layout() == Layout::Single
            || sabotage::is_removed("the heartbeat reads the marks of the partitions")
        {
            return redis::cmd("PING").query_async::<Value>(&mut connection).await.map(|_| ());
        }
        let partitions: Vec<Partition> = session.partitions.iter().collect();
        let answers = read_each_mark(&mut connection, &partitions).await?;
        let mut ended = Vec::new();
        for (partition, answer) in partitions.into_iter().zip(answers) {
            match answer {
                Ok(Some(mark)) if mark == session.epoch.to_string() => {}
                Ok(_) => ended.push(partition),
                Err(error) => self.discard_if_unusable(session, &error),
            }
        }
        let ended: PartitionSet = ended.into_iter().collect();
        if !ended.is_empty() {
            self.calls.sessions.end_partitions(session, ended);
        }
        Ok(())
    }
}

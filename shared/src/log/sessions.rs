//! Which session serves a partition, a room or a user, and the PING that finds dead connections.

use std::{sync::Arc, time::Duration};

use redis::{RedisError, Value};

use super::{
    commands::Log,
    keys::{COMMON_PARTITION, Partition},
    layout::Layout,
    session::{BySession, Session, SessionError},
    timing::RoundTrip,
};
use crate::ids::{Epoch, RoomId, UserId};

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

    /// Returns the sessions of all partitions, each once. Opens the sessions that are missing.
    pub async fn sessions(&self) -> Result<Vec<Arc<Session>>, SessionError> {
        let split = self.by_session(Partition::all().collect(), |partition| *partition).await?;
        Ok(split.into_iter().map(|(session, _)| session).collect())
    }

    /// Splits items by the sessions of their partitions, so that the caller can make one call for each session. The
    /// items of a session keep their order. Opens the sessions that are missing, and fails if one of them cannot be
    /// opened.
    pub async fn by_session<T>(
        &self,
        items: Vec<T>,
        partition_of: fn(&T) -> Partition,
    ) -> Result<BySession<T>, SessionError> {
        self.calls.sessions.by_session(items, partition_of).await
    }

    /// Splits items like [`Log::by_session`], but opens no session. Leaves out the items of partitions without a
    /// session.
    pub fn by_current_session<T>(&self, items: Vec<T>, partition_of: fn(&T) -> Partition) -> BySession<T> {
        self.calls.sessions.by_current_session(items, partition_of)
    }

    /// Splits items like [`Log::by_current_session`] if any partition has a session, and otherwise like
    /// [`Log::by_session`]. So an unreachable shard does not delay the items of the others.
    pub async fn by_open_session<T>(
        &self,
        items: Vec<T>,
        partition_of: fn(&T) -> Partition,
    ) -> Result<BySession<T>, SessionError> {
        if Partition::all().any(|partition| self.current_session(partition).is_some()) {
            return Ok(self.by_current_session(items, partition_of));
        }
        self.by_session(items, partition_of).await
    }

    /// Stops using a session that failed, or whose epoch has ended. The next command opens another session.
    pub fn discard(&self, session: &Arc<Session>) {
        self.calls.sessions.discard(session);
    }

    /// Stops using a session if the error means that its connection or its process is unusable.
    pub fn discard_if_unusable(&self, session: &Arc<Session>, error: &RedisError) {
        self.calls.discard_if_unusable(session, error);
    }

    /// Sends a PING on both connections of each session, and discards a session if one of its connections is unusable.
    pub(super) async fn ping_sessions(&self) {
        let Ok(sessions) = self.sessions().await else { return };
        for session in sessions {
            self.ping(&session).await;
        }
    }

    async fn ping(&self, session: &Arc<Session>) {
        let ping = redis::cmd("PING");
        let (mut connection, mut reads) = (session.connection(), session.reads_connection());
        let (answer, answer_to_read): (Result<Value, _>, Result<Value, _>) = tokio::join!(
            self.timed(RoundTrip::Ping, ping.query_async(&mut connection)),
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
}

//! Round trips to Redis on the current session, and the conversion of their errors.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
    time::Instant,
};

use redis::{FromRedisValue, RedisError, RedisResult, Value};

use super::{
    append::AppendError,
    session::{Session, SessionEffect, SessionError, SessionHolder},
    shard_map::NodeAddress,
    timing::{RoundTrip, TimingObserver},
};

/// Makes round trips on Redis sessions and measures their durations. Discards a session when an error shows that its
/// connection or its Redis process is unusable.
pub(super) struct RedisCalls {
    pub sessions: Arc<SessionHolder>,
    pub timing_observer: OnceLock<TimingObserver>,
    /// See [`super::Log::noreplicas_counts`].
    noreplicas_counts: Mutex<BTreeMap<NodeAddress, u64>>,
}

impl RedisCalls {
    /// Creates calls whose durations are reported to nobody until `timing_observer` is set.
    pub fn new(sessions: Arc<SessionHolder>) -> Self {
        Self { sessions, timing_observer: OnceLock::new(), noreplicas_counts: Mutex::default() }
    }

    /// Sends one command. Discards the session if an error shows that it is unusable.
    pub async fn call(&self, session: &Arc<Session>, command: redis::Cmd) -> Result<Value, AppendError> {
        command
            .query_async(&mut session.connection())
            .await
            .map_err(|error| self.append_error(session, &error))
    }

    /// Sends commands in one round trip, and returns the answer to each. An error of one command is its own answer.
    pub async fn call_each(
        &self,
        session: &Arc<Session>,
        commands: Vec<redis::Cmd>,
    ) -> Vec<Result<Value, AppendError>> {
        let count = commands.len();
        let mut pipe = redis::Pipeline::with_capacity(count);
        pipe.ignore_errors();
        commands.into_iter().for_each(|command| {
            pipe.add_command(command);
        });
        match self.pipeline::<Vec<RedisResult<Value>>>(session, &pipe).await {
            Ok(answers) if answers.len() == count => answers
                .into_iter()
                .map(|answer| answer.map_err(|error| self.append_error(session, &error)))
                .collect(),
            Ok(_) => vec![Err(unavailable("Redis sent the wrong number of answers")); count],
            Err(error) => vec![Err(error); count],
        }
    }

    /// Sends a pipeline in one round trip. Discards the session if an error shows that it is unusable.
    pub async fn pipeline<T: FromRedisValue>(
        &self,
        session: &Arc<Session>,
        pipe: &redis::Pipeline,
    ) -> Result<T, AppendError> {
        pipe.query_async(&mut session.connection()).await.map_err(|error| self.append_error(session, &error))
    }

    /// Sends a pipeline in one round trip on the connection for reads. A timeout does not discard the session, because
    /// Redis may only be slow. Any other error is handled like an error of [`RedisCalls::pipeline`].
    pub async fn read<T: FromRedisValue>(
        &self,
        session: &Arc<Session>,
        pipe: &redis::Pipeline,
    ) -> Result<T, AppendError> {
        pipe.query_async(&mut session.reads_connection()).await.map_err(|error| {
            if error.is_timeout() { unavailable(error) } else { self.append_error(session, &error) }
        })
    }

    /// Converts an error of a command. Discards the session if its connection or Redis process is unusable.
    pub fn append_error(&self, session: &Arc<Session>, error: &RedisError) -> AppendError {
        match self.discard_if_unusable(session, error) {
            SessionEffect::SlotMoves | SessionEffect::PartitionsEnded(_) => AppendError::Moving,
            SessionEffect::None if error.code() == Some("OOM") => AppendError::Overloaded,
            SessionEffect::None | SessionEffect::Ended => AppendError::Unavailable(error.to_string()),
        }
    }

    /// Discards the session if the error means that its connection or its Redis process is unusable, or ends it for the
    /// partitions that it no longer serves. Returns what the error means. Counts the error NOREPLICAS.
    pub fn discard_if_unusable(&self, session: &Arc<Session>, error: &RedisError) -> SessionEffect {
        if is_noreplicas(error) {
            *self.lock_noreplicas_counts().entry(session.address().clone()).or_default() += 1;
        }
        let effect = SessionEffect::of(error);
        match effect {
            SessionEffect::Ended => self.sessions.discard(session),
            SessionEffect::PartitionsEnded(partitions) => self.sessions.end_partitions(session, partitions),
            SessionEffect::SlotMoves | SessionEffect::None => {}
        }
        effect
    }

    /// See [`super::Log::noreplicas_counts`].
    pub fn lock_noreplicas_counts(&self) -> MutexGuard<'_, BTreeMap<NodeAddress, u64>> {
        // A poisoned lock is usable, because each count is changed as a whole.
        self.noreplicas_counts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Awaits a round trip, and reports its duration to the observer, if there is one.
    pub async fn timed<T>(&self, purpose: RoundTrip, trip: impl Future<Output = T>) -> T {
        let Some(observer) = self.timing_observer.get() else { return trip.await };
        let begun = Instant::now();
        let answer = trip.await;
        observer(purpose, begun.elapsed());
        answer
    }
}

/// Whether Redis refused a command because fewer replicas than `min-replicas-to-write` are connected. A pipeline may have
/// failed with several errors.
fn is_noreplicas(error: &RedisError) -> bool {
    let errors = error.clone().into_server_errors();
    errors.iter().flat_map(|errors| errors.iter()).any(|(_, error)| error.code() == "NOREPLICAS")
}

/// Converts an error of Redis or persistence into [`AppendError::Unavailable`]. The append may or may not have taken
/// effect.
pub(super) fn unavailable(error: impl std::fmt::Display) -> AppendError {
    AppendError::Unavailable(error.to_string())
}

/// Converts the reason why a partition has no session.
pub(super) fn no_session(error: SessionError) -> AppendError {
    match error {
        SessionError::PartitionMoves => AppendError::Moving,
        error => unavailable(error),
    }
}

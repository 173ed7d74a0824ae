//! The interface of the room log: appends events and waits until they are stored. An append also seeds its room, or
//! looks up its client id in PostgreSQL, when the append script answers that this is needed. Other files of this folder
//! add sessions, reads, marks and live-only records.

use std::{sync::Arc, time::Duration};

use super::{
    RedisClient,
    append::{Accepted, AppendAnswer, AppendError, Entry, UnknownClientId},
    append_many::{BatchOutcome, FastMessage},
    authority::{Authority, AuthorityError, KnownClientId, SeedOutcome},
    backlog::LogLimits,
    batcher::{AppendBatcher, MAX_CALL_BYTES, MAX_CALL_MESSAGES},
    calls::{RedisCalls, no_session, unavailable},
    keys::Partition,
    map_watch::MapWatch,
    moving::MoveRetry,
    seeding::SeedQueue,
    session::{Session, SessionError, SessionHolder},
    stored::{Stored, Watermarks},
    timing::RoundTrip,
};
use crate::{
    ids::RoomId,
    telemetry::{self, SpanKind},
};

/// Maximum number of attempts of one command. Between attempts a room is seeded, a client id looked up or a session
/// opened.
pub(super) const MAX_ATTEMPTS: usize = 6;
/// Interval between two heartbeats of each session, so that a dead connection, or a partition at another process, is
/// found before a sender uses it.
const PING_EVERY: Duration = Duration::from_secs(2);

/// The room log in Redis. All threads of a node share it.
pub struct Log {
    pub(super) calls: Arc<RedisCalls>,
    pub(super) authority: Arc<dyn Authority>,
    seed_queue: SeedQueue,
    watermarks: Arc<Watermarks>,
    pub(super) limits: LogLimits,
    batcher: Arc<AppendBatcher>,
}

impl Log {
    /// Starts the tasks of the log on the current runtime. A connection is opened only when it is first needed.
    pub fn start(client: RedisClient, authority: Arc<dyn Authority>, limits: LogLimits) -> Arc<Self> {
        let map_watch = MapWatch::start(client.clone());
        let sessions = Arc::new(SessionHolder::new(client, map_watch, authority.clone()));
        let seed_queue = SeedQueue::start(authority.clone());
        let watermarks = Watermarks::start(sessions.clone());
        let calls = Arc::new(RedisCalls::new(sessions.clone()));
        let batcher = AppendBatcher::new(calls.clone(), limits);
        let log = Arc::new(Self { calls, authority, seed_queue, watermarks, limits, batcher });
        let weak = Arc::downgrade(&log);
        tokio::spawn(async move {
            loop {
                tokio::time::sleep(PING_EVERY).await;
                let Some(log) = weak.upgrade() else { return };
                log.check_sessions().await;
            }
        });
        log
    }

    /// The map of the Redis processes that serve the partitions.
    pub fn map_watch(&self) -> &Arc<MapWatch> {
        self.calls.sessions.map_watch()
    }

    /// Returns the stored watermarks, and the events whose senders wait until they are stored. The owner of the pub/sub
    /// connection must pass each watermark notice to [`Watermarks::apply_notice`].
    pub fn watermarks(&self) -> &Arc<Watermarks> {
        &self.watermarks
    }

    /// Appends an event. `Ok` proves that the event is in the log. After `Unavailable` the event may or may not be in
    /// the log, and the append can safely be repeated with the same client id.
    pub async fn append(&self, entry: &Entry<'_>) -> Result<Accepted, AppendError> {
        // A record that is appended again, such as a dead letter, keeps its trace context.
        let step =
            if entry.traceparent.is_none() { telemetry::child("append", SpanKind::Client) } else { None };
        let Some(step) = step else { return self.append_one(entry).await };
        // Boxed so that the untraced future stays small.
        let traceparent = step.context().to_string();
        let entry = Box::new(Entry { traceparent: Some(&traceparent), ..entry.clone() });
        Box::pin(self.append_one(&entry)).await
    }

    async fn append_one(&self, entry: &Entry<'_>) -> Result<Accepted, AppendError> {
        let mut result = Err(head_keeps_changing());
        self.append_messages(&self.batcher, std::slice::from_ref(entry), |answer| result = answer).await;
        result
    }

    /// Appends messages of one room in their order. The calls to Redis are shared with other messages in `batcher`.
    /// Calls `on_answer` once for each message, in their order, with a result like that of [`Log::append`].
    pub async fn append_messages(
        &self,
        batcher: &Arc<AppendBatcher>,
        entries: &[Entry<'_>],
        mut on_answer: impl FnMut(Result<Accepted, AppendError>),
    ) {
        let mut rest = entries;
        // After a message that was not appended, the next messages are tried one by one, and also after two groups of
        // which no message was appended, for example of an owner in a room with slow mode. Otherwise each of these
        // messages would cause all messages after it to be sent again.
        let (mut one_by_one, mut undecided_groups) = (false, 0);
        while let Some(first) = rest.first() {
            let session = match self.calls.sessions.get(Partition::of(first.room)).await {
                Ok(session) => session,
                // `append_with_retries` waits for a partition that moves.
                Err(SessionError::PartitionMoves) => {
                    // Boxed so that the usual future stays small.
                    on_answer(Box::pin(self.append_with_retries(first)).await);
                    rest = &rest[1..];
                    continue;
                }
                Err(error) => {
                    on_answer(Err(unavailable(error)));
                    rest = &rest[1..];
                    continue;
                }
            };
            // The group ends before a message whose client id must be looked up, so that no later message overtakes it.
            let fast: Vec<FastMessage> = rest
                .iter()
                .take_while(|_| !one_by_one)
                .map_while(FastMessage::of)
                .take(count_fitting(rest))
                .collect();
            let count = fast.len();
            let outcomes = match count {
                0 => Ok(Vec::new()),
                _ => batcher.append(&session, first.room, fast).await,
            };
            let outcomes = match outcomes {
                Ok(outcomes) => outcomes,
                Err(error) => {
                    (0..count).for_each(|_| on_answer(Err(error.clone())));
                    rest = &rest[count..];
                    continue;
                }
            };
            let mut appended = 0;
            for (outcome, entry) in outcomes.into_iter().zip(rest) {
                let BatchOutcome::Appended { seq, at_ms, ingest } = outcome else { break };
                let (epoch, id) = (session.epoch, entry.id.clone().unwrap_or_default());
                on_answer(Ok(Accepted { seq, epoch, at_ms, ingest: Some(ingest), id, duplicate: false }));
                appended += 1;
            }
            rest = &rest[appended..];
            if count == 0 || appended < count {
                let [next, others @ ..] = rest else { return };
                let answer = self.append_with_retries(next).await;
                if count > 0 {
                    undecided_groups = if appended == 0 { undecided_groups + 1 } else { 0 };
                }
                one_by_one =
                    undecided_groups > 1 || !answer.as_ref().is_ok_and(|accepted| !accepted.duplicate);
                on_answer(answer);
                rest = others;
            }
        }
    }

    /// Creates a batcher for the messages of one thread. The batcher makes its calls on the current runtime.
    #[must_use]
    pub fn new_batcher(&self) -> Arc<AppendBatcher> {
        AppendBatcher::new(self.calls.clone(), self.limits)
    }

    /// Appends one event with `append.lua`. While the room's partition moves, the command is repeated.
    async fn append_with_retries(&self, entry: &Entry<'_>) -> Result<Accepted, AppendError> {
        let mut moving = MoveRetry::default();
        loop {
            let result = self.try_append(entry).await;
            if !moving.waits_after(&result).await {
                return result;
            }
        }
    }

    async fn try_append(&self, entry: &Entry<'_>) -> Result<Accepted, AppendError> {
        let mut unknown = entry.unknown_client_id();
        for _ in 0..MAX_ATTEMPTS {
            let session = self.session_of(entry.room).await.map_err(no_session)?;
            let command = entry.command(&session.scripts, &unknown, self.limits);
            let value = self.timed(RoundTrip::Append, self.calls.call(&session, command)).await?;
            match entry.parse_answer(session.epoch, value).map_err(AppendError::Unavailable)? {
                AppendAnswer::Done(accepted) => return Ok(accepted),
                AppendAnswer::Refused(error) => return Err(error),
                AppendAnswer::Seed => self.seed(&session, entry.room).await?,
                AppendAnswer::LookUp(text) => {
                    if let (Some(sender), Some(client_id)) = (entry.sender, &entry.client_id) {
                        let known = self.authority.look_up(entry.room, sender, client_id).await;
                        match known.map_err(unavailable)? {
                            Some(KnownClientId::Stored { seq, id, at_ms }) => {
                                let epoch = session.epoch;
                                return Ok(Accepted { seq, epoch, at_ms, ingest: None, id, duplicate: true });
                            }
                            Some(KnownClientId::Rejected) => return Err(AppendError::Rejected),
                            None => {}
                        }
                    }
                    unknown = UnknownClientId::LookedUp(text);
                }
            }
        }
        Err(head_keeps_changing())
    }

    /// Waits until an accepted event is committed in PostgreSQL, at most 30 s, and returns the outcome.
    pub async fn wait_stored(&self, room: &RoomId, accepted: &Accepted) -> Stored {
        self.watermarks.wait(room, accepted).await
    }

    /// Seeds a room for the epoch of the session. If the epoch has ended, discards the session and returns Ok, because
    /// the caller then repeats its command in another session.
    pub(super) async fn seed(&self, session: &Arc<Session>, room: &RoomId) -> Result<(), AppendError> {
        match self.seed_queue.seed(session, room.clone()).await {
            Ok(SeedOutcome::Seeded) => Ok(()),
            Ok(SeedOutcome::NoSuchRoom) => Err(AppendError::NoSuchRoom),
            Ok(SeedOutcome::Later) => {
                Err(AppendError::Unavailable("the room's partition is busy".to_owned()))
            }
            Err(AuthorityError::EpochEnded) => {
                self.end_partition(session, Partition::of(room));
                Ok(())
            }
            Err(error) => Err(unavailable(error)),
        }
    }

    /// Registers `observer`, which is then called after each round trip. A second registration has no effect.
    pub fn observe_timings(&self, observer: impl Fn(RoundTrip, Duration) + Send + Sync + 'static) {
        let _ = self.calls.timing_observer.set(Box::new(observer));
    }

    /// Waits for a round trip, and reports its duration to the observer of [`Log::observe_timings`], if there is one.
    pub async fn timed<T>(&self, purpose: RoundTrip, trip: impl Future<Output = T>) -> T {
        self.calls.timed(purpose, trip).await
    }
}

/// Returns how many of the first messages fit into one call; at least 1.
fn count_fitting(entries: &[Entry<'_>]) -> usize {
    let mut bytes = 0;
    let fits = |entry: &&Entry<'_>| {
        bytes += entry.body.len();
        bytes <= MAX_CALL_BYTES
    };
    entries.iter().take(MAX_CALL_MESSAGES).take_while(fits).count().max(1)
}

/// The error of a command that gave up after [`MAX_ATTEMPTS`] attempts.
pub(super) fn head_keeps_changing() -> AppendError {
    AppendError::Unavailable("the room's head kept changing".to_owned())
}

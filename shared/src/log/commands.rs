//! The log as the services use it: append, wait for stored; seeds and look-ups happen inside. Reads, marks and live
//! frames are in files of their own.

use std::{
    sync::{Arc, OnceLock},
    time::Duration,
};

use redis::{Client, RedisError, Value};

use super::{
    append::{Accepted, Answer, AppendError, Entry},
    authority::{Authority, AuthorityError, Known, SeedOutcome},
    seeding::Seeding,
    session::{self, Session, SessionError, Sessions},
    stored::{Stored, Watermarks},
    timing::{Step, Timings},
};
use crate::{
    ids::RoomId,
    telemetry::{self, SpanKind},
};

/// Rounds of seed, look-up and new session that one command may take before it is given up.
pub(super) const ROUNDS: usize = 6;
/// How often an idle session is checked, so that a dead link is found before a sender finds it.
const PING_EVERY: Duration = Duration::from_secs(2);
/// A UUIDv7 client id younger than this was not sent before the client-id memory began (10 min).
const YOUNG_CLIENT_ID_MS: u64 = 5 * 60 * 1000;
/// How far a client's clock may run ahead of ours for its UUIDv7 to count as young.
const CLOCK_AHEAD_MS: u64 = 60 * 1000;
/// A Redis process that has been in use for longer remembers all young client ids.
const MEMORY_COMPLETE_AFTER: Duration = Duration::from_secs(600);

/// Bounds of the log.
#[derive(Debug, Clone, Copy)]
pub struct LogLimits {
    /// Records of one partition that may wait to be stored; above it appends are refused as overloaded.
    pub max_backlog_records: u64,
}

/// See the module. Shared by all threads of a node.
pub struct Log {
    pub(super) sessions: Arc<Sessions>,
    pub(super) authority: Arc<dyn Authority>,
    seeding: Seeding,
    watermarks: Arc<Watermarks>,
    pub(super) limits: LogLimits,
    clock: fn() -> u64,
    pub(super) timings: OnceLock<Timings>,
}

impl Log {
    /// Starts the log's tasks on the present runtime. Nothing is connected yet.
    pub fn start(client: Client, authority: Arc<dyn Authority>, limits: LogLimits) -> Arc<Self> {
        let sessions = Arc::new(Sessions::new(client, authority.clone()));
        let seeding = Seeding::start(authority.clone());
        let watermarks = Watermarks::start(sessions.clone());
        let log = Arc::new(Self {
            sessions,
            authority,
            seeding,
            watermarks,
            limits,
            clock: unix_ms,
            timings: OnceLock::new(),
        });
        let weak = Arc::downgrade(&log);
        tokio::spawn(async move {
            loop {
                tokio::time::sleep(PING_EVERY).await;
                let Some(log) = weak.upgrade() else { return };
                log.check().await;
            }
        });
        log
    }

    /// The waits for stored, to which the owner of the pub/sub connection brings the notices.
    #[must_use]
    pub fn watermarks(&self) -> &Arc<Watermarks> {
        &self.watermarks
    }

    /// The session in use, opened now when there is none.
    ///
    /// # Errors
    /// When Redis or the authority is out of reach.
    pub async fn session(&self) -> Result<Arc<Session>, SessionError> {
        self.sessions.get().await
    }

    /// The session in use, without waiting for one.
    #[must_use]
    pub fn current_session(&self) -> Option<Arc<Session>> {
        self.sessions.current()
    }

    /// Takes a session that failed, or whose epoch is past, out of use.
    pub fn discard(&self, session: &Arc<Session>) {
        self.sessions.discard(session);
    }

    /// Takes a session out of use when the error says that its connection or process is of no use any more.
    pub fn failed(&self, session: &Arc<Session>, error: &RedisError) {
        if session::ends_session(error) {
            self.sessions.discard(session);
        }
    }

    /// Appends an event. An answer is proof that it stands in the log; an error `Unavailable` leaves it open, and
    /// repeating the client id settles it.
    ///
    /// # Errors
    /// [`AppendError`].
    pub async fn append(&self, entry: &Entry<'_>) -> Result<Accepted, AppendError> {
        // A record that is appended again goes on with the trace that it had.
        let step =
            if entry.traceparent.is_none() { telemetry::part("append", SpanKind::Client) } else { None };
        let Some(step) = step else { return self.append_as_it_is(entry).await };
        // In a box, so that the way of the many that are not traced is no longer for it.
        let traceparent = step.context().to_string();
        let entry = Box::new(Entry { traceparent: Some(&traceparent), ..entry.clone() });
        Box::pin(self.append_as_it_is(&entry)).await
    }

    async fn append_as_it_is(&self, entry: &Entry<'_>) -> Result<Accepted, AppendError> {
        let mut looked_up = false;
        for _ in 0..ROUNDS {
            let session = self.sessions.get().await.map_err(unavailable)?;
            let waived = looked_up || self.needs_no_look_up(entry, &session);
            let command = entry.command(&session.scripts, waived, self.limits.max_backlog_records);
            let value = self.timed(Step::Append, self.call(&session, command)).await?;
            match entry.read_answer(&session, value).map_err(AppendError::Unavailable)? {
                Answer::Done(accepted) => return Ok(accepted),
                Answer::Refused(error) => return Err(error),
                Answer::Seed => self.seed(&session, entry.room).await?,
                Answer::LookUp => {
                    if let (Some(sender), Some(client_id)) = (entry.sender, &entry.client_id) {
                        let known = self.authority.look_up(entry.room, sender, client_id).await;
                        match known.map_err(unavailable)? {
                            Some(Known::Stored { seq, id, at_ms }) => {
                                let epoch = session.epoch;
                                return Ok(Accepted { seq, epoch, at_ms, ingest: None, id, duplicate: true });
                            }
                            Some(Known::Rejected) => return Err(AppendError::Rejected),
                            None => {}
                        }
                    }
                    looked_up = true;
                }
            }
        }
        Err(AppendError::Unavailable("the room's head does not settle".to_owned()))
    }

    /// Waits until what was accepted is stored.
    pub async fn wait_stored(&self, room: &RoomId, accepted: &Accepted) -> Stored {
        self.watermarks.wait(room, accepted).await
    }

    pub(super) async fn seed(&self, session: &Arc<Session>, room: &RoomId) -> Result<(), AppendError> {
        match self.seeding.seed(session.epoch, room.clone()).await {
            Ok(SeedOutcome::Seeded) => Ok(()),
            Ok(SeedOutcome::NoSuchRoom) => Err(AppendError::NoSuchRoom),
            Ok(SeedOutcome::Later) => {
                Err(AppendError::Unavailable("the room's partition is busy".to_owned()))
            }
            Err(AuthorityError::PastEpoch) => {
                self.sessions.discard(session);
                Ok(())
            }
            Err(error) => Err(unavailable(error)),
        }
    }

    pub(super) async fn call(
        &self,
        session: &Arc<Session>,
        command: redis::Cmd,
    ) -> Result<Value, AppendError> {
        command.query_async(&mut session.connection()).await.map_err(|error| self.give_up(session, &error))
    }

    pub(super) fn give_up(&self, session: &Arc<Session>, error: &RedisError) -> AppendError {
        self.failed(session, error);
        if error.code() == Some("OOM") {
            AppendError::Overloaded
        } else {
            AppendError::Unavailable(error.to_string())
        }
    }

    fn needs_no_look_up(&self, entry: &Entry<'_>, session: &Session) -> bool {
        if entry.first_attempt || entry.is_change || entry.sender.is_none() {
            return true;
        }
        let made = entry.client_id.as_ref().and_then(crate::ids::ClientId::uuid_v7_at_ms);
        made.is_some_and(|made| is_young(made, (self.clock)())) && session.epoch_age() > MEMORY_COMPLETE_AFTER
    }

    async fn check(&self) {
        let Ok(session) = self.sessions.get().await else { return };
        let answer: Result<Value, _> =
            self.timed(Step::Ping, redis::cmd("PING").query_async(&mut session.connection())).await;
        if let Err(error) = answer {
            self.failed(&session, &error);
        }
    }
}

pub(super) fn unavailable(error: impl std::fmt::Display) -> AppendError {
    AppendError::Unavailable(error.to_string())
}

fn is_young(made_ms: u64, now_ms: u64) -> bool {
    made_ms <= now_ms + CLOCK_AHEAD_MS && now_ms < made_ms + YOUNG_CLIENT_ID_MS
}

fn unix_ms() -> u64 {
    std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .map_or(0, |since| u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_client_id_of_the_last_minutes_is_young() {
        let now = 1_800_000_000_000;
        assert!(is_young(now, now));
        assert!(is_young(now + CLOCK_AHEAD_MS, now));
        assert!(!is_young(now + CLOCK_AHEAD_MS + 1, now));
        assert!(is_young(now - YOUNG_CLIENT_ID_MS + 1, now));
        assert!(!is_young(now - YOUNG_CLIENT_ID_MS, now));
    }
}

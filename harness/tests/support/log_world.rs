//! A room log on a real Redis with a scripted authority in place of PostgreSQL, so that a test chooses each answer.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, OnceLock, Weak,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use anyhow::Result;
use tidings_harness::redis::Redis;
use tidings_shared::{
    ids::{ClientId, Epoch, RoomId, Seq, UserId},
    log::{
        Accepted, AppendError, Authority, AuthorityError, Bases, Entry, KnownClientId, Log, LogLimits,
        OpenedEpoch, RoomHead, SeedOutcome, Session, StoredMarks, Survival, Target, WatermarkUpdate,
        keys::{self, Partition},
        record::IngestId,
    },
    role::MinRole,
};

/// An authority whose answers the test sets.
#[derive(Default)]
pub struct ScriptedAuthority {
    log: OnceLock<Weak<Log>>,
    pub run_ids: Mutex<Vec<String>>,
    /// The answers to look-ups, by client id.
    pub known: Mutex<HashMap<String, KnownClientId>>,
    pub look_ups: Mutex<usize>,
    /// The answer to each look-up of a change's target.
    pub target: Mutex<Option<Target>>,
    /// If set, persistence reaches another Redis process.
    pub other_process: AtomicBool,
    /// If set, no user is a member of a room.
    pub without_members: AtomicBool,
    /// If set, persistence is unreachable.
    pub unavailable: AtomicBool,
}

#[async_trait::async_trait]
impl Authority for ScriptedAuthority {
    async fn open_epochs(
        &self,
        run_id: &str,
        partitions: &[Partition],
    ) -> Result<Vec<(Partition, OpenedEpoch)>, AuthorityError> {
        if self.other_process.load(Ordering::Relaxed) {
            return Err(AuthorityError::OtherProcess);
        }
        if self.unavailable.load(Ordering::Relaxed) {
            return Err(AuthorityError::Unavailable("unavailable".to_owned()));
        }
        let mut run_ids = self.run_ids.lock().unwrap();
        if run_ids.last().is_none_or(|last| last != run_id) {
            run_ids.push(run_id.to_owned());
        }
        let opened = OpenedEpoch { epoch: Epoch(run_ids.len() as u64), age: Duration::ZERO };
        Ok(partitions.iter().map(|partition| (*partition, opened)).collect())
    }

    async fn seed(&self, epoch: Epoch, rooms: &[RoomId]) -> Result<Vec<SeedOutcome>, AuthorityError> {
        let log = self.log.get().and_then(Weak::upgrade).expect("set before use");
        let mut outcomes = Vec::new();
        for room in rooms {
            if room.as_str() == "nowhere" {
                outcomes.push(SeedOutcome::NoSuchRoom);
                continue;
            }
            let session = log.session_of(room).await;
            let session = session.map_err(|error| AuthorityError::Unavailable(error.to_string()))?;
            let (at, seq): (Option<u64>, Option<u64>) = redis::cmd("HMGET")
                .arg(keys::room(room))
                .arg("epoch")
                .arg("seq")
                .query_async(&mut session.connection())
                .await
                .expect("Redis answers");
            let read = at.zip(seq).map(|(epoch, seq)| (Epoch(epoch), Seq(seq)));
            let base = read.map_or(Seq(0), |(_, seq)| seq);
            let head =
                RoomHead { epoch, seq: base, bases: Bases(vec![(epoch, base)]), ..RoomHead::default() };
            log.write_seed(&session, room, read, &head, Survival::Nothing).await.expect("Redis answers");
            outcomes.push(SeedOutcome::Seeded);
        }
        Ok(outcomes)
    }

    async fn look_up(
        &self,
        _: &RoomId,
        _: &UserId,
        client_id: &ClientId,
    ) -> Result<Option<KnownClientId>, AuthorityError> {
        *self.look_ups.lock().unwrap() += 1;
        Ok(self.known.lock().unwrap().get(client_id.as_str()).cloned())
    }

    async fn marks(&self, _: &RoomId, users: &[UserId]) -> Result<StoredMarks, AuthorityError> {
        Ok(StoredMarks { head: Seq(0), marks: vec![Some((Seq(0), Seq(0))); users.len()] })
    }

    async fn roles(&self, _: &RoomId, users: &[UserId]) -> Result<Vec<Option<String>>, AuthorityError> {
        let is_member = !self.without_members.load(Ordering::Relaxed);
        Ok(vec![is_member.then(|| "member".to_owned()); users.len()])
    }

    async fn target(&self, _: &RoomId, _: Seq) -> Result<Option<Target>, AuthorityError> {
        Ok(self.target.lock().unwrap().clone())
    }
}

pub struct LogFixture {
    pub redis: Redis,
    pub authority: Arc<ScriptedAuthority>,
    pub log: Arc<Log>,
    pub room: RoomId,
    pub alice: UserId,
}

impl LogFixture {
    pub async fn new(max_backlog_records: u64) -> Result<Self> {
        Self::with_limits(LogLimits {
            max_backlog_records,
            max_backlog_bytes: LogLimits::DEFAULT_BACKLOG_BYTES,
        })
        .await
    }

    pub async fn with_limits(limits: LogLimits) -> Result<Self> {
        let redis = Redis::start().await?;
        let authority = Arc::new(ScriptedAuthority::default());
        let client = tidings_shared::log::client(&redis.url())?;
        let log = Log::start(client, authority.clone(), limits);
        authority.log.set(Arc::downgrade(&log)).expect("set once");
        Ok(Self { redis, authority, log, room: RoomId::parse("r")?, alice: UserId::parse("alice")? })
    }

    pub fn entry(&self, client_id: &str) -> Entry<'_> {
        Entry {
            sender: Some(&self.alice),
            client_id: ClientId::parse(client_id).ok(),
            id: Some(format!("id-of-{client_id}")),
            min_role: MinRole::Member,
            is_change: false,
            ..Entry::new(&self.room, "message:new", format!(r#"{{"client_id":"{client_id}"}}"#))
        }
    }

    pub fn partition(&self) -> Partition {
        Partition::of(&self.room)
    }

    pub async fn append(&self, client_id: &str) -> Result<Accepted, AppendError> {
        self.log.append(&self.entry(client_id)).await
    }

    /// Moves the stored watermark of the room's partition, as a writer does after a commit.
    pub async fn publish_stored(
        &self,
        session: &Arc<Session>,
        watermark: IngestId,
        exceptions: Vec<(String, String)>,
    ) -> Result<bool, AppendError> {
        let stored = WatermarkUpdate { partition: Partition::of(&self.room), watermark, exceptions };
        self.log.publish_stored(session, &[stored]).await.pop().expect("one answer for each partition")
    }

    pub async fn command<T: redis::FromRedisValue>(&self, command: &mut redis::Cmd) -> Result<T> {
        let session = self.log.session_of(&self.room).await?;
        Ok(command.query_async(&mut session.connection()).await?)
    }
}

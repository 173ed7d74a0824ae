//! A log on a real Redis, with PostgreSQL's side played by the test, so that each of its answers can be chosen.

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
        Accepted, AppendError, Authority, AuthorityError, Bases, Entry, Known, Log, LogLimits, Minimum,
        OpenedEpoch, RoomHead, SeedOutcome, Session, StoredMarks, StoredUpto, Survival, Target,
        keys::{self, Partition},
        record::IngestId,
    },
};

/// PostgreSQL's answers, as the test wants them.
#[derive(Default)]
pub struct Script {
    log: OnceLock<Weak<Log>>,
    pub run_ids: Mutex<Vec<String>>,
    pub known: Mutex<HashMap<String, Known>>,
    pub look_ups: Mutex<usize>,
    /// Where it finds every message that is a target.
    pub target: Mutex<Option<Target>>,
    /// It reaches another Redis process.
    pub elsewhere: AtomicBool,
    /// It is out of reach.
    pub away: AtomicBool,
}

#[async_trait::async_trait]
impl Authority for Script {
    async fn open_epoch(&self, run_id: &str) -> Result<OpenedEpoch, AuthorityError> {
        if self.elsewhere.load(Ordering::Relaxed) {
            return Err(AuthorityError::OtherProcess);
        }
        if self.away.load(Ordering::Relaxed) {
            return Err(AuthorityError::Unavailable("away".to_owned()));
        }
        let mut run_ids = self.run_ids.lock().unwrap();
        if run_ids.last().is_none_or(|last| last != run_id) {
            run_ids.push(run_id.to_owned());
        }
        Ok(OpenedEpoch { epoch: Epoch(run_ids.len() as u64), age: Duration::ZERO })
    }

    async fn seed(&self, epoch: Epoch, rooms: &[RoomId]) -> Result<Vec<SeedOutcome>, AuthorityError> {
        let log = self.log.get().and_then(Weak::upgrade).expect("set before use");
        let session = log.session().await.map_err(|error| AuthorityError::Unavailable(error.to_string()))?;
        let mut outcomes = Vec::new();
        for room in rooms {
            if room.as_str() == "nowhere" {
                outcomes.push(SeedOutcome::NoSuchRoom);
                continue;
            }
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
    ) -> Result<Option<Known>, AuthorityError> {
        *self.look_ups.lock().unwrap() += 1;
        Ok(self.known.lock().unwrap().get(client_id.as_str()).cloned())
    }

    async fn marks(&self, _: &RoomId, users: &[UserId]) -> Result<StoredMarks, AuthorityError> {
        Ok(StoredMarks { head: Seq(0), marks: vec![Some((Seq(0), Seq(0))); users.len()] })
    }

    async fn target(&self, _: &RoomId, _: Seq) -> Result<Option<Target>, AuthorityError> {
        Ok(self.target.lock().unwrap().clone())
    }
}

pub struct World {
    pub redis: Redis,
    pub script: Arc<Script>,
    pub log: Arc<Log>,
    pub room: RoomId,
    pub alice: UserId,
}

impl World {
    pub async fn new(max_backlog_records: u64) -> Result<Self> {
        let redis = Redis::start().await?;
        let script = Arc::new(Script::default());
        let client = tidings_shared::log::client(&redis.url())?;
        let log = Log::start(client, script.clone(), LogLimits { max_backlog_records });
        script.log.set(Arc::downgrade(&log)).expect("set once");
        Ok(Self { redis, script, log, room: RoomId::parse("r")?, alice: UserId::parse("alice")? })
    }

    pub fn entry(&self, client_id: &str) -> Entry<'_> {
        Entry {
            sender: Some(&self.alice),
            client_id: ClientId::parse(client_id).ok(),
            id: Some(format!("id-of-{client_id}")),
            minimum: Minimum::Member,
            is_change: false,
            ..Entry::new(&self.room, "message:new", format!(r#"{{"client_id":"{client_id}"}}"#))
        }
    }

    pub async fn append(&self, client_id: &str) -> Result<Accepted, AppendError> {
        self.log.append(&self.entry(client_id)).await
    }

    /// As a writer does it that has committed the room's partition so far.
    pub async fn tell_stored(
        &self,
        session: &Arc<Session>,
        watermark: IngestId,
        exceptions: Vec<(String, String)>,
    ) -> Result<bool, AppendError> {
        let told = StoredUpto { partition: Partition::of(&self.room), watermark, exceptions };
        self.log.tell_stored(session, &[told]).await.pop().expect("an answer for each")
    }

    pub async fn command<T: redis::FromRedisValue>(&self, command: &mut redis::Cmd) -> Result<T> {
        let session = self.log.session().await?;
        Ok(command.query_async(&mut session.connection()).await?)
    }
}

//! A room log on a real Redis or cluster, with a scripted authority in place of PostgreSQL, so that a test chooses each
//! answer.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, OnceLock, Weak,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use anyhow::Result;
use tidings_harness::WallClock;
use tidings_harness::folder::Folder;
use tidings_harness::redis::{RedisTopology, Shards};
use tidings_shared::{
    ids::{ClientId, Epoch, RoomId, Seq, UserId},
    log::{
        Accepted, AppendError, Authority, AuthorityError, Bases, Entry, EpochMarks, KnownClientId, Log,
        LogLimits, MarkedProcess, OpenedEpoch, ProcessId, RedisClient, RoomHead, SeedOutcome, Session,
        StoredMarks, Survival, Target, WatermarkUpdate,
        keys::{self, Partition},
        record::IngestId,
    },
    role::MinRole,
};

/// For each partition its newest epoch and the process of this epoch, as PostgreSQL keeps them.
#[derive(Default)]
struct OpenedEpochs {
    newest: HashMap<Partition, (Epoch, ProcessId)>,
    /// The number of opened epochs, which is the newest one.
    count: u64,
}

/// An authority whose answers the test sets. It keeps epochs in memory, by the rules of PostgreSQL.
pub struct ScriptedAuthority {
    log: OnceLock<Weak<Log>>,
    client: RedisClient,
    epochs: tokio::sync::Mutex<OpenedEpochs>,
    /// The answers to look-ups, by client id.
    pub known: Mutex<HashMap<String, KnownClientId>>,
    pub look_ups: Mutex<usize>,
    /// While a test holds this, look-ups wait after they have read [`Self::known`].
    pub look_up_gate: tokio::sync::Mutex<()>,
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
        let map = self.log().map_watch().get().await.map_err(unavailable)?;
        let mut failure = AuthorityError::OtherProcess;
        for address in map.addresses() {
            match MarkedProcess::connect(&self.client.at(&address)).await {
                Ok(process) if process.id.run_id == run_id => {
                    return self.open_epochs_at(&process, partitions).await;
                }
                Ok(_) => {}
                Err(error) => failure = unavailable(error),
            }
        }
        Err(failure)
    }

    async fn seed(&self, epoch: Epoch, rooms: &[RoomId]) -> Result<Vec<SeedOutcome>, AuthorityError> {
        let log = self.log();
        let mut outcomes = Vec::new();
        for room in rooms {
            if room.as_str() == "nowhere" {
                outcomes.push(SeedOutcome::NoSuchRoom);
                continue;
            }
            let session = log.session_of(room).await.map_err(unavailable)?;
            if session.epoch != epoch {
                return Err(AuthorityError::EpochEnded);
            }
            let mut read = redis::cmd("HMGET");
            read.arg(keys::room(room)).arg("epoch").arg("seq");
            let read = read.query_async::<(Option<u64>, Option<u64>)>(&mut session.connection()).await;
            let (at, seq) = read.map_err(unavailable)?;
            let read = at.zip(seq).map(|(epoch, seq)| (Epoch(epoch), Seq(seq)));
            let base = read.map_or(Seq(0), |(_, seq)| seq);
            let head =
                RoomHead { epoch, seq: base, bases: Bases(vec![(epoch, base)]), ..RoomHead::default() };
            let written = log.write_seed(&session, room, read, &head, Survival::Nothing).await;
            written.map_err(unavailable)?;
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
        let known = self.known.lock().unwrap().get(client_id.as_str()).cloned();
        drop(self.look_up_gate.lock().await);
        Ok(known)
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

impl ScriptedAuthority {
    fn new(client: RedisClient) -> Self {
        Self {
            log: OnceLock::new(),
            client,
            epochs: tokio::sync::Mutex::default(),
            known: Mutex::default(),
            look_ups: Mutex::default(),
            look_up_gate: tokio::sync::Mutex::default(),
            target: Mutex::default(),
            other_process: AtomicBool::new(false),
            without_members: AtomicBool::new(false),
            unavailable: AtomicBool::new(false),
        }
    }

    fn log(&self) -> Arc<Log> {
        self.log.get().and_then(Weak::upgrade).expect("set before use")
    }

    /// The number of epochs that were opened.
    pub async fn epoch_count(&self) -> u64 {
        self.epochs.lock().await.count
    }

    /// Returns the epochs of the partitions that the process serves. One new epoch is opened for all partitions whose
    /// epoch belongs to another process, or whose mark in a cluster does not name this epoch.
    async fn open_epochs_at(
        &self,
        process: &MarkedProcess,
        partitions: &[Partition],
    ) -> Result<Vec<(Partition, OpenedEpoch)>, AuthorityError> {
        let mut epochs = self.epochs.lock().await;
        let marks = EpochMarks::read(process, partitions).await.map_err(unavailable)?;
        let is_served = |partition: &Partition| marks.contains(*partition);
        let served: Vec<Partition> = partitions.iter().copied().filter(is_served).collect();
        let continues = |partition: &Partition| {
            epochs.newest.get(partition).is_some_and(|(epoch, id)| {
                process.id.continues(&id.run_id, Some(&id.replid)) && marks.may_continue(*partition, *epoch)
            })
        };
        let ended: Vec<Partition> =
            served.iter().copied().filter(|partition| !continues(partition)).collect();
        if !ended.is_empty() {
            epochs.count += 1;
            let epoch = Epoch(epochs.count);
            marks.write(process, &ended, epoch).await.map_err(unavailable)?;
            epochs.newest.extend(ended.into_iter().map(|partition| (partition, (epoch, process.id.clone()))));
        }
        let opened =
            |partition: Partition| OpenedEpoch { epoch: epochs.newest[&partition].0, age: Duration::ZERO };
        Ok(served.into_iter().map(|partition| (partition, opened(partition))).collect())
    }
}

fn unavailable(cause: impl std::fmt::Display) -> AuthorityError {
    AuthorityError::Unavailable(cause.to_string())
}

pub struct LogFixture {
    pub redis: Arc<Shards>,
    pub authority: Arc<ScriptedAuthority>,
    pub log: Arc<Log>,
    pub room: RoomId,
    pub alice: UserId,
    _folder: Folder,
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
        Self::start(limits, RedisTopology::from_environment()?).await
    }

    /// A log on one Redis, also if the environment asks for a cluster.
    pub async fn single() -> Result<Self> {
        let max_backlog_bytes = LogLimits::DEFAULT_BACKLOG_BYTES;
        let limits = LogLimits { max_backlog_records: 1000, max_backlog_bytes };
        Self::start(limits, RedisTopology::Single).await
    }

    /// A log without limits on a cluster of three masters.
    pub async fn cluster() -> Result<Self> {
        let topology = RedisTopology::Cluster { masters: 3, replicas_per_master: 0 };
        Self::start(LogLimits::default(), topology).await
    }

    /// A log without limits on one Redis whose clock can be shifted.
    pub async fn with_clock() -> Result<Self> {
        let folder = Folder::new()?;
        WallClock::of(folder.path(), "redis").prepare()?;
        Self::start_in(folder, LogLimits::default(), RedisTopology::Single).await
    }

    async fn start(limits: LogLimits, topology: RedisTopology) -> Result<Self> {
        Self::start_in(Folder::new()?, limits, topology).await
    }

    async fn start_in(folder: Folder, limits: LogLimits, topology: RedisTopology) -> Result<Self> {
        let redis = Arc::new(Shards::start_in(folder.path(), topology).await?);
        let client = tidings_shared::log::client(&redis.url())?;
        let authority = Arc::new(ScriptedAuthority::new(client.clone()));
        let log = Log::start(client, authority.clone(), limits);
        authority.log.set(Arc::downgrade(&log)).expect("set once");
        let (room, alice) = (RoomId::parse("r")?, UserId::parse("alice")?);
        Ok(Self { redis, authority, log, room, alice, _folder: folder })
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
        let stored =
            WatermarkUpdate { partition: Partition::of(&self.room), watermark, proof: None, exceptions };
        self.log.publish_stored(session, &[stored]).await.pop().expect("one answer for each partition")
    }

    pub async fn command<T: redis::FromRedisValue>(&self, command: &mut redis::Cmd) -> Result<T> {
        let session = self.log.session_of(&self.room).await?;
        Ok(command.query_async(&mut session.connection()).await?)
    }
}

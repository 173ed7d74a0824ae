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

use anyhow::{Context, Result};
use tidings_harness::folder::Folder;
use tidings_harness::redis::{RedisCluster, RedisTopology, Shards};
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
    redis: OnceLock<Weak<Shards>>,
    /// The processes for which epochs were opened. Epoch 1 is the first.
    pub run_ids: Mutex<Vec<String>>,
    /// The epoch of each partition for which one was opened.
    epochs: Mutex<HashMap<Partition, Epoch>>,
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
        let redis = self.redis.get().and_then(Weak::upgrade).expect("set before use");
        let unavailable = |error: anyhow::Error| AuthorityError::Unavailable(error.to_string());
        let mut marked = match redis.cluster() {
            Some(cluster) => Some(MarkedNode::find(cluster, run_id, partitions).await.map_err(unavailable)?),
            None => None,
        };
        let opened = self.epochs_at(run_id, partitions, marked.as_ref());
        if let Some(node) = &mut marked {
            node.write_marks(&opened).await.map_err(unavailable)?;
        }
        Ok(opened)
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

impl ScriptedAuthority {
    /// Returns the epochs of the partitions that the process serves. A partition gets a new epoch if its epoch belongs
    /// to another process, or if its mark does not name this epoch.
    fn epochs_at(
        &self,
        run_id: &str,
        partitions: &[Partition],
        node: Option<&MarkedNode>,
    ) -> Vec<(Partition, OpenedEpoch)> {
        let (mut run_ids, mut epochs) = (self.run_ids.lock().unwrap(), self.epochs.lock().unwrap());
        let is_served = |partition: &Partition| node.is_none_or(|node| node.marks.contains_key(partition));
        let served: Vec<Partition> = partitions.iter().copied().filter(is_served).collect();
        let continues = |partition: &Partition| {
            epochs.get(partition).is_some_and(|epoch| {
                run_ids.get(epoch.0 as usize - 1).is_some_and(|id| id == run_id)
                    && node.is_none_or(|node| node.marks[partition] == Some(epoch.0))
            })
        };
        let ended: Vec<Partition> =
            served.iter().copied().filter(|partition| !continues(partition)).collect();
        if !ended.is_empty() {
            run_ids.push(run_id.to_owned());
            epochs.extend(ended.into_iter().map(|partition| (partition, Epoch(run_ids.len() as u64))));
        }
        let opened = |partition| OpenedEpoch { epoch: epochs[&partition], age: Duration::ZERO };
        served.into_iter().map(|partition| (partition, opened(partition))).collect()
    }
}

/// A node of a cluster, and the epochs in the marks of the partitions that it serves. Persistence reads and writes these
/// marks in a cluster.
struct MarkedNode {
    connection: redis::aio::MultiplexedConnection,
    marks: HashMap<Partition, Option<u64>>,
}

impl MarkedNode {
    async fn find(cluster: &RedisCluster, run_id: &str, partitions: &[Partition]) -> Result<Self> {
        for node in cluster.nodes() {
            let server: Result<redis::InfoDict> = node.command(redis::cmd("INFO").arg("server")).await;
            // Another node may be down.
            let Ok(server) = server else { continue };
            if server.get::<String>("run_id").as_deref() != Some(run_id) {
                continue;
            }
            let client = redis::Client::open(node.url())?;
            let (mut connection, mut marks) =
                (client.get_multiplexed_async_connection().await?, HashMap::new());
            for partition in partitions {
                let mark = redis::cmd("GET").arg(partition.epoch_mark()).query_async(&mut connection).await;
                // A node refuses keys of partitions that it does not serve.
                if let Ok(mark) = mark {
                    marks.insert(*partition, mark);
                }
            }
            return Ok(Self { connection, marks });
        }
        anyhow::bail!("no node has the run_id {run_id}")
    }

    async fn write_marks(&mut self, opened: &[(Partition, OpenedEpoch)]) -> Result<()> {
        for (partition, opened) in opened {
            let mut write = redis::cmd("SET");
            write.arg(partition.epoch_mark()).arg(opened.epoch.0);
            write.exec_async(&mut self.connection).await?;
        }
        Ok(())
    }
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

    async fn start(limits: LogLimits, topology: RedisTopology) -> Result<Self> {
        let folder = Folder::new()?;
        let redis = Arc::new(Shards::start_in(folder.path(), topology).await?);
        let authority = Arc::new(ScriptedAuthority::default());
        authority.redis.set(Arc::downgrade(&redis)).ok().context("set once")?;
        let client = tidings_shared::log::client(&redis.url())?;
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
        let stored = WatermarkUpdate { partition: Partition::of(&self.room), watermark, exceptions };
        self.log.publish_stored(session, &[stored]).await.pop().expect("one answer for each partition")
    }

    pub async fn command<T: redis::FromRedisValue>(&self, command: &mut redis::Cmd) -> Result<T> {
        let session = self.log.session_of(&self.room).await?;
        Ok(command.query_async(&mut session.connection()).await?)
    }
}

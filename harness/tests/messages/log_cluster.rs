//! The room log on a Redis Cluster, with an authority that keeps epochs in memory as PostgreSQL does: slots move,
//! return without their data, and sessions become stale.

use std::{
    collections::HashMap,
    sync::{
        Arc, OnceLock, Weak,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::{Result, bail, ensure};
use tidings_harness::redis::RedisCluster;
use tidings_shared::{
    ids::{ClientId, Epoch, RoomId, Seq, UserId},
    log::{
        Accepted, AppendError, Authority, AuthorityError, Bases, Entry, EpochMarks, KnownClientId, Log,
        LogLimits, MarkedProcess, OpenedEpoch, ProcessId, RedisClient, RoomHead, SeedOutcome, StoredMarks,
        Survival, Target,
        keys::{self, Partition},
    },
};
use tokio::{sync::Mutex, time::sleep};

/// Longer than the heartbeat of a session, with time for a busy machine.
const HEARTBEAT_TIMEOUT: Duration = Duration::from_secs(20);

/// For each partition its newest epoch and the process of this epoch. Also counts all opened epochs.
#[derive(Default)]
struct OpenedEpochs {
    newest: HashMap<Partition, (Epoch, ProcessId)>,
    count: u64,
}

struct ClusterAuthority {
    log: OnceLock<Weak<Log>>,
    client: RedisClient,
    epochs: Mutex<OpenedEpochs>,
}

fn unavailable(cause: impl std::fmt::Display) -> AuthorityError {
    AuthorityError::Unavailable(cause.to_string())
}

impl ClusterAuthority {
    fn log(&self) -> Arc<Log> {
        self.log.get().and_then(Weak::upgrade).expect("set before use")
    }
}

#[async_trait::async_trait]
impl Authority for ClusterAuthority {
    async fn open_epochs(
        &self,
        run_id: &str,
        partitions: &[Partition],
    ) -> Result<Vec<(Partition, OpenedEpoch)>, AuthorityError> {
        let map = self.log().map_watch().read().await.map_err(unavailable)?;
        for address in map.addresses() {
            let process = MarkedProcess::connect(&self.client.at(&address)).await.map_err(unavailable)?;
            if process.id.run_id != run_id {
                continue;
            }
            let mut epochs = self.epochs.lock().await;
            let marks = EpochMarks::read(&process, partitions).await.map_err(unavailable)?;
            let (mut opened, mut without) = (Vec::new(), Vec::new());
            for partition in partitions.iter().copied().filter(|partition| marks.contains(*partition)) {
                match epochs.newest.get(&partition) {
                    Some((epoch, id))
                        if process.id.continues(&id.run_id, Some(&id.replid))
                            && marks.may_continue(partition, *epoch) =>
                    {
                        opened.push((partition, OpenedEpoch { epoch: *epoch, age: Duration::ZERO }));
                    }
                    _ => without.push(partition),
                }
            }
            if !without.is_empty() {
                epochs.count += 1;
                let epoch = Epoch(epochs.count);
                marks.write(&process, &without, epoch).await.map_err(unavailable)?;
                for partition in without {
                    epochs.newest.insert(partition, (epoch, process.id.clone()));
                    opened.push((partition, OpenedEpoch { epoch, age: Duration::ZERO }));
                }
            }
            return Ok(opened);
        }
        Err(AuthorityError::OtherProcess)
    }

    async fn seed(&self, epoch: Epoch, rooms: &[RoomId]) -> Result<Vec<SeedOutcome>, AuthorityError> {
        let log = self.log();
        for room in rooms {
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
            let written = log.write_seed(&session, room, read, &head, Survival::Marks).await;
            written.map_err(unavailable)?;
        }
        Ok(vec![SeedOutcome::Seeded; rooms.len()])
    }

    async fn look_up(
        &self,
        _: &RoomId,
        _: &UserId,
        _: &ClientId,
    ) -> Result<Option<KnownClientId>, AuthorityError> {
        Ok(None)
    }

    async fn marks(&self, _: &RoomId, users: &[UserId]) -> Result<StoredMarks, AuthorityError> {
        Ok(StoredMarks { head: Seq(0), marks: vec![Some((Seq(0), Seq(0))); users.len()] })
    }

    async fn roles(&self, _: &RoomId, users: &[UserId]) -> Result<Vec<Option<String>>, AuthorityError> {
        Ok(vec![Some("member".to_owned()); users.len()])
    }

    async fn target(&self, _: &RoomId, _: Seq) -> Result<Option<Target>, AuthorityError> {
        Ok(None)
    }
}

struct ClusterLog {
    cluster: RedisCluster,
    log: Arc<Log>,
    room: RoomId,
    alice: UserId,
}

impl ClusterLog {
    /// A log on three masters. Its room has one message.
    async fn new() -> Result<Self> {
        let cluster = RedisCluster::start(3, 0).await?;
        let client = tidings_shared::log::client(&cluster.node(0).url())?;
        let authority = Arc::new(ClusterAuthority {
            log: OnceLock::new(),
            client: client.clone(),
            epochs: Mutex::default(),
        });
        let log = Log::start(client, authority.clone(), LogLimits::default());
        authority.log.set(Arc::downgrade(&log)).expect("set once");
        let (room, alice) = (RoomId::parse("r")?, UserId::parse("alice")?);
        let fixture = Self { cluster, log, room, alice };
        ensure!(fixture.append("first").await?.seq == Seq(1));
        Ok(fixture)
    }

    fn partition(&self) -> Partition {
        Partition::of(&self.room)
    }

    async fn append(&self, client_id: &str) -> Result<Accepted, AppendError> {
        let entry = Entry {
            sender: Some(&self.alice),
            client_id: ClientId::parse(client_id).ok(),
            id: Some(format!("id-of-{client_id}")),
            is_change: false,
            first_attempt: true,
            ..Entry::new(&self.room, "message:new", format!(r#"{{"client_id":"{client_id}"}}"#))
        };
        self.log.append(&entry).await
    }

    /// The master of the room's partition, and another one.
    async fn masters(&self) -> Result<(usize, usize)> {
        let from = self.cluster.master_of(self.partition().0).await?;
        Ok((from, (from + 1) % 3))
    }

    async fn command<T: redis::FromRedisValue>(&self, node: usize, command: &redis::Cmd) -> Result<T> {
        self.cluster.node(node).command(command).await
    }

    /// A partition at the same master as the room's.
    async fn neighbour(&self) -> Result<Partition> {
        let (master, _) = self.masters().await?;
        for partition in Partition::all().filter(|partition| *partition != self.partition()) {
            if self.cluster.master_of(partition.0).await? == master {
                return Ok(partition);
            }
        }
        bail!("the master has one partition only")
    }
}

#[tokio::test]
async fn call_in_moving_slot_writes_nothing() -> Result<()> {
    let fixture = ClusterLog::new().await?;
    let (from, to) = fixture.masters().await?;
    fixture.cluster.begin_move(fixture.partition().0, to).await?;
    let refused = fixture.append("second").await;
    ensure!(matches!(refused, Err(AppendError::Moving | AppendError::Unavailable(_))), "{refused:?}");
    let seq: u64 =
        fixture.command(from, redis::cmd("HGET").arg(keys::room(&fixture.room)).arg("seq")).await?;
    let records: usize = fixture.command(from, redis::cmd("XLEN").arg(fixture.partition().ingest())).await?;
    ensure!((seq, records) == (1, 1), "seq {seq}, {records} records");
    fixture.cluster.finish_move(fixture.partition().0, to).await?;
    let appended = fixture.append("second").await?;
    ensure!(appended.seq == Seq(2) && !appended.duplicate, "{appended:?}");
    Ok(())
}

#[tokio::test]
async fn moved_slot_gets_new_epoch_and_loses_nothing() -> Result<()> {
    /// Number of messages that are sent before and after the move, and during it at least.
    const MESSAGES: u64 = 20;
    let fixture = ClusterLog::new().await?;
    let (_, to) = fixture.masters().await?;
    let neighbour = fixture.neighbour().await?;
    let before = fixture.log.session(fixture.partition()).await?.epoch;
    let of_neighbour = fixture.log.session(neighbour).await?.epoch;
    let (sent, moved) = (AtomicU64::new(1), AtomicBool::new(false));
    let sending = async {
        let mut left = MESSAGES;
        loop {
            let next = sent.load(Ordering::Relaxed) + 1;
            let appended = fixture.append(&format!("m{next}")).await?;
            ensure!(appended.seq == Seq(next), "message {next}: {appended:?}");
            sent.store(next, Ordering::Relaxed);
            left -= u64::from(moved.load(Ordering::Relaxed));
            if left == 0 {
                return anyhow::Ok(appended.epoch);
            }
        }
    };
    let moving = async {
        while sent.load(Ordering::Relaxed) < MESSAGES {
            sleep(Duration::from_millis(5)).await;
        }
        fixture.cluster.move_slot(fixture.partition().0, to).await?;
        moved.store(true, Ordering::Relaxed);
        anyhow::Ok(())
    };
    let (after, ()) = tokio::try_join!(sending, moving)?;
    ensure!(after > before, "epoch {before} and then {after}");
    let session = fixture.log.session(fixture.partition()).await?;
    ensure!(session.address().port == fixture.cluster.node(to).port(), "{}", session.address());
    let records: u64 = fixture.command(to, redis::cmd("XLEN").arg(fixture.partition().ingest())).await?;
    ensure!(records == sent.into_inner(), "{records} records");
    ensure!(fixture.log.session(neighbour).await?.epoch == of_neighbour, "the neighbour has a new epoch");
    Ok(())
}

#[tokio::test]
async fn slot_that_returns_empty_gets_new_epoch() -> Result<()> {
    let fixture = ClusterLog::new().await?;
    let (from, to) = fixture.masters().await?;
    let before = fixture.log.session(fixture.partition()).await?;
    fixture.cluster.move_slot(fixture.partition().0, to).await?;
    let keys: Vec<String> =
        fixture.command(to, redis::cmd("KEYS").arg(format!("{{{:02}}}:*", fixture.partition().0))).await?;
    ensure!(keys.contains(&fixture.partition().epoch_mark()), "{keys:?}");
    let _: usize = fixture.command(to, redis::cmd("DEL").arg(&keys)).await?;
    fixture.cluster.move_slot(fixture.partition().0, from).await?;
    let appended = fixture.append("second").await?;
    ensure!(appended.epoch > before.epoch, "{appended:?}");
    let after = fixture.log.session(fixture.partition()).await?;
    ensure!(after.run_id() == before.run_id(), "the process is the same");
    Ok(())
}

#[tokio::test]
async fn stale_session_is_refused_by_the_mark() -> Result<()> {
    let fixture = ClusterLog::new().await?;
    let (master, _) = fixture.masters().await?;
    let session = fixture.log.session(fixture.partition()).await?;
    // Another epoch, as after two moves that this log has not noticed.
    let mark = fixture.partition().epoch_mark();
    fixture.command::<()>(master, redis::cmd("SET").arg(mark).arg(session.epoch.0 + 100)).await?;
    let head = RoomHead { epoch: session.epoch, seq: Seq(7), ..RoomHead::default() };
    let known = Some((session.epoch, Seq(1)));
    let refused = fixture.log.write_seed(&session, &fixture.room, known, &head, Survival::Nothing).await;
    ensure!(refused == Err(AppendError::Moving), "{refused:?}");
    let appended = fixture.append("second").await?;
    ensure!(appended.seq == Seq(2) && appended.epoch > session.epoch, "{appended:?}");
    Ok(())
}

#[tokio::test]
async fn moved_slot_ends_idle_sessions_within_heartbeat() -> Result<()> {
    let fixture = ClusterLog::new().await?;
    let (_, to) = fixture.masters().await?;
    let before = fixture.log.session(fixture.partition()).await?;
    fixture.cluster.move_slot(fixture.partition().0, to).await?;
    let begun = Instant::now();
    while fixture
        .log
        .current_session(fixture.partition())
        .is_some_and(|session| session.run_id() == before.run_id())
    {
        ensure!(begun.elapsed() < HEARTBEAT_TIMEOUT, "the session is still in use");
        sleep(Duration::from_millis(50)).await;
    }
    Ok(())
}

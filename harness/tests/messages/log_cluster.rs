//! The room log on a Redis Cluster, with an authority that keeps epochs in memory as PostgreSQL does: slots move,
//! return without their data, and sessions become stale.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::{Result, bail, ensure};
use tidings_harness::redis::RedisCluster;
use tidings_shared::{
    ids::{RoomId, Seq},
    log::{
        Accepted, AppendError, Entry, Log, RoomHead, Survival,
        keys::{self, Partition},
    },
};
use tokio::time::sleep;

use crate::log_world::LogFixture;

/// Longer than the heartbeat of a session, with time for a busy machine.
const HEARTBEAT_TIMEOUT: Duration = Duration::from_secs(20);

struct ClusterLog {
    fixture: LogFixture,
    log: Arc<Log>,
    room: RoomId,
}

impl ClusterLog {
    /// A log on three masters. Its room has one message.
    async fn new() -> Result<Self> {
        let fixture = LogFixture::cluster().await?;
        let (log, room) = (fixture.log.clone(), fixture.room.clone());
        let fixture = Self { fixture, log, room };
        ensure!(fixture.append("first").await?.seq == Seq(1));
        Ok(fixture)
    }

    fn cluster(&self) -> &RedisCluster {
        self.fixture.redis.cluster().expect("the fixture has a cluster")
    }

    fn partition(&self) -> Partition {
        self.fixture.partition()
    }

    async fn append(&self, client_id: &str) -> Result<Accepted, AppendError> {
        let entry = Entry { first_attempt: true, ..self.fixture.entry(client_id) };
        self.log.append(&entry).await
    }

    /// The master of the room's partition, and another one.
    async fn masters(&self) -> Result<(usize, usize)> {
        let from = self.cluster().master_of(self.partition().0).await?;
        Ok((from, (from + 1) % 3))
    }

    async fn command<T: redis::FromRedisValue>(&self, node: usize, command: &redis::Cmd) -> Result<T> {
        self.cluster().node(node).command(command).await
    }

    /// A partition at the same master as the room's.
    async fn neighbour(&self) -> Result<Partition> {
        let (master, _) = self.masters().await?;
        for partition in Partition::all().filter(|partition| *partition != self.partition()) {
            if self.cluster().master_of(partition.0).await? == master {
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
    fixture.cluster().begin_move(fixture.partition().0, to).await?;
    let refused = fixture.append("second").await;
    ensure!(matches!(refused, Err(AppendError::Moving | AppendError::Unavailable(_))), "{refused:?}");
    let seq: u64 =
        fixture.command(from, redis::cmd("HGET").arg(keys::room(&fixture.room)).arg("seq")).await?;
    let records: usize = fixture.command(from, redis::cmd("XLEN").arg(fixture.partition().ingest())).await?;
    ensure!((seq, records) == (1, 1), "seq {seq}, {records} records");
    fixture.cluster().finish_move(fixture.partition().0, to).await?;
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
        fixture.cluster().move_slot(fixture.partition().0, to).await?;
        moved.store(true, Ordering::Relaxed);
        anyhow::Ok(())
    };
    let (after, ()) = tokio::try_join!(sending, moving)?;
    ensure!(after > before, "epoch {before} and then {after}");
    let session = fixture.log.session(fixture.partition()).await?;
    ensure!(session.address().port == fixture.cluster().node(to).port(), "{}", session.address());
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
    fixture.cluster().move_slot(fixture.partition().0, to).await?;
    let keys: Vec<String> =
        fixture.command(to, redis::cmd("KEYS").arg(format!("{{{:02}}}:*", fixture.partition().0))).await?;
    ensure!(keys.contains(&fixture.partition().epoch_mark()), "{keys:?}");
    let _: usize = fixture.command(to, redis::cmd("DEL").arg(&keys)).await?;
    fixture.cluster().move_slot(fixture.partition().0, from).await?;
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
    fixture.cluster().move_slot(fixture.partition().0, to).await?;
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

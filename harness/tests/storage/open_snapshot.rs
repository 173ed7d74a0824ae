//! A snapshot is open under load, as during a backup with `pg_dump`: PostgreSQL removes no old version of a row. A
//! batch must not read more pages of the tables that every batch of its replica uses.
//!
//! All messages are of one room, so each batch locks one row of `partitions`. The number of messages in a batch does
//! not matter, so the messages are appended without waiting until they are stored. Measured with PostgreSQL 15, in
//! pages per batch of `partitions` and `batches` with their indexes, while a snapshot is open:
//!
//! | batches since the snapshot | 101 to 200 | 301 to 400 | 501 to 600 | 701 to 800 |
//! | --- | --- | --- | --- | --- |
//! | each inserts its number | 9.7 | 10.1 | 10.1 | 10.1 |
//! | each locks and updates the row | 11.6 | 17.8 | 23.9 | 30.0 |
//!
//! A page holds about 66 versions of the row. The lock and the update each visit all pages with earlier versions, so a
//! batch reads 3 pages more after each further hundred batches: after 800 batches it reads 2.6 times as many pages as
//! after 200. If only the update visited them, it would be 1.8 times as many. The first hundred batches are not
//! compared, because the index of `batches` then gets its second level.

use std::time::Duration;

use anyhow::{Result, ensure};
use tidings_harness::Stack;
use tokio::process::{Child, Command};

use crate::room_log::{RoomLog, metric};

/// Batches before the first compared ones.
const SKIPPED_BATCHES: f64 = 100.0;
/// The number of batches, at least, in each of the two compared groups: the first ones and the last ones.
const MIN_COMPARED_BATCHES: f64 = 100.0;
/// Batches between the two compared groups.
const BATCHES_BETWEEN: f64 = 500.0;
/// The allowed ratio of the pages per batch of the last group to those of the first.
const MAX_COST_RATIO: f64 = 1.3;
/// Pause between two messages. A batch takes longer, so nearly each batch has the messages of one pause or of a few.
const MESSAGE_INTERVAL: Duration = Duration::from_millis(5);
/// Number of messages between two reads of the number of batches.
const MESSAGES_PER_CHECK: usize = 10;

/// Starts a transaction whose snapshot stays open until the returned process is dropped.
async fn open_snapshot(stack: &Stack) -> Result<Child> {
    let child = Command::new("psql")
        .args(["--no-psqlrc", "--quiet", "--output=/dev/null"])
        .args(["--command", "BEGIN ISOLATION LEVEL REPEATABLE READ", "--command", "SELECT FROM rooms"])
        .args(["--command", "SELECT pg_sleep(900)", stack.database().url()])
        .kill_on_drop(true)
        .spawn()?;
    stack.database().until_asleep().await?;
    Ok(child)
}

async fn committed_batches(stack: &Stack) -> Result<f64> {
    metric(stack, 0, "tidings_persistence_write_seconds_count").await
}

/// The batches that were committed so far, and the pages that were read from the tables that each batch uses, with
/// their indexes.
#[derive(Clone, Copy)]
struct BatchTotals {
    batches: f64,
    pages: f64,
}

impl BatchTotals {
    fn pages_per_batch_since(&self, before: &Self) -> f64 {
        (self.pages - before.pages) / (self.batches - before.batches)
    }
}

/// Stores messages in at least `count` batches; returns the totals after that.
async fn store_and_measure(stack: &Stack, room: &RoomLog, count: f64) -> Result<BatchTotals> {
    let before = committed_batches(stack).await?;
    while committed_batches(stack).await? - before < count {
        for _ in 0..MESSAGES_PER_CHECK {
            let id = uuid::Uuid::now_v7().to_string();
            if room.append(&id).await.is_err() {
                room.send(&id).await?;
            }
            tokio::time::sleep(MESSAGE_INTERVAL).await;
        }
    }
    // When this message is stored, all earlier ones are stored too.
    room.send(&uuid::Uuid::now_v7().to_string()).await?;
    // A session reports its counters when it ends. The next batch uses a new session.
    let end = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity \
               WHERE application_name LIKE 'tidings-persistence%' AND datname = current_database()";
    stack.database().until(end, "0").await?;
    let pages = "SELECT sum(heap_blks_hit + heap_blks_read + COALESCE(idx_blks_hit + idx_blks_read, 0)) \
                 FROM pg_statio_user_tables WHERE relname IN ('partitions', 'batches')";
    Ok(BatchTotals {
        batches: committed_batches(stack).await?,
        pages: stack.database().value(pages).await?.parse()?,
    })
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "long: stores messages in eight hundred batches"]
async fn batches_cost_the_same_while_a_snapshot_is_open() -> Result<()> {
    // A long lease, because renewals also read these tables.
    let stack = Stack::builder().gateways(0).own_postgres().persistence_env("TIDINGS_LEASE_MS", 60_000);
    let stack = stack.start().await?;
    let room = RoomLog::new(&stack, 10_000).await?;
    let snapshot = open_snapshot(&stack).await?;
    let mut measured = Vec::new();
    for count in [SKIPPED_BATCHES, MIN_COMPARED_BATCHES, BATCHES_BETWEEN, MIN_COMPARED_BATCHES] {
        measured.push(store_and_measure(&stack, &room, count).await?);
    }
    let open =
        "SELECT count(*) FROM pg_stat_activity WHERE backend_xmin IS NOT NULL AND wait_event = 'PgSleep'";
    ensure!(stack.database().value(open).await? == "1", "the snapshot is not open");
    let first = measured[1].pages_per_batch_since(&measured[0]);
    let last = measured[3].pages_per_batch_since(&measured[2]);
    ensure!(first > 0.0 && last < first * MAX_COST_RATIO, "{first} pages per batch at first, then {last}");
    drop(snapshot);
    Ok(())
}

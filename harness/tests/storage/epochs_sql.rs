//! The epochs of partitions in PostgreSQL: which partitions a new epoch covers, which Redis process continues an epoch,
//! and which old epochs are merged.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use secrecy::SecretString;
use serde_json::{Value, json};
use tidings_harness::{Stack, http, redis::Redis};
use tidings_shared::{
    ids::{Epoch, RoomId, Seq},
    internal::{InternalClient, SECRET_HEADER},
    log::{Authority, keys::Partition},
};

use crate::room_log::{RoomLog, WAIT_TIMEOUT};

const MAX_BACKLOG_RECORDS: u64 = 100;

/// Opens epochs as a gateway does. Returns the epoch of each partition, in their order.
async fn open_epochs(stack: &Stack, run_id: &str, partitions: &[Partition]) -> Result<Vec<u64>> {
    let secret = SecretString::from(stack.internal_secret().to_owned());
    let client = InternalClient::new(&[stack.persistence(0).internal()], secret)?;
    let opened = client.open_epochs(run_id, partitions).await?;
    ensure!(opened.iter().map(|(partition, _)| partition).eq(partitions), "{opened:?}");
    Ok(opened.into_iter().map(|(_, opened)| opened.epoch.0).collect())
}

/// Opens the epochs of all partitions, which must be one epoch.
async fn open_epoch_of_all(stack: &Stack, run_id: &str) -> Result<u64> {
    let all: Vec<Partition> = Partition::all().collect();
    let opened = open_epochs(stack, run_id, &all).await?;
    let first = *opened.first().context("no epoch")?;
    ensure!(opened.iter().all(|epoch| *epoch == first), "{opened:?}");
    Ok(first)
}

/// Asks for an epoch as a gateway of the previous version does.
async fn ask_as_previous_version(stack: &Stack, run_id: &str) -> Result<(u16, Value)> {
    let request = http::client()
        .post(format!("{}/internal/v1/epoch", stack.persistence(0).internal()))
        .header(SECRET_HEADER, stack.internal_secret())
        .body(json!({"run_id": run_id}).to_string());
    let answer = request.send().await?;
    Ok((answer.status().as_u16(), answer.json().await?))
}

async fn replication_field(redis: &Redis, name: &str) -> Result<String> {
    let info: String = redis.command(redis::cmd("INFO").arg("replication")).await?;
    let value = info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    Ok(value.context("INFO has no such field")?.to_owned())
}

/// Makes the process a replica and promotes it again. Its data stay as they are, because its primary does not exist.
async fn demote_and_promote(redis: &Redis) -> Result<()> {
    redis.command::<()>(redis::cmd("REPLICAOF").arg("127.0.0.1").arg(1)).await?;
    redis.promote().await
}

#[tokio::test]
async fn opened_epoch_covers_named_partitions_only() -> Result<()> {
    let stack = Stack::builder().gateways(0).start().await?;
    let room = RoomLog::new(&stack, MAX_BACKLOG_RECORDS).await?;
    let mut other = RoomLog::new(&stack, MAX_BACKLOG_RECORDS).await?;
    while other.partition() == room.partition() {
        other = RoomLog::new(&stack, MAX_BACKLOG_RECORDS).await?;
    }
    let run_id = room.log.session_of(&room.room).await?.run_id().to_owned();
    // Simulates that another process had the partition of one room meanwhile.
    let (moved, database) = (room.partition(), stack.database());
    let epoch_of_other = format!(
        "INSERT INTO epochs_opened (run_id, partitions) VALUES ('another', ARRAY[{}]::smallint[])",
        moved.0
    );
    database.query(&epoch_of_other).await?;
    for _ in 0..2 {
        let opened = open_epochs(&stack, &run_id, &[moved, other.partition()]).await?;
        ensure!(opened == [3, 1], "{opened:?}");
    }
    let row = "SELECT array_to_string(partitions, ',') FROM epochs_opened WHERE epoch = 3";
    ensure!(database.value(row).await? == moved.0.to_string());
    // A cursor is valid only in the epochs of its room's partition.
    let alice = stack.http("alice");
    alice.events(room.room.as_str(), "epoch=3").await?.expect(200);
    let unknown = alice.events(other.room.as_str(), "epoch=3").await?.expect(409);
    ensure!(unknown.body["after"] == json!(0), "{}", unknown.body);
    let refused = ask_as_previous_version(&stack, &run_id).await?;
    ensure!(refused.0 == 409, "partitions in different epochs must refuse the previous version: {refused:?}");
    Ok(())
}

#[tokio::test]
async fn previous_version_opens_for_all_partitions() -> Result<()> {
    let stack = Stack::builder().gateways(0).start().await?;
    let room = RoomLog::new(&stack, MAX_BACKLOG_RECORDS).await?;
    let run_id = room.log.session_of(&room.room).await?.run_id().to_owned();
    let database = stack.database();
    database.query("INSERT INTO epochs_opened (run_id) VALUES ('another')").await?;
    ensure!(open_epoch_of_all(&stack, &run_id).await? == 3);
    let row = "SELECT partitions IS NULL AND replid = '' FROM epochs_opened WHERE epoch = 3";
    ensure!(database.value(row).await? == "t");
    // The previous version does not know how often the process was promoted.
    database.query(&format!("INSERT INTO epochs_opened (run_id) VALUES ('{run_id}')")).await?;
    demote_and_promote(stack.redis()).await?;
    ensure!(open_epoch_of_all(&stack, &run_id).await? == 4);
    let (status, answer) = ask_as_previous_version(&stack, &run_id).await?;
    ensure!(status == 200 && answer["epoch"] == 4 && answer["age_ms"].is_u64(), "{status} {answer}");
    Ok(())
}

#[tokio::test]
async fn same_process_promoted_again_gets_new_epoch() -> Result<()> {
    let stack = Stack::builder().gateways(0).start().await?;
    let room = RoomLog::new(&stack, MAX_BACKLOG_RECORDS).await?;
    room.send("m1").await?;
    let session = room.log.session_of(&room.room).await?;
    ensure!(session.epoch == Epoch(1));
    demote_and_promote(stack.redis()).await?;
    for _ in 0..2 {
        ensure!(open_epoch_of_all(&stack, session.run_id()).await? == 2);
    }
    room.log.discard(&session);
    ensure!(room.log.session_of(&room.room).await?.epoch == Epoch(2));
    ensure!(room.send("m2").await? == Seq(2));
    ensure!(room.message_texts(&stack).await? == ["m1", "m2"]);
    Ok(())
}

#[tokio::test]
async fn new_replid_of_same_primary_keeps_the_epoch() -> Result<()> {
    let stack = Stack::builder().gateways(0).start().await?;
    let room = RoomLog::new(&stack, MAX_BACKLOG_RECORDS).await?;
    let run_id = room.log.session_of(&room.room).await?.run_id().to_owned();
    let (redis, replica, begun) = (stack.redis(), Redis::start().await?, Instant::now());
    let mut replid = replication_field(redis, "master_replid").await?;
    let set = |name: &str, value: u32| redis::cmd("CONFIG").arg("SET").arg(name).arg(value).to_owned();
    redis.command::<()>(&set("repl-diskless-sync-delay", 0)).await?;
    replica.command::<()>(redis::cmd("REPLICAOF").arg("127.0.0.1").arg(redis.port())).await?;
    // The id changes when the first replica attaches, and when no replica was attached for a second.
    for replica_leaves in [false, true] {
        if replica_leaves {
            redis.command::<()>(&set("repl-backlog-ttl", 1)).await?;
            replica.promote().await?;
        }
        while replication_field(redis, "master_replid").await? == replid {
            ensure!(begun.elapsed() < WAIT_TIMEOUT, "the id of the replication does not change");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        replid = replication_field(redis, "master_replid").await?;
        ensure!(open_epoch_of_all(&stack, &run_id).await? == 1, "after the replica left: {replica_leaves}");
    }
    Ok(())
}

#[tokio::test]
async fn merge_stays_below_oldest_present_epoch() -> Result<()> {
    let stack = Stack::builder().gateways(0).start().await?;
    let room = stack.http("alice").new_room(&[]).await?;
    let other = (Partition::of(&RoomId::parse(&room)?).0 + 1) % 64;
    stack.persistence(0).kill();
    // Without Redis no epoch is opened. The present epoch of all partitions is 10, but that of one is 40.
    stack.redis().kill();
    let database = stack.database();
    database
        .query(&format!(
            "DELETE FROM room_epochs; DELETE FROM epochs_opened; \
             INSERT INTO epochs_opened (epoch, run_id, opened_at, partitions) SELECT n, 'old', \
               now() - interval '30 days', CASE WHEN n > 10 THEN ARRAY[{other}]::smallint[] END \
               FROM generate_series(1, 40) n; \
             INSERT INTO room_epochs SELECT '{room}', n, 10 * (n - 1) FROM generate_series(1, 40) n"
        ))
        .await?;
    let restarted = async {
        // Fails after 30 s, because persistence is not ready without Redis.
        drop(stack.persistence(0).restart().await);
        std::future::pending::<Result<()>>().await
    };
    // The epochs 2 to 9 are merged, so 33 rows remain.
    tokio::select! {
        merged = database.until("SELECT count(*) FROM room_epochs", "33") => merged?,
        never = restarted => never?,
    }
    let merged = "SELECT epoch, base FROM room_epochs ORDER BY epoch LIMIT 3";
    assert_eq!(database.query(merged).await?, [["1", "0"], ["9", "10"], ["10", "90"]]);
    Ok(())
}

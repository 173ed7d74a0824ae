//! Redis or PostgreSQL fails while the writer works. Every accepted record that Redis did not lose is stored, once and
//! in order.

use std::time::{Duration, Instant};

use crate::room_log::{RoomLog, WAIT_TIMEOUT, hold_messages, metric};
use anyhow::{Result, ensure};
use tidings_harness::Stack;
use tidings_shared::{
    ids::{Epoch, Seq},
    log::AppendError,
};

const MAX_BACKLOG_RECORDS: u64 = 10_000;

fn message_names(range: std::ops::RangeInclusive<u32>) -> Vec<String> {
    range.map(|n| format!("m{n}")).collect()
}

#[tokio::test]
async fn records_kept_by_redis_restart_are_stored_in_sequence() -> Result<()> {
    let stack = Stack::builder().gateways(0).persistence_env("TIDINGS_LEASE_MS", 1000).start().await?;
    let room = RoomLog::new(&stack, MAX_BACKLOG_RECORDS).await?;
    for name in message_names(1..=5) {
        room.send(&name).await?;
    }
    // No replica writes for a while, so the accepted records are only in Redis when the room is seeded again.
    let away = "UPDATE partitions SET owner = 'away', token = token + 1, \
                lease_until = clock_timestamp() + interval '4 seconds'";
    stack.database().query(away).await?;
    let mut last = None;
    for name in message_names(6..=60) {
        last = Some(room.append(&name).await?);
    }
    stack.redis().restart().await?;
    let begun = Instant::now();
    while room.log.read(&room.room, None, Epoch(2), None, &[]).await.is_err() {
        ensure!(begun.elapsed() < WAIT_TIMEOUT, "the room is not seeded");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    ensure!(room.stored_log(&stack).await?.len() == 5, "seeded before anything was written");
    ensure!(room.send("m61").await? == Seq(61));
    ensure!(room.message_texts(&stack).await? == message_names(1..=61));
    let epoch = room.log.session_of(&room.room).await?.epoch;
    ensure!(last.is_some_and(|last| last.epoch < epoch), "a new epoch: {epoch}");
    ensure!(metric(&stack, 0, "tidings_persistence_holes_total").await? == 0.0);
    Ok(())
}

#[tokio::test]
async fn empty_redis_continues_from_stored_head() -> Result<()> {
    let stack = Stack::builder().gateways(0).start().await?;
    let room = RoomLog::new(&stack, MAX_BACKLOG_RECORDS).await?;
    for name in message_names(1..=5) {
        room.send(&name).await?;
    }
    stack.redis().restart_empty().await?;
    for (name, seq) in message_names(6..=10).iter().zip(6..) {
        ensure!(room.send(name).await? == Seq(seq));
    }
    // Only PostgreSQL knows this client id.
    let mut entry = room.message("m3", "again");
    entry.first_attempt = false;
    let known = room.log.append(&entry).await?;
    ensure!((known.seq, known.duplicate, known.ingest) == (Seq(3), true, None));
    ensure!(room.message_texts(&stack).await? == message_names(1..=10));
    let bases = stack
        .database()
        .query(&format!("SELECT epoch, base FROM room_epochs WHERE room_id = '{}' ORDER BY epoch", room.room))
        .await?;
    ensure!(bases == [["1", "0"], ["2", "5"]], "{bases:?}");
    Ok(())
}

#[tokio::test]
async fn older_redis_state_does_not_reuse_assigned_seqs() -> Result<()> {
    let stack = Stack::builder().gateways(0).start().await?;
    let room = RoomLog::new(&stack, MAX_BACKLOG_RECORDS).await?;
    for name in message_names(1..=3) {
        room.send(&name).await?;
    }
    // Simulates a lagging replica: the next Redis process gets this older hash of the room before it is used.
    let key = tidings_shared::log::keys::room(&room.room);
    let lagging: Vec<String> = room.redis(redis::cmd("HGETALL").arg(&key)).await?;
    for name in message_names(4..=8) {
        room.send(&name).await?;
    }
    stack.redis().restart_empty().await?;
    let _: i64 = room.redis(redis::cmd("HSET").arg(&key).arg(&lagging)).await?;
    ensure!(room.send("m9").await? == Seq(9));
    ensure!(room.message_texts(&stack).await? == message_names(1..=9));
    Ok(())
}

#[tokio::test]
async fn records_accepted_during_postgres_outage_are_stored_later() -> Result<()> {
    let stack = Stack::builder().gateways(0).own_postgres().start().await?;
    let room = RoomLog::new(&stack, MAX_BACKLOG_RECORDS).await?;
    room.send("m1").await?;
    stack.database().server().kill();
    for name in message_names(2..=200) {
        room.append(&name).await?;
    }
    stack.database().server().restart().await?;
    room.until_head(&stack, 200).await?;
    ensure!(room.message_texts(&stack).await? == message_names(1..=200));
    // PostgreSQL is also killed several times while it writes.
    for round in 0..3_u32 {
        for name in message_names(201 + round * 100..=300 + round * 100) {
            room.append(&name).await?;
        }
        stack.database().server().kill();
        tokio::time::sleep(Duration::from_millis(200)).await;
        stack.database().server().restart().await?;
    }
    room.until_head(&stack, 500).await?;
    ensure!(room.message_texts(&stack).await? == message_names(1..=500));
    ensure!(metric(&stack, 0, "tidings_persistence_voids_total").await? == 0.0);
    Ok(())
}

// Covers: overloaded.
#[tokio::test]
async fn full_backlog_is_overloaded_until_postgres_returns() -> Result<()> {
    let stack = Stack::builder().gateways(0).own_postgres().start().await?;
    let room = RoomLog::new(&stack, 50).await?;
    room.send("m1").await?;
    stack.database().server().stop().await?;
    let mut accepted = 1;
    let refused = loop {
        match room.append(&format!("m{}", accepted + 1)).await {
            Ok(_) => accepted += 1,
            Err(error) => break error,
        }
        ensure!(accepted <= 60, "the backlog has no bound");
    };
    ensure!(refused == AppendError::Overloaded && (45..=51).contains(&accepted), "{accepted}: {refused:?}");
    let begun = Instant::now();
    // The metric exists after the first measurement.
    while metric(&stack, 0, "tidings_persistence_backlog_records").await.unwrap_or_default() < 40.0 {
        ensure!(begun.elapsed() < WAIT_TIMEOUT, "the backlog is not measured");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    ensure!(metric(&stack, 0, "tidings_persistence_oldest_unwritten_seconds").await? > 0.0);
    stack.database().server().restart().await?;
    room.until_head(&stack, accepted).await?;
    ensure!(room.send(&format!("m{}", accepted + 1)).await? == Seq(accepted as u64 + 1));
    let expected = message_names(1..=u32::try_from(accepted)? + 1);
    ensure!(room.message_texts(&stack).await? == expected);
    Ok(())
}

#[tokio::test]
async fn redis_process_used_again_gets_a_new_epoch() -> Result<()> {
    let stack = Stack::builder().gateways(0).start().await?;
    let room = RoomLog::new(&stack, MAX_BACKLOG_RECORDS).await?;
    room.send("m1").await?;
    // Simulates an epoch that was opened for another Redis process. Then the first process is used again.
    stack.database().query("INSERT INTO epochs_opened (run_id) VALUES ('another')").await?;
    let session = room.log.session_of(&room.room).await?;
    ensure!(session.epoch == Epoch(1));
    room.log.discard(&session);
    ensure!(room.log.session_of(&room.room).await?.epoch == Epoch(3));
    ensure!(room.send("m2").await? == Seq(2));
    ensure!(room.message_texts(&stack).await? == message_names(1..=2));
    let row = format!("SELECT epoch FROM partitions WHERE partition = {}", room.partition().0);
    ensure!(stack.database().value(&row).await? == "3");
    Ok(())
}

#[tokio::test]
async fn stuck_record_blocks_only_its_partition_and_is_retried() -> Result<()> {
    let stack = Stack::builder().gateways(0).start().await?;
    let room = RoomLog::new(&stack, MAX_BACKLOG_RECORDS).await?;
    let mut other = RoomLog::new(&stack, MAX_BACKLOG_RECORDS).await?;
    while other.partition() == room.partition() {
        other = RoomLog::new(&stack, MAX_BACKLOG_RECORDS).await?;
    }
    // PostgreSQL raises the error of a server that has reached one of its own limits.
    stack
        .database()
        .query(
            "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS \
               $$ BEGIN RAISE EXCEPTION 'too complex' USING ERRCODE = '54001'; END $$; \
             CREATE TRIGGER refuse BEFORE INSERT ON messages FOR EACH ROW WHEN (NEW.content = 'stuck') \
               EXECUTE FUNCTION refuse()",
        )
        .await?;
    let hold = hold_messages(&stack, 0.5).await?;
    for name in ["before", "stuck", "after"] {
        room.append(name).await?;
    }
    for name in message_names(1..=20) {
        other.append(&name).await?;
    }
    hold.await?;
    other.until_head(&stack, 20).await?;
    other.send("m21").await?;
    ensure!(
        room.message_texts(&stack).await? == ["before"],
        "only the record before the stuck one is stored"
    );
    stack.database().query("DROP TRIGGER refuse ON messages").await?;
    room.until_head(&stack, 3).await?;
    ensure!(room.message_texts(&stack).await? == ["before", "stuck", "after"]);
    ensure!(stack.database().value("SELECT count(*) FROM dead_letters").await? == "0");
    Ok(())
}

#[tokio::test]
async fn record_read_twice_is_one_dead_letter() -> Result<()> {
    let stack = Stack::builder().gateways(0).persistence_env("TIDINGS_LEASE_MS", 1000).start().await?;
    let room = RoomLog::new(&stack, MAX_BACKLOG_RECORDS).await?;
    room.send("before").await?;
    let mut add = redis::cmd("XADD");
    let _: String = room.redis(add.arg(room.partition().ingest()).arg("*").arg("r").arg("garbage")).await?;
    let letters = "SELECT count(*) FROM dead_letters";
    let begun = Instant::now();
    while stack.database().value(letters).await? != "1" {
        ensure!(begun.elapsed() < WAIT_TIMEOUT, "there is no dead letter");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    // Redis loses the watermark, so the stream is read from its start under a new lease.
    let settlings = metric(&stack, 0, "tidings_persistence_settlings_total").await?;
    let _: i64 = room.redis(redis::cmd("DEL").arg(room.partition().stored())).await?;
    let take = format!(
        "UPDATE partitions SET owner = NULL, token = token + 1 WHERE partition = {}",
        room.partition().0
    );
    stack.database().query(&take).await?;
    while metric(&stack, 0, "tidings_persistence_settlings_total").await? <= settlings {
        ensure!(begun.elapsed() < WAIT_TIMEOUT, "the partition is not settled again");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    room.send("after").await?;
    ensure!(
        metric(&stack, 0, "tidings_persistence_dead_letters_total").await? == 2.0,
        "the record is read twice"
    );
    ensure!(stack.database().value(letters).await? == "1");
    Ok(())
}

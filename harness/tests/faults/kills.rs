//! Plays real conversations while nodes and Redis are killed, paused and restarted. Nothing may be missing, duplicated,
//! reordered or different in history, and the log in the database must have no hole.

use std::time::{Duration, Instant};

use crate::show::{OBSERVERS, RunningPlay, conversations, play_stack};
use anyhow::{Context, Result, ensure};
use tidings_harness::Stack;

/// How often each player repeats its part.
const REPETITIONS: usize = 12;
const LEASE: Duration = Duration::from_millis(1500);
const WAIT_TIMEOUT: Duration = Duration::from_secs(30);

/// Checks that every room's log is dense from 1 to its head in `messages` and `events` together.
async fn ensure_dense(stack: &Stack) -> Result<()> {
    let holes = "SELECT r.id, r.head_seq, count(l.seq), min(l.seq), max(l.seq), count(DISTINCT l.seq) FROM rooms r \
         LEFT JOIN (SELECT room_id, seq FROM messages UNION ALL SELECT room_id, seq FROM events) l \
         ON l.room_id = r.id GROUP BY r.id \
         HAVING NOT (count(l.seq) = r.head_seq AND min(l.seq) = 1 AND max(l.seq) = r.head_seq \
         AND count(DISTINCT l.seq) = r.head_seq)";
    let holes = stack.database().query(holes).await?;
    ensure!(holes.is_empty(), "not dense (room, head, rows, first, last, distinct): {holes:?}");
    let dead = stack.database().value("SELECT count(*) FROM dead_letters").await?;
    ensure!(dead == "0", "{dead} dead letters");
    Ok(())
}

#[tokio::test]
async fn play_without_faults_is_clean() -> Result<()> {
    let stack = play_stack().start().await?;
    let played = RunningPlay::begin(&stack, conversations(1)?).finish_clean().await?;
    // Without faults, a player reconnects only after a `leave` in its transcript. This happens at most four times.
    ensure!(played.reconnects() <= 4, "{} reconnects", played.reconnects());
    ensure_dense(&stack).await
}

#[tokio::test]
async fn row_altered_or_deleted_in_database_is_detected() -> Result<()> {
    let stack = play_stack().start().await?;
    let played = RunningPlay::begin(&stack, conversations(1)?).finish_clean().await?;
    let room = played.room_ids().next().context("there are two rooms")?;
    let row = format!("WHERE room_id = '{room}' AND seq = 7");
    let change = |set: &str| format!("UPDATE messages SET {set} {row}");

    stack.database().query(&change("content = content || ' '")).await?;
    let (altered, verdict) = played.evaluate().await;
    ensure!(altered.history_mismatch > 0 && !verdict.is_clean(), "{altered:?}");
    ensure!(verdict.descriptions.iter().any(|line| line.contains("seq: 7")), "{:?}", verdict.descriptions);
    ensure!(altered.missing + altered.duplicated + altered.reordered == 0, "{altered:?}");

    stack.database().query(&change("content = left(content, -1)")).await?;
    ensure!(played.evaluate().await.1.is_clean(), "the row is restored");

    stack.database().query(&format!("DELETE FROM messages {row}")).await?;
    let (deleted, _) = played.evaluate().await;
    ensure!(deleted.history_mismatch == 2, "missing in messages and in events: {deleted:?}");
    ensure!(ensure_dense(&stack).await.is_err(), "the hole was not detected");
    Ok(())
}

#[tokio::test]
async fn killed_gateways_and_a_killed_persistence_node_lose_nothing() -> Result<()> {
    let stack = play_stack().start().await?;
    let play = RunningPlay::begin(&stack, conversations(REPETITIONS)?);
    // After a gateway is killed all clients are on the other one, so the other one is killed next.
    for (percent, gateway) in [(10, 0), (20, 1), (50, 0)] {
        play.until_percent(percent).await?;
        play.ensure_under_way()?;
        stack.gateway(gateway).kill();
        play.until_more(20).await?;
        stack.gateway(gateway).restart().await?;
        if percent == 20 {
            play.until_percent(35).await?;
            stack.persistence(0).kill();
            stack.persistence(0).restart().await?;
            play.until_more(20).await?;
        }
    }
    play.ensure_under_way()?;
    let played = play.finish_clean().await?;
    // The observers alone reconnect this often: half of them were on the first killed gateway, and all of them on each
    // of the other two.
    let least = 2 * (OBSERVERS / 2 + OBSERVERS + OBSERVERS) as u64;
    ensure!(played.reconnects() >= least, "{} reconnects", played.reconnects());
    ensure_dense(&stack).await
}

/// The index and the owner name of a persistence node that owns the partition of a room.
async fn busy_owner(stack: &Stack) -> Result<(usize, String)> {
    let sql = "SELECT p.owner FROM partitions p JOIN rooms r USING (partition) WHERE p.owner IS NOT NULL";
    let owner = stack.database().value(sql).await?;
    let prefix = |node: &tidings_harness::Node| format!("127.0.0.1:{}/", node.ports().public);
    let number = stack.persistence_nodes().iter().position(|node| owner.starts_with(&prefix(node)));
    Ok((number.with_context(|| format!("no node is called {owner}"))?, owner))
}

#[tokio::test]
async fn resumed_persistence_node_does_no_harm_after_takeover() -> Result<()> {
    let stack =
        play_stack().persistence(2).persistence_env("TIDINGS_LEASE_MS", LEASE.as_millis()).start().await?;
    let play = RunningPlay::begin(&stack, conversations(REPETITIONS)?);
    play.until_percent(20).await?;
    let (paused, owner) = busy_owner(&stack).await?;
    stack.persistence(paused).pause()?;
    let begun = Instant::now();
    let left = format!("SELECT count(*) FROM partitions WHERE owner = '{owner}'");
    while stack.database().value(&left).await? != "0" {
        ensure!(begun.elapsed() < WAIT_TIMEOUT, "no other node took over");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    ensure!(begun.elapsed() > LEASE / 2, "the takeover did not wait for the lease: {:?}", begun.elapsed());
    play.until_more(200).await.context("under the new owner")?;
    stack.persistence(paused).resume()?;
    play.ensure_under_way()?;
    play.until_more(200).await.context("after SIGCONT")?;
    play.finish_clean().await?;
    ensure_dense(&stack).await
}

#[tokio::test]
async fn redis_restart_with_or_without_data_loses_nothing_stored() -> Result<()> {
    let stack = play_stack().start().await?;
    let play = RunningPlay::begin(&stack, conversations(REPETITIONS)?);
    for percent in [20, 40, 60] {
        play.until_percent(percent).await?;
        play.ensure_under_way()?;
        if percent == 60 {
            stack.redis().restart_empty().await?;
        } else {
            // Redis may lose the appends of its last second. History still has each message whose sender got `stored`.
            stack.redis().kill();
            stack.redis().restart().await?;
        }
        play.until_more(20).await?;
    }
    play.ensure_under_way()?;
    play.finish_clean().await?;
    let epochs = stack.database().value("SELECT count(*) FROM epochs_opened").await?;
    ensure!(epochs == "4", "{epochs} epochs were opened");
    ensure_dense(&stack).await
}

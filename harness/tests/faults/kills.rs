//! Real conversations while nodes and Redis are killed, paused and restarted under them: nothing is missing,
//! duplicated, reordered or different in history, and the log in the database has no hole.

use std::time::{Duration, Instant};

use crate::show::{OBSERVERS, Show, conversations, stage};
use anyhow::{Context, Result, ensure};
use tidings_harness::Stack;

/// How often everybody repeats their part.
const TIMES: usize = 12;
const LEASE: Duration = Duration::from_millis(1500);
const PATIENCE: Duration = Duration::from_secs(30);

/// Every room's log is dense from 1 to its head, in the two tables that share it.
async fn dense(stack: &Stack) -> Result<()> {
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
async fn a_quiet_play_is_clean() -> Result<()> {
    let stack = stage().start().await?;
    let played = Show::begin(&stack, conversations(1)?).ends_well().await?;
    // Those who leave come back once in a while; nobody else needs to.
    ensure!(played.reconnects() <= 4, "{} reconnects", played.reconnects());
    dense(&stack).await
}

#[tokio::test]
async fn a_row_altered_or_deleted_behind_everybodys_back_is_found_out() -> Result<()> {
    let stack = stage().start().await?;
    let played = Show::begin(&stack, conversations(1)?).ends_well().await?;
    let room = played.room_ids().next().context("there are two rooms")?;
    let row = format!("WHERE room_id = '{room}' AND seq = 7");
    let change = |set: &str| format!("UPDATE messages SET {set} {row}");

    stack.database().query(&change("content = content || ' '")).await?;
    let (altered, verdict) = played.judged().await;
    ensure!(altered.history_mismatch > 0 && !verdict.is_clean(), "{altered:?}");
    ensure!(verdict.told.iter().any(|what| what.contains("seq: 7")), "{:?}", verdict.told);
    ensure!(altered.missing + altered.duplicated + altered.reordered == 0, "{altered:?}");

    stack.database().query(&change("content = left(content, -1)")).await?;
    ensure!(played.judged().await.1.is_clean(), "the row is as it was");

    stack.database().query(&format!("DELETE FROM messages {row}")).await?;
    let (deleted, _) = played.judged().await;
    ensure!(deleted.history_mismatch == 2, "lacking in messages and in events: {deleted:?}");
    ensure!(dense(&stack).await.is_err(), "a hole was not seen");
    Ok(())
}

#[tokio::test]
async fn killed_gateways_and_a_killed_persistence_node_lose_nothing() -> Result<()> {
    let stack = stage().start().await?;
    let show = Show::begin(&stack, conversations(TIMES)?);
    // After a gateway's death everybody is on the other one, so that one is killed as well.
    for (percent, gateway) in [(10, 0), (20, 1), (50, 0)] {
        show.until_percent(percent).await?;
        show.ensure_in_full_swing()?;
        stack.gateway(gateway).kill();
        show.until_more(20).await?;
        stack.gateway(gateway).restart().await?;
        if percent == 20 {
            show.until_percent(35).await?;
            stack.persistence(0).kill();
            stack.persistence(0).restart().await?;
            show.until_more(20).await?;
        }
    }
    show.ensure_in_full_swing()?;
    let played = show.ends_well().await?;
    // The observers alone: half of each room's are on gateway 0 at first, then all on the next to die.
    let least = 2 * (OBSERVERS / 2 + OBSERVERS + OBSERVERS) as u64;
    ensure!(played.reconnects() >= least, "{} reconnects", played.reconnects());
    dense(&stack).await
}

/// The persistence node that owns the partition of some room, and how many rooms are its.
async fn busy_owner(stack: &Stack) -> Result<(usize, String)> {
    let sql = "SELECT p.owner FROM partitions p JOIN rooms r USING (partition) WHERE p.owner IS NOT NULL";
    let owner = stack.database().value(sql).await?;
    let prefix = |node: &tidings_harness::Node| format!("127.0.0.1:{}/", node.ports().public);
    let number = stack.persistence_nodes().iter().position(|node| owner.starts_with(&prefix(node)));
    Ok((number.with_context(|| format!("nobody is {owner}"))?, owner))
}

#[tokio::test]
async fn a_paused_persistence_node_is_replaced_and_does_no_harm_when_it_goes_on() -> Result<()> {
    let stack = stage().persistence(2).persistence_env("TIDINGS_LEASE_MS", LEASE.as_millis()).start().await?;
    let show = Show::begin(&stack, conversations(TIMES)?);
    show.until_percent(20).await?;
    let (paused, owner) = busy_owner(&stack).await?;
    stack.persistence(paused).pause()?;
    let begun = Instant::now();
    let left = format!("SELECT count(*) FROM partitions WHERE owner = '{owner}'");
    while stack.database().value(&left).await? != "0" {
        ensure!(begun.elapsed() < PATIENCE, "nobody took over");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    ensure!(begun.elapsed() > LEASE / 2, "the lease was not waited for: {:?}", begun.elapsed());
    show.until_more(200).await.context("under the new owner")?;
    stack.persistence(paused).resume()?;
    show.ensure_in_full_swing()?;
    show.until_more(200).await.context("after SIGCONT")?;
    show.ends_well().await?;
    dense(&stack).await
}

#[tokio::test]
async fn a_redis_that_comes_back_with_what_it_had_or_empty_loses_nothing_stored() -> Result<()> {
    let stack = stage().start().await?;
    let show = Show::begin(&stack, conversations(TIMES)?);
    for percent in [20, 40, 60] {
        show.until_percent(percent).await?;
        show.ensure_in_full_swing()?;
        if percent == 60 {
            stack.redis().restart_empty().await?;
        } else {
            // What was appended within the last second may be gone; who sent it was not told `stored`, or
            // history has it.
            stack.redis().kill();
            stack.redis().restart().await?;
        }
        show.until_more(20).await?;
    }
    show.ensure_in_full_swing()?;
    show.ends_well().await?;
    let epochs = stack.database().value("SELECT count(*) FROM epochs_opened").await?;
    ensure!(epochs == "4", "{epochs} epochs were opened");
    dense(&stack).await
}

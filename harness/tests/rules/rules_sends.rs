//! The rules of client ids: what Redis remembers, for how long, and when PostgreSQL is asked.

use std::time::Instant;

use anyhow::{Result, ensure};
use serde_json::Value;
use tidings_harness::ServerFrame;
use tidings_harness::stack::StackBuilder;

use crate::replay::{BrokenPromise, Removal, ReplaySystem, WAIT_TIMEOUT, ensure_needed, small_stack};
use crate::row_lock::{HeldLock, until_waiting};
use crate::rules_seeds::bring_back_lost_message;

/// Seconds of a window of client ids.
const WINDOW_S: i64 = 600;

fn stack_with_clocks() -> StackBuilder {
    small_stack().clocks()
}

async fn replay_lost_message_is_remembered_again(system: &mut ReplaySystem) -> Result<BrokenPromise> {
    bring_back_lost_message(system).await?;
    system.check_stored("a").await
}

#[tokio::test]
async fn remembered_client_id_is_limited_by_later_bases() -> Result<()> {
    let rule = "if tonumber(epoch) > tonumber(e_epoch) and tonumber(e_seq) > tonumber(base) then survived = false end";
    ensure_needed(&[Removal::Text(rule, "")], small_stack(), replay_lost_message_is_remembered_again).await
}

/// A stored message, which Redis has forgotten, is repeated.
async fn replay_forgotten_message_is_repeated(system: &mut ReplaySystem) -> Result<BrokenPromise> {
    system.send_until_stored("a").await?;
    system.forget_client_ids().await?;
    let again = system.retry_until_accepted("a").await?;
    Ok((!again.duplicate).then(|| format!("the room gets a second event: {again:?}")))
}

#[tokio::test]
async fn unknown_client_id_is_looked_up_before_append() -> Result<()> {
    let rule = "if client_id ~= '' and looked_up ~= '1' then return {'lookup'} end";
    ensure_needed(&[Removal::Text(rule, "")], small_stack(), replay_forgotten_message_is_repeated).await
}

/// A message that is not stored yet is repeated two windows later.
async fn replay_waiting_message_is_repeated_late(system: &mut ReplaySystem) -> Result<BrokenPromise> {
    system.suspend_writer().await?;
    system.send_until_accepted("a").await?;
    for (id, windows) in [("b", 1), ("c", 2)] {
        system.stack.redis().clock().shift(windows * WINDOW_S)?;
        system.send_until_accepted(id).await?;
    }
    let again = system.retry_until_accepted("a").await?;
    system.resume_writer().await?;
    Ok((!again.duplicate).then(|| format!("the room gets a second event: {again:?}")))
}

#[tokio::test]
async fn window_of_client_ids_outlives_its_unstored_records() -> Result<()> {
    let rule = "if last and not covers(watermark, last) then break end";
    ensure_needed(&[Removal::Text(rule, "")], stack_with_clocks(), replay_waiting_message_is_repeated_late)
        .await
}

/// Long after the epoch began, a message of the last minutes is repeated in the next window.
async fn replay_young_message_is_repeated_in_next_window(system: &mut ReplaySystem) -> Result<BrokenPromise> {
    system
        .stack
        .database()
        .query("UPDATE epochs_opened SET opened_at = opened_at - interval '1 hour'")
        .await?;
    system.stack.gateway(0).restart().await?;
    system.alice = system.stack.connect("alice").await?;
    let id = uuid::Uuid::now_v7().to_string();
    system.send_until_accepted(&id).await?;
    system.stack.redis().clock().shift(WINDOW_S)?;
    system.send_until_accepted("b").await?;
    let again = system.retry_until_accepted(&id).await?;
    Ok((!again.duplicate).then(|| format!("the room gets a second event: {again:?}")))
}

#[tokio::test]
async fn appends_compare_client_ids_of_earlier_windows() -> Result<()> {
    let rule = "string.gmatch(known[1], '%d+')";
    let removal = Removal::Text(rule, "string.gmatch('', '%d+')");
    ensure_needed(&[removal], stack_with_clocks(), replay_young_message_is_repeated_in_next_window).await
}

/// A stored message of the last minutes is repeated at the beginning of an epoch.
async fn replay_young_message_is_repeated_in_young_epoch(system: &mut ReplaySystem) -> Result<BrokenPromise> {
    let id = uuid::Uuid::now_v7().to_string();
    let first = system.send_until_stored(&id).await?;
    system.stack.redis().restart_empty().await?;
    system.until_seeded(2).await?;
    let again = system.retry_until_accepted(&id).await?;
    ensure!(first.seq == 1, "{first:?}");
    Ok((!again.duplicate).then(|| format!("the room gets a second event: {again:?}")))
}

#[tokio::test]
async fn recent_client_id_is_looked_up_in_new_epoch() -> Result<()> {
    let removal = Removal::Named("young client ids are known after 10 min");
    ensure_needed(&[removal], small_stack(), replay_young_message_is_repeated_in_young_epoch).await
}

/// A part of the statement that looks up client ids.
const LOOK_UP_PART: &str = "m.seq IS NULL AND EXISTS";

/// Sends a message without waiting for its answer.
async fn send_frame(system: &ReplaySystem, id: &str, attempt: Option<u32>) -> Result<()> {
    let mut frame = system.message_fields(id, attempt);
    frame["type"] = Value::from("message:send");
    Ok(system.alice.send_json(&frame).await?)
}

/// Two messages follow each other. The look-up of the first takes long, and the second needs none.
async fn replay_look_up_takes_long(system: &mut ReplaySystem) -> Result<BrokenPromise> {
    system.send_until_stored("a").await?;
    let lock = HeldLock::by_statement(&system.stack, "LOCK TABLE messages IN ACCESS EXCLUSIVE MODE").await?;
    // Everything waits for Redis, so the messages behind the first one are in one group.
    system.stack.redis().pause()?;
    let sends = [("b", Some(1)), ("first", None), ("second", Some(1))];
    let sent = async {
        for (id, attempt) in sends {
            send_frame(system, id, attempt).await?;
            // The answer shows that the gateway has read the frame. So the first message is under way before the others
            // come.
            system.alice.ping().await?;
        }
        anyhow::Ok(())
    };
    let sent = sent.await;
    system.stack.redis().resume()?;
    sent?;
    until_waiting(&system.stack, LOOK_UP_PART).await?;
    lock.release(&system.stack).await?;
    let (begun, mut order) = (Instant::now(), Vec::new());
    while order.len() < sends.len() {
        let left = WAIT_TIMEOUT.saturating_sub(begun.elapsed());
        match system.alice.next_event(left).await? {
            ServerFrame::Ack(ack) => order.push((ack.seq, ack.client_id.unwrap_or_default())),
            ServerFrame::Error(error) => anyhow::bail!("{error:?}"),
            _ => {}
        }
    }
    order.sort();
    let ids: Vec<&str> = order.iter().map(|(_, id)| id.as_str()).collect();
    Ok((ids != ["b", "first", "second"]).then(|| format!("the order in the log is {order:?}")))
}

#[tokio::test]
async fn group_ends_before_a_look_up() -> Result<()> {
    ensure_needed(
        &[Removal::Named("a group ends before a look-up")],
        small_stack(),
        replay_look_up_takes_long,
    )
    .await
}

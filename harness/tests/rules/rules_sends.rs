//! The rules of client ids: what Redis remembers, for how long, and when PostgreSQL is asked.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use serde_json::Value;
use tidings_harness::stack::StackBuilder;
use tidings_harness::{ServerFrame, clock};

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
    let rule = "if client_id ~= '' and not is_decided() then return {'lookup', look_up} end";
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

/// A message of the last minutes is repeated in the next window.
async fn replay_recent_message_is_repeated_in_next_window(
    system: &mut ReplaySystem,
) -> Result<BrokenPromise> {
    let id = send_trusted(system).await?;
    system.stack.redis().clock().shift(WINDOW_S)?;
    system.send_until_accepted("b").await?;
    repeat_unless_second(system, &id).await
}

/// Lets Redis trust its client ids. Then sends a message with a UUIDv7 until it is stored, and returns its client id.
async fn send_trusted(system: &ReplaySystem) -> Result<String> {
    system.send_until_accepted("first").await?;
    system.trust_client_ids().await?;
    let id = clock::client_id();
    system.send_until_stored(&id).await?;
    system.until_watermark_is_at_end().await?;
    Ok(id)
}

/// Repeats a message. A second event breaks a promise.
async fn repeat_unless_second(system: &ReplaySystem, id: &str) -> Result<BrokenPromise> {
    let again = system.retry_until_accepted(id).await?;
    Ok((!again.duplicate).then(|| format!("the room gets a second event: {again:?}")))
}

/// The clock of Redis jumps to these offsets, in seconds. After each jump a message begins a window of client ids, and
/// is stored.
async fn begin_windows(system: &ReplaySystem, offsets_s: [i64; 2]) -> Result<()> {
    for offset_s in offsets_s {
        system.stack.redis().clock().shift(offset_s)?;
        system.send_until_stored(&format!("at {offset_s}")).await?;
        system.until_watermark_is_at_end().await?;
    }
    Ok(())
}

#[tokio::test]
async fn appends_compare_client_ids_of_earlier_windows() -> Result<()> {
    let rule = "string.gmatch(known[1], '%d+')";
    let removal = Removal::Text(rule, "string.gmatch('', '%d+')");
    ensure_needed(&[removal], stack_with_clocks(), replay_recent_message_is_repeated_in_next_window).await
}

/// The clock of Redis jumps by some windows, and later back. Then a message from before the jumps is repeated. The
/// clock of the gateway is an hour behind.
async fn replay_recent_message_is_repeated_after_jumps(system: &mut ReplaySystem) -> Result<BrokenPromise> {
    let id = send_trusted(system).await?;
    begin_windows(system, [1300, 3600]).await?;
    system.stack.redis().clock().shift(0)?;
    system.stack.gateway(0).clock().shift(-3600)?;
    repeat_unless_second(system, &id).await
}

#[tokio::test]
async fn client_ids_of_dropped_windows_are_looked_up() -> Result<()> {
    let rule = "new_from = math.max(new_from, (tonumber(windows[1]) + 1) * WINDOW_S * 1000 + MAX_AHEAD_MS)";
    ensure_needed(
        &[Removal::Text(rule, "")],
        stack_with_clocks(),
        replay_recent_message_is_repeated_after_jumps,
    )
    .await
}

/// A client whose clock is 15 minutes ahead repeats a message after 20 minutes.
async fn replay_message_of_fast_clock_is_repeated(system: &mut ReplaySystem) -> Result<BrokenPromise> {
    system.send_until_accepted("first").await?;
    system.trust_client_ids().await?;
    let id = clock::client_id_at(clock::now() + Duration::from_secs(900));
    system.send_until_stored(&id).await?;
    system.until_watermark_is_at_end().await?;
    begin_windows(system, [WINDOW_S, 2 * WINDOW_S]).await?;
    repeat_unless_second(system, &id).await
}

#[tokio::test]
async fn sender_with_fast_clock_is_looked_up() -> Result<()> {
    let removal = Removal::Text("and id_ms > tonumber(ahead or 0)", "");
    ensure_needed(&[removal], stack_with_clocks(), replay_message_of_fast_clock_is_repeated).await
}

/// Redis comes back as it was before a stored message.
async fn replay_message_after_the_image_is_repeated(system: &mut ReplaySystem) -> Result<BrokenPromise> {
    system.send_until_stored("first").await?;
    system.trust_client_ids().await?;
    let image = system.stack.redis().image()?;
    let id = clock::client_id();
    system.send_until_stored(&id).await?;
    system.restart_redis_from(&image).await?;
    system.until_seeded(2).await?;
    repeat_unless_second(system, &id).await
}

#[tokio::test]
async fn new_epoch_does_not_trust_windows_of_earlier_ones() -> Result<()> {
    let rule = "return epoch == EPOCH and tonumber(ms) or nil";
    let removal = Removal::Text(rule, "return tonumber(ms)");
    ensure_needed(&[removal], small_stack(), replay_message_after_the_image_is_repeated).await
}

/// A stored message of the last minutes is repeated at the beginning of an epoch.
async fn replay_recent_message_is_repeated_in_new_epoch(system: &mut ReplaySystem) -> Result<BrokenPromise> {
    let id = clock::client_id();
    let first = system.send_until_stored(&id).await?;
    ensure!(first.seq == 1, "{first:?}");
    system.stack.redis().restart_empty().await?;
    system.until_seeded(2).await?;
    system.send_until_accepted("b").await?;
    repeat_unless_second(system, &id).await
}

#[tokio::test]
async fn recent_client_id_is_looked_up_in_new_epoch() -> Result<()> {
    let removal = Removal::Text("(newest + 1) * WINDOW_S * 1000 + EPOCH_MARGIN_MS", "0");
    ensure_needed(&[removal], small_stack(), replay_recent_message_is_repeated_in_new_epoch).await
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

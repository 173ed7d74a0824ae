//! A member is removed, or demoted to guest, while another user sends 200 messages a second and while the member's
//! second device joins on another gateway. After the change the member's connections receive nothing forbidden, and no
//! send of the member is accepted. Many rounds, several of them concurrent.

use crate::behind;
use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};
use std::time::Duration;

use crate::behind::MembershipChangeCheck;
use anyhow::{Context, Result, ensure};
use futures_util::{StreamExt, TryStreamExt, stream};
use serde_json::json;
use tidings_harness::{Client, Cursor, ServerFrame, Stack};

const ROUNDS: usize = 200;
const MAX_CONCURRENT_ROUNDS: usize = 10;
const WAIT_TIMEOUT: Duration = Duration::from_secs(30);
/// 200 messages a second for 0.3 s.
const MESSAGES_PER_ROUND: usize = 60;
const MESSAGE_INTERVAL: Duration = Duration::from_millis(5);
const VICTIM_SEND_INTERVAL: Duration = Duration::from_millis(15);
/// The width of the random variation of the join time around [`JoinDelay::ms`].
const JOIN_JITTER_MS: u64 = 30;
/// Each round changes [`JoinDelay::ms`] by this much.
const JOIN_DELAY_STEP_MS: i64 = 2;
/// The first rounds change [`JoinDelay::ms`] faster, because on a slow machine its initial value is far off.
const FIRST_ROUNDS: usize = 40;
const FIRST_ROUNDS_STEP_MS: i64 = 8;
const MAX_JOIN_DELAY_MS: i64 = 150;

#[derive(Debug, Clone, Copy, PartialEq)]
enum MembershipChange {
    Removal,
    Demotion,
}

async fn start_three_gateways() -> Result<Stack> {
    let mut builder = Stack::builder().gateways(3);
    for limit in ["MESSAGES_PER_SECOND", "MESSAGES_BURST", "COMMANDS_PER_SECOND", "JOINS_PER_SECOND"] {
        builder = builder.gateway_env(&format!("TIDINGS_{limit}"), 100_000);
    }
    builder.start().await
}

// Covers: member:removed.
#[tokio::test]
async fn removed_member_receives_and_sends_nothing_after_removal() -> Result<()> {
    run_rounds(MembershipChange::Removal).await
}

#[tokio::test]
async fn demoted_guest_receives_no_member_messages_and_cannot_send() -> Result<()> {
    run_rounds(MembershipChange::Demotion).await
}

async fn run_rounds(change: MembershipChange) -> Result<()> {
    let stack = start_three_gateways().await?;
    let (stack, join_delay) = (&stack, &JoinDelay::default());
    let outcomes = stream::iter(0..ROUNDS)
        .map(async |number| {
            run_round(stack, number, change, join_delay).await.with_context(|| format!("round {number}"))
        })
        .buffer_unordered(MAX_CONCURRENT_ROUNDS)
        .try_collect::<Vec<_>>()
        .await?;
    // The test is meaningful only if the change and the join come in either order, and if in many rounds the victim
    // sends both before and after the change.
    let early = outcomes.iter().filter(|outcome| outcome.joined_before).count();
    let split = outcomes.iter().filter(|outcome| outcome.accepted > 0 && outcome.refused > 0).count();
    println!("{change:?}: {early} joined before, {split} sent before and after, of {ROUNDS}");
    ensure!((ROUNDS / 10..ROUNDS * 9 / 10).contains(&early), "{early} of {ROUNDS} joined before the change");
    ensure!(split > ROUNDS / 2, "in {split} of {ROUNDS} rounds the victim sent before and after the change");
    Ok(())
}

/// The delay from the start of the change to the start of the second device's join at which half of the joins come
/// before the change. It depends on the machine, so each round adjusts it.
#[derive(Debug, Default)]
struct JoinDelay {
    ms: AtomicI64,
    rounds: AtomicUsize,
}

impl JoinDelay {
    /// Returns when the change and the join start; the earlier one starts after `least`.
    fn start_times(&self, least: Duration, random: u64) -> (Duration, Duration) {
        let spread = i64::try_from(random % JOIN_JITTER_MS).unwrap_or(0) - JOIN_JITTER_MS as i64 / 2;
        let later = self.ms.load(Ordering::Relaxed) + spread;
        let apart = Duration::from_millis(later.unsigned_abs());
        if later < 0 { (least + apart, least) } else { (least, least + apart) }
    }

    fn adjust(&self, joined_before: bool) {
        let step = if self.rounds.fetch_add(1, Ordering::Relaxed) < FIRST_ROUNDS {
            FIRST_ROUNDS_STEP_MS
        } else {
            JOIN_DELAY_STEP_MS
        };
        let moved = self.ms.load(Ordering::Relaxed) + if joined_before { step } else { -step };
        self.ms.store(moved.clamp(-MAX_JOIN_DELAY_MS, MAX_JOIN_DELAY_MS), Ordering::Relaxed);
    }
}

struct RoundOutcome {
    /// The second device joined before the change.
    joined_before: bool,
    accepted: usize,
    refused: usize,
}

async fn run_round(
    stack: &Stack,
    number: usize,
    change: MembershipChange,
    join_delay: &JoinDelay,
) -> Result<RoundOutcome> {
    let [owner, victim, sender] = ["owner", "victim", "sender"].map(|who| format!("{who}-{number}"));
    let room = stack.http(&owner).new_room(&[&victim, &sender]).await?;
    let speaker = stack.connect_at(0, &sender).await?;
    let witnesses = [stack.connect_at(1, &sender).await?, stack.connect_at(2, &sender).await?];
    let first = stack.connect_at(1, &victim).await?;
    let second = stack.connect_at(2, &victim).await?;
    for joined in [&witnesses[0], &witnesses[1], &first] {
        joined.join_and_catch_up(&room).await?;
    }
    let random: u64 = rand::random();
    let (change_after, join_after) =
        join_delay.start_times(Duration::from_millis(60 + random % 100), random / 100);

    let changing = async {
        tokio::time::sleep(change_after).await;
        let owner = stack.http(&owner);
        let answer = match change {
            MembershipChange::Removal => owner.remove_member(&room, &victim).await?,
            MembershipChange::Demotion => owner.put_member(&room, &victim, "guest").await?,
        };
        answer.expect(200).body["seq"].as_u64().context("no seq")
    };
    let joining = async {
        tokio::time::sleep(join_after).await;
        // Replays from the beginning, or joins at the head.
        match random % 2 {
            0 => second.join_after(&room, &Cursor { epoch: "1".to_owned(), seq: 0 }).await,
            _ => second.join(&room).await,
        }
    };
    let (changed, joined, messages_sent, attempts) = tokio::join!(
        changing,
        joining,
        send_messages(&speaker, &room, change),
        send_as_victim(&first, &room)
    );
    let (changed, attempts) = (changed?, attempts?);
    messages_sent?;
    for witness in &witnesses {
        receive_message(witness, &room, MESSAGES_PER_ROUND - 1).await?;
    }

    let guest_joined = joined.as_ref().is_ok_and(|joined| joined.role == "guest");
    let mut first_check = MembershipChangeCheck::new(&room, changed, change == MembershipChange::Demotion);
    // A guest still receives public messages.
    first_check
        .receive_until(
            &first,
            attempts,
            if change == MembershipChange::Demotion { MESSAGES_PER_ROUND / 2 } else { 0 },
        )
        .await?;
    let mut second_check = MembershipChangeCheck::new(&room, changed, change == MembershipChange::Demotion);
    second_check.joined_as_guest = guest_joined;
    for (device, check) in [(&first, &mut first_check), (&second, &mut second_check)] {
        // When the gateway has answered these pings, all frames that it had sent before have arrived.
        device.ping().await?;
        tokio::time::sleep(Duration::from_millis(20)).await;
        device.ping().await?;
        check.check_arrived(device).await?;
    }
    let MembershipChangeCheck { accepted, refused, .. } = first_check;
    ensure!(accepted + refused == attempts, "{accepted} accepted, {refused} refused of {attempts}");
    let log = stack.http(&owner).messages(&room, "limit=200").await?.expect(200).body;
    let late =
        log["messages"].as_array().into_iter().flatten().find(|message| {
            message["sender"]["id"] == json!(victim) && message["seq"].as_u64() > Some(changed)
        });
    ensure!(late.is_none(), "accepted after the change at {changed}: {late:?}");
    let again = first.send(&room, "still here").await;
    let refusal = if change == MembershipChange::Demotion { "forbidden" } else { "not_found" };
    ensure!(again.as_ref().is_err_and(|error| error.code() == refusal), "{again:?}");
    let joined_before = joined.is_ok_and(|joined| joined.head.seq < changed && joined.role == "member");
    join_delay.adjust(joined_before);
    Ok(RoundOutcome { joined_before, accepted, refused })
}

/// Sends the speaker's messages; in a demotion round every other one is for members only.
async fn send_messages(speaker: &Client, room: &str, change: MembershipChange) -> Result<()> {
    let mut tick = tokio::time::interval(MESSAGE_INTERVAL);
    for number in 0..MESSAGES_PER_ROUND {
        tick.tick().await;
        let mut frame = json!({
            "type": "message:send", "room": room, "client_id": number.to_string(), "content": "for all",
            "attempt": 1, "ack": "accepted",
        });
        if change == MembershipChange::Demotion && number % 2 == 0 {
            frame["content"] = json!(behind::FOR_MEMBERS);
            frame["visible_to"] = json!({ "roles": ["member"] });
        }
        speaker.send_json(&frame).await?;
    }
    Ok(())
}

/// The device sends for as long as the speaker sends. Returns the number of sends.
async fn send_as_victim(device: &Client, room: &str) -> Result<usize> {
    let mut tick = tokio::time::interval(VICTIM_SEND_INTERVAL);
    let sends = (MESSAGE_INTERVAL * MESSAGES_PER_ROUND as u32).as_millis() / VICTIM_SEND_INTERVAL.as_millis();
    for number in 0..sends {
        tick.tick().await;
        let frame = json!({
            "type": "message:send", "room": room, "client_id": number.to_string(), "content": "me",
            "attempt": 1, "ack": "accepted",
        });
        device.send_json(&frame).await?;
    }
    Ok(sends as usize)
}

/// Waits until a witness has received this message of the speaker.
async fn receive_message(witness: &Client, room: &str, number: usize) -> Result<()> {
    loop {
        if let ServerFrame::Message(message) = witness.next_event(WAIT_TIMEOUT).await?
            && message.room == room
            && message.client_id == number.to_string()
            && message.content != "me"
        {
            return Ok(());
        }
    }
}

//! A member is removed, or demoted to guest, while somebody talks 200 times a second, and while a second device of
//! theirs joins on another gateway: nothing of the room that lies behind the change reaches any of their connections
//! that may not, and nothing of theirs is accepted behind it. Round after round, several at a time.

use crate::behind;
use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};
use std::time::Duration;

use crate::behind::Behind;
use anyhow::{Context, Result, ensure};
use futures_util::{StreamExt, TryStreamExt, stream};
use serde_json::json;
use tidings_harness::{Client, Cursor, ServerFrame, Stack};

const ROUNDS: usize = 200;
const AT_ONCE: usize = 10;
const PATIENCE: Duration = Duration::from_secs(30);
/// 200 messages a second for 0.3 s.
const MESSAGES: usize = 60;
const MESSAGE_EVERY: Duration = Duration::from_millis(5);
const VICTIM_SENDS_EVERY: Duration = Duration::from_millis(15);
/// Joins are spread so wide around where they are aimed, which a round moves by this.
const SPREAD_MS: u64 = 30;
const STEP_MS: i64 = 2;
/// On a slow machine the aim is far from where it begins.
const FIRST_ROUNDS: usize = 40;
const FIRST_STEP_MS: i64 = 8;
const FURTHEST_MS: i64 = 150;

#[derive(Debug, Clone, Copy, PartialEq)]
enum Change {
    Removal,
    Demotion,
}

async fn three_gateways() -> Result<Stack> {
    let mut builder = Stack::builder().gateways(3);
    for limit in ["MESSAGES_PER_SECOND", "MESSAGES_BURST", "COMMANDS_PER_SECOND", "JOINS_PER_SECOND"] {
        builder = builder.gateway_env(&format!("TIDINGS_{limit}"), 100_000);
    }
    builder.start().await
}

// Covers: member:removed.
#[tokio::test]
async fn nothing_behind_their_removal_reaches_or_comes_from_any_device_of_the_removed() -> Result<()> {
    rounds(Change::Removal).await
}

#[tokio::test]
async fn nothing_for_members_behind_their_demotion_reaches_a_guest_and_no_send_of_theirs_is_taken()
-> Result<()> {
    rounds(Change::Demotion).await
}

async fn rounds(change: Change) -> Result<()> {
    let stack = three_gateways().await?;
    let (stack, aim) = (&stack, &Aim::default());
    let met = stream::iter(0..ROUNDS)
        .map(async |number| {
            round(stack, number, change, aim).await.with_context(|| format!("round {number}"))
        })
        .buffer_unordered(AT_ONCE)
        .try_collect::<Vec<_>>()
        .await?;
    // The rounds are worth something only when the change met joins and sends that were under way.
    let early = met.iter().filter(|met| met.joined_before).count();
    let taken = met.iter().filter(|met| met.accepted > 0 && met.refused > 0).count();
    println!("{change:?}: {early} joined before, {taken} sent before and after, of {ROUNDS}");
    ensure!((ROUNDS / 10..ROUNDS * 9 / 10).contains(&early), "{early} of {ROUNDS} joined before the change");
    ensure!(taken > ROUNDS / 2, "in {taken} of {ROUNDS} rounds they sent before and after");
    Ok(())
}

/// How much later than the change is begun the second device has to join, so that as many come in before it counts as
/// behind: how long either takes is the machine's, and is learned round by round.
#[derive(Debug, Default)]
struct Aim {
    ms: AtomicI64,
    rounds: AtomicUsize,
}

impl Aim {
    /// When the change is begun, and when the join: the later one waits, neither begins sooner than `least`.
    fn times(&self, least: Duration, random: u64) -> (Duration, Duration) {
        let spread = i64::try_from(random % SPREAD_MS).unwrap_or(0) - SPREAD_MS as i64 / 2;
        let later = self.ms.load(Ordering::Relaxed) + spread;
        let apart = Duration::from_millis(later.unsigned_abs());
        if later < 0 { (least + apart, least) } else { (least, least + apart) }
    }

    fn learn(&self, joined_before: bool) {
        let step =
            if self.rounds.fetch_add(1, Ordering::Relaxed) < FIRST_ROUNDS { FIRST_STEP_MS } else { STEP_MS };
        let moved = self.ms.load(Ordering::Relaxed) + if joined_before { step } else { -step };
        self.ms.store(moved.clamp(-FURTHEST_MS, FURTHEST_MS), Ordering::Relaxed);
    }
}

/// What the change met.
struct Met {
    /// The second device came in before.
    joined_before: bool,
    accepted: usize,
    refused: usize,
}

async fn round(stack: &Stack, number: usize, change: Change, aim: &Aim) -> Result<Met> {
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
    let (change_after, join_after) = aim.times(Duration::from_millis(60 + random % 100), random / 100);

    let changing = async {
        tokio::time::sleep(change_after).await;
        let owner = stack.http(&owner);
        let answer = match change {
            Change::Removal => owner.remove_member(&room, &victim).await?,
            Change::Demotion => owner.put_member(&room, &victim, "guest").await?,
        };
        answer.expect(200).body["seq"].as_u64().context("no seq")
    };
    let joining = async {
        tokio::time::sleep(join_after).await;
        // From the beginning, or from the head.
        match random % 2 {
            0 => second.join_after(&room, &Cursor { epoch: "1".to_owned(), seq: 0 }).await,
            _ => second.join(&room).await,
        }
    };
    let (changed, joined, spoken, tried) =
        tokio::join!(changing, joining, speak(&speaker, &room, change), send_on(&first, &room));
    let (changed, tried) = (changed?, tried?);
    spoken?;
    for witness in &witnesses {
        until_said(witness, &room, MESSAGES - 1).await?;
    }

    let guest_joined = joined.as_ref().is_ok_and(|joined| joined.role == "guest");
    let mut heard = Behind::new(&room, changed, change == Change::Demotion);
    // A guest hears on what is for everybody.
    heard.until(&first, tried, if change == Change::Demotion { MESSAGES / 2 } else { 0 }).await?;
    let mut heard_by_second = Behind::new(&room, changed, change == Change::Demotion);
    heard_by_second.joined_as_guest = guest_joined;
    for (device, heard) in [(&first, &mut heard), (&second, &mut heard_by_second)] {
        // What was on its way is there when this is answered.
        device.ping().await?;
        tokio::time::sleep(Duration::from_millis(20)).await;
        device.ping().await?;
        heard.look(device).await?;
    }
    let Behind { accepted, refused, .. } = heard;
    ensure!(accepted + refused == tried, "{accepted} accepted, {refused} refused of {tried}");
    let log = stack.http(&owner).messages(&room, "limit=200").await?.expect(200).body;
    let late =
        log["messages"].as_array().into_iter().flatten().find(|message| {
            message["sender"]["id"] == json!(victim) && message["seq"].as_u64() > Some(changed)
        });
    ensure!(late.is_none(), "accepted behind {changed}: {late:?}");
    let again = first.send(&room, "still here").await;
    let refusal = if change == Change::Demotion { "forbidden" } else { "not_found" };
    ensure!(again.as_ref().is_err_and(|error| error.code() == refusal), "{again:?}");
    let joined_before = joined.is_ok_and(|joined| joined.head.seq < changed && joined.role == "member");
    aim.learn(joined_before);
    Ok(Met { joined_before, accepted, refused })
}

/// Says so many messages; of a demotion's every other is for members only.
async fn speak(speaker: &Client, room: &str, change: Change) -> Result<()> {
    let mut tick = tokio::time::interval(MESSAGE_EVERY);
    for number in 0..MESSAGES {
        tick.tick().await;
        let mut frame = json!({
            "type": "message:send", "room": room, "client_id": number.to_string(), "content": "for all",
            "attempt": 1, "ack": "accepted",
        });
        if change == Change::Demotion && number % 2 == 0 {
            frame["content"] = json!(behind::FOR_MEMBERS);
            frame["visible_to"] = json!({ "roles": ["member"] });
        }
        speaker.send_json(&frame).await?;
    }
    Ok(())
}

/// Sends for as long as the other speaks; how many.
async fn send_on(device: &Client, room: &str) -> Result<usize> {
    let mut tick = tokio::time::interval(VICTIM_SENDS_EVERY);
    let sends = (MESSAGE_EVERY * MESSAGES as u32).as_millis() / VICTIM_SENDS_EVERY.as_millis();
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

/// Waits until a witness has heard this message of the speaker.
async fn until_said(witness: &Client, room: &str, number: usize) -> Result<()> {
    loop {
        if let ServerFrame::Message(message) = witness.next_event(PATIENCE).await?
            && message.room == room
            && message.client_id == number.to_string()
            && message.content != "me"
        {
            return Ok(());
        }
    }
}

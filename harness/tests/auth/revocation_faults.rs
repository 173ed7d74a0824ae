//! Removals of a member during a fault: the membership is cached before the removal commits, Redis is replaced, or
//! pub/sub connections are cut. Even then, after the removal the user receives nothing, and no send of the user is
//! accepted.

use std::time::Duration;

use crate::behind::MembershipChangeCheck;
use crate::room_log::{RoomLog, WAIT_TIMEOUT, hold};
use anyhow::{Context, Result, ensure};
use futures_util::{StreamExt, TryStreamExt, stream};
use serde_json::json;
use tidings_harness::{Client, ClientError, ServerFrame, Stack};
use tidings_shared::{
    ids::UserId,
    log::{Accepted, Entry},
    membership,
    role::MinRole,
};

const MAX_BACKLOG_RECORDS: u64 = 100_000;
/// This lock blocks writes of memberships, but not reads.
const LOCK_MEMBERS: &str = "LOCK TABLE members IN SHARE MODE";

fn ensure_refused(answer: Result<impl std::fmt::Debug, ClientError>, code: &str) -> Result<()> {
    let error = answer.err().context("the request succeeded")?;
    ensure!(error.code() == code, "{error:?}");
    Ok(())
}

/// The role of a user in a room as Redis caches it: `Some(None)` if the user is no member, `None` if Redis has not
/// cached the memberships of this user.
async fn cached_role(room: &RoomLog, user: &UserId) -> Result<Option<Option<String>>> {
    let session = room.log.session_of_user(user).await?;
    let rooms = std::slice::from_ref(&room.room);
    let cached = membership::cached_in(&mut session.connection(), user, session.epoch, rooms).await?;
    Ok(cached.map(|mut cached| cached.pop().flatten().map(|membership| membership.role)))
}

/// Appends a membership event with the rights of the admin scope, directly in Redis and without persistence.
async fn append_membership(room: &RoomLog, user: &UserId, role: &str) -> Result<Accepted> {
    let kind = if role == "removed" { "member:removed" } else { "member:added" };
    let body = json!({"user": user, "role": role, "by": "alice"}).to_string();
    let entry = Entry {
        sender: Some(&room.alice),
        membership: Some((user, role)),
        min_role: MinRole::Anyone,
        ..Entry::new(&room.room, kind, body)
    };
    Ok(room.log.append(&entry).await?)
}

#[tokio::test]
async fn cache_filled_before_removal_commit_readmits_nobody() -> Result<()> {
    let stack = Stack::start().await?;
    let room = RoomLog::new(&stack, MAX_BACKLOG_RECORDS).await?;
    let (id, bob) = (room.room.as_str(), UserId::parse("bob")?);
    let (live, later) = (stack.connect("bob").await?, stack.connect("bob").await?);
    live.join_and_catch_up(id).await?;
    let held = hold(&stack, LOCK_MEMBERS, 8.0).await?;
    let alice = stack.http("alice");
    let removing = tokio::spawn({
        let (alice, id) = (alice.clone(), id.to_owned());
        async move { alice.remove_member(&id, "bob").await }
    });
    ensure!(
        matches!(live.next_of_log(WAIT_TIMEOUT).await?, ServerFrame::Other(event) if event["type"] == "member:removed")
    );
    // The removal is in the log but not committed, so a read of the database now fills the cache with the old
    // membership. The node that appended the removal drops the cache only once, shortly afterwards.
    let filled = async {
        loop {
            ensure_refused(later.join(id).await, "not_found")?;
            if cached_role(&room, &bob).await? == Some(Some("member".to_owned())) {
                return anyhow::Ok(());
            }
        }
    };
    tokio::time::timeout(WAIT_TIMEOUT, filled).await??;
    ensure_refused(later.join(id).await, "not_found")?;
    ensure_refused(later.send(id, "still here").await, "not_found")?;
    ensure!(!removing.is_finished(), "the commit was not blocked");
    removing.await??.expect(200);
    held.await?;
    ensure!(cached_role(&room, &bob).await?.flatten().is_none(), "the cache still has the membership");
    ensure_refused(later.join(id).await, "not_found")?;
    ensure_refused(later.send(id, "still here").await, "not_found")?;
    Ok(())
}

#[tokio::test]
async fn removal_committed_during_redis_swap_holds_in_new_epoch() -> Result<()> {
    let stack = Stack::start().await?;
    let room = RoomLog::new(&stack, MAX_BACKLOG_RECORDS).await?;
    let (id, bob) = (room.room.as_str(), UserId::parse("bob")?);
    stack.connect("bob").await?.join_and_catch_up(id).await?;
    let held = hold(&stack, LOCK_MEMBERS, 3.0).await?;
    append_membership(&room, &bob, "removed").await?;
    stack.database().until_blocked().await?;
    // The writer is in its transaction. The new Redis has no mark of the removal.
    stack.shards().restart_empty().await?;
    let begun = tokio::time::Instant::now();
    loop {
        let answer = match stack.connect("bob").await {
            Ok(bob) => bob.join(id).await,
            Err(error) => Err(error),
        };
        match answer.err().context("bob's join succeeded")? {
            error if error.code() == "not_found" => break,
            error if error.code() == "unavailable" && begun.elapsed() < WAIT_TIMEOUT => {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            error => return Err(error.into()),
        }
    }
    held.await?;
    ensure!(
        stack.database().value(&format!("SELECT count(*) FROM members WHERE room_id = '{id}'")).await? == "1"
    );
    let client = stack.connect("bob").await?;
    ensure_refused(client.send(id, "still here").await, "not_found")?;
    ensure!(cached_role(&room, &bob).await?.flatten().is_none());
    Ok(())
}

#[tokio::test]
async fn member_lost_with_redis_receives_and_sends_nothing() -> Result<()> {
    let stack = Stack::start().await?;
    let room = RoomLog::new(&stack, MAX_BACKLOG_RECORDS).await?;
    let (id, carol) = (room.room.as_str(), UserId::parse("carol")?);
    let alice = stack.connect("alice").await?;
    room.send("stored").await?;
    stack.http("carol").new_room(&[]).await?;
    let client = stack.connect("carol").await?;
    ensure_refused(client.join(id).await, "not_found")?;
    stack.persistence(0).kill();
    append_membership(&room, &carol, "guest").await?;
    let joined = client.join(id).await?;
    ensure!(
        (joined.role.as_str(), joined.read_seq) == ("guest", 0),
        "not joined by the mark alone: {joined:?}"
    );
    stack.shards().restart_empty().await?;
    stack.persistence(0).restart().await?;
    let sent = until_stored(&alice, id).await?;
    ensure!(sent == 2, "the lost addition still has a seq: {sent}");
    retry_until_refused(&client, id).await?;
    client.ping().await?;
    let mut frames = Vec::new();
    while let Ok(frame) = client.next_of_log(Duration::from_millis(300)).await {
        frames.push(frame);
    }
    let later = frames.iter().find(|frame| frame.kind() == "message:new" || frame.kind() == "room:gap");
    ensure!(later.is_none(), "{later:?}");
    Ok(())
}

async fn until_stored(client: &Client, room: &str) -> Result<u64> {
    for _ in 0..120 {
        match client.send_as(room, "again", "again").await {
            Ok(ack) => return Ok(ack.seq),
            Err(error) if matches!(error.code(), "unavailable" | "overloaded") => {
                tokio::time::sleep(Duration::from_millis(250)).await;
            }
            Err(error) => return Err(error.into()),
        }
    }
    anyhow::bail!("the message was never stored")
}

async fn retry_until_refused(client: &Client, room: &str) -> Result<()> {
    for _ in 0..60 {
        match client.send(room, "still here").await.err().context("accepted")? {
            error if error.code() == "unavailable" => tokio::time::sleep(Duration::from_millis(250)).await,
            error => return ensure_refused(Err::<(), _>(error), "not_found"),
        }
    }
    anyhow::bail!("the send stayed unavailable")
}

const CUT_ROUNDS: usize = 40;
const MESSAGES_PER_ROUND: usize = 80;

#[tokio::test]
async fn removal_during_pub_sub_cut_leaks_nothing_after_it() -> Result<()> {
    let mut builder = Stack::builder().gateways(2);
    for limit in ["MESSAGES_PER_SECOND", "MESSAGES_BURST", "COMMANDS_PER_SECOND", "JOINS_PER_SECOND"] {
        builder = builder.gateway_env(&format!("TIDINGS_{limit}"), 100_000);
    }
    let stack = &builder.start().await?;
    stream::iter(0..CUT_ROUNDS)
        .map(async |number| run_cut_round(stack, number).await.with_context(|| format!("round {number}")))
        .buffer_unordered(4)
        .try_collect::<()>()
        .await?;
    let refills = stack.gateway(1).metrics().await?;
    let refilled =
        refills.lines().find(|line| line.starts_with("tidings_gateway_refills_total{source=\"tail\"}"));
    ensure!(refilled.is_some(), "no room was refilled: the cuts had no effect");
    Ok(())
}

async fn run_cut_round(stack: &Stack, number: usize) -> Result<()> {
    let [owner, victim, sender] = ["owner", "victim", "sender"].map(|who| format!("{who}-{number}"));
    let room = stack.http(&owner).new_room(&[&victim, &sender]).await?;
    let (speaker, witness) = (stack.connect_at(0, &sender).await?, stack.connect_at(1, &sender).await?);
    let device = stack.connect_at(1, &victim).await?;
    witness.join_and_catch_up(&room).await?;
    device.join_and_catch_up(&room).await?;
    let random: u64 = rand::random();
    let changing = async {
        tokio::time::sleep(Duration::from_millis(80 + random % 120)).await;
        let answer = stack.http(&owner).remove_member(&room, &victim).await?;
        answer.expect(200).body["seq"].as_u64().context("no seq")
    };
    let cutting = async {
        for pause in [60 + random / 200 % 60, 40, 40] {
            tokio::time::sleep(Duration::from_millis(pause)).await;
            stack.shards().cut_pub_sub().await?;
        }
        anyhow::Ok(())
    };
    let sending = async {
        let mut tick = tokio::time::interval(Duration::from_millis(5));
        for number in 0..MESSAGES_PER_ROUND {
            tick.tick().await;
            let frame = json!({
                "type": "message:send", "room": room, "client_id": number.to_string(), "content": "for all",
                "attempt": 1, "ack": "accepted",
            });
            speaker.send_json(&frame).await?;
        }
        anyhow::Ok(())
    };
    let (changed, cut, sent) = tokio::join!(changing, cutting, sending);
    let (changed, (), ()) = (changed?, cut?, sent?);
    loop {
        let frame = witness.next_of_log(WAIT_TIMEOUT).await?;
        ensure!(frame.kind() != "room:gap", "the tail must heal a cut this short: {frame:?}");
        if matches!(&frame, ServerFrame::Message(message) if message.client_id == (MESSAGES_PER_ROUND - 1).to_string())
        {
            break;
        }
    }
    // The device's worker thread may still be refilling the room.
    let mut check = MembershipChangeCheck::new(&room, changed, false);
    check.receive_until(&device, 0, usize::try_from(changed)?.saturating_sub(1)).await?;
    device.ping().await?;
    tokio::time::sleep(Duration::from_millis(150)).await;
    device.ping().await?;
    check.check_arrived(&device).await?;
    ensure_refused(device.send(&room, "still here").await, "not_found")?;
    Ok(())
}

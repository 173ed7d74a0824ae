//! The rules of memberships: between the append of a change and its commit, only the marks in Redis know of it.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use serde_json::json;
use tidings_harness::{ClientError, frames::Ack};
use tidings_shared::{ids::RoomId, log::keys};

use crate::replay::{
    BrokenPromise, Removal, ReplaySystem, STORE_DEADLINE, WAIT_TIMEOUT, ensure_needed, is_transient,
    small_stack,
};

/// Waits until the room's hash in Redis holds the mark of this user's removal.
async fn until_removal_mark(system: &ReplaySystem, user: &str) -> Result<()> {
    let key = keys::room(&RoomId::parse(&system.room)?);
    let begun = Instant::now();
    loop {
        let mut command = redis::cmd("HGET");
        let mark: Option<String> =
            system.stack.redis().command(command.arg(&key).arg(format!("mark:{user}"))).await?;
        if mark.is_some_and(|mark| mark.starts_with("removed ")) {
            return Ok(());
        }
        ensure!(begun.elapsed() < WAIT_TIMEOUT, "{user} is not removed");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Sends a message as bob; returns the ack or the error.
pub async fn send_as_bob(system: &ReplaySystem) -> Result<Result<Ack, ClientError>> {
    let begun = Instant::now();
    let fields =
        json!({ "room": system.room, "client_id": "b", "content": "b", "ack": "accepted", "attempt": 1 });
    loop {
        let answer = match system.stack.connect("bob").await {
            Ok(bob) => bob.send_with(fields.clone()).await,
            Err(error) => Err(error),
        };
        match answer {
            Err(error) if is_transient(&error) && begun.elapsed() < WAIT_TIMEOUT => {
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
            answer => return Ok(answer),
        }
    }
}

/// Requests the removal of a member in the background. The request is answered when the removal is stored.
pub fn spawn_removal(
    system: &ReplaySystem,
    by: &str,
    user: &'static str,
) -> tokio::task::JoinHandle<Result<u16>> {
    let (http, room) = (system.stack.http(by), system.room.clone());
    tokio::spawn(async move { Ok(http.remove_member(&room, user).await?.status) })
}

/// A member is removed, but no writer stores the removal. Then the user connects and sends.
async fn replay_removed_member_sends(system: &mut ReplaySystem) -> Result<BrokenPromise> {
    system.send_until_accepted("a").await?;
    system.suspend_writer().await?;
    let _removing = spawn_removal(system, "alice", "bob");
    until_removal_mark(system, "bob").await?;
    let answer = send_as_bob(system).await?;
    system.resume_writer().await?;
    Ok(answer.ok().map(|ack| format!("a removed member sends: {ack:?}")))
}

#[tokio::test]
async fn append_refuses_senders_with_a_removal_mark() -> Result<()> {
    let one = Removal::Text("if sender_role == REMOVED then return {'revoked'} end", "");
    let role_in_one =
        Removal::Text("if sender_role and rank(sender_role) < min_role then return {'role'} end", "");
    let many =
        Removal::Text("or role and (role == REMOVED or rank(role) < min_role) then break", "then break");
    ensure_needed(&[one, role_in_one, many], small_stack(), replay_removed_member_sends).await
}

/// A member is removed, but no writer stores the removal. Then the user connects and joins the room.
async fn replay_removed_member_joins(system: &mut ReplaySystem) -> Result<BrokenPromise> {
    system.send_until_accepted("a").await?;
    system.suspend_writer().await?;
    let _removing = spawn_removal(system, "alice", "bob");
    until_removal_mark(system, "bob").await?;
    let joined = system.connect_and_join("bob", None).await;
    system.resume_writer().await?;
    Ok(joined.is_ok().then(|| "a removed member joins".to_owned()))
}

#[tokio::test]
async fn heads_come_with_membership_marks() -> Result<()> {
    ensure_needed(
        &[Removal::Named("heads come with membership marks")],
        small_stack(),
        replay_removed_member_joins,
    )
    .await
}

/// Two owners leave. The second decision is made before the first change is stored.
async fn replay_two_owners_leave(system: &mut ReplaySystem) -> Result<BrokenPromise> {
    system.stack.http("alice").put_member(&system.room, "bob", "owner").await?.expect(200);
    system.suspend_writer().await?;
    let first = spawn_removal(system, "alice", "alice");
    until_removal_mark(system, "alice").await?;
    let run = system.evalsha_calls().await?;
    let second = spawn_removal(system, "bob", "bob");
    // Without the rule, Redis appends the second change. With the rule, Redis refuses it until the first one is stored.
    let begun = Instant::now();
    while system.evalsha_calls().await? == run {
        ensure!(begun.elapsed() < WAIT_TIMEOUT, "the second change is not appended");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    system.resume_writer().await?;
    let statuses = [first.await??, tokio::time::timeout(STORE_DEADLINE, second).await???];
    let owners = format!("SELECT count(*) FROM members WHERE room_id = '{}' AND role = 'owner'", system.room);
    let left = system.stack.database().value(&owners).await?;
    Ok((left == "0").then(|| format!("the room has no owner, answers {statuses:?}")))
}

#[tokio::test]
async fn change_after_newer_membership_change_is_stale() -> Result<()> {
    let removal = Removal::Text("if changed > upto then return {'stale', changed} end", "");
    ensure_needed(&[removal], small_stack(), replay_two_owners_leave).await
}

/// Redis loses an accepted removal. After a seed, Redis comes back with its data from before the loss.
async fn replay_lost_removal_comes_back(system: &mut ReplaySystem) -> Result<BrokenPromise> {
    system.send_until_stored("a").await?;
    system.suspend_writer().await?;
    let removing = spawn_removal(system, "alice", "bob");
    until_removal_mark(system, "bob").await?;
    // Kills the node, because it would repeat the removal in the next epoch.
    system.stack.persistence(0).kill();
    removing.abort();
    let image = system.stack.redis().image()?;
    system.stack.persistence(0).restart().await?;
    system.stack.redis().restart_empty().await?;
    system.until_seeded(2).await?;
    system.restart_redis_from(&image).await?;
    system.until_seeded(3).await?;
    system.resume_writer().await?;
    Ok(send_as_bob(system).await?.err().map(|error| format!("a member cannot send: {error}")))
}

#[tokio::test]
async fn seed_drops_marks_above_the_new_head() -> Result<()> {
    let rule = "if at and (survives == 0 or at > tonumber(seq)) then";
    let removal = Removal::Text(rule, "if at and survives == 0 then");
    ensure_needed(&[removal], small_stack(), replay_lost_removal_comes_back).await
}

/// A removed member is added again. Then Redis goes back to the time between the two changes.
async fn replay_redis_goes_back_to_a_removal(system: &mut ReplaySystem) -> Result<BrokenPromise> {
    let alice = system.stack.http("alice");
    alice.remove_member(&system.room, "bob").await?.expect(200);
    let image = system.stack.redis().image()?;
    alice.put_member(&system.room, "bob", "member").await?.expect(200);
    system.restart_redis_from(&image).await?;
    system.until_seeded(2).await?;
    Ok(send_as_bob(system).await?.err().map(|error| format!("a member cannot send: {error}")))
}

#[tokio::test]
async fn seed_drops_marks_when_postgres_is_ahead() -> Result<()> {
    let rule = "if at and (survives == 0 or at > tonumber(seq)) then";
    let removal = Removal::Text(rule, "if at and at > tonumber(seq) then");
    ensure_needed(&[removal], small_stack(), replay_redis_goes_back_to_a_removal).await
}

/// The memberships of a user are cached, and the user is removed. Then Redis goes back to the time before the removal,
/// which nobody announces again.
async fn replay_redis_goes_back_before_a_removal(system: &mut ReplaySystem) -> Result<BrokenPromise> {
    let begun = Instant::now();
    loop {
        drop(system.connect_and_join("bob", None).await?);
        let mut cached = redis::cmd("HEXISTS");
        let cached = cached.arg("rooms:{bob}").arg(system.room.as_str());
        if system.stack.redis().command(cached).await? {
            break;
        }
        ensure!(begun.elapsed() < WAIT_TIMEOUT, "the memberships of bob are not cached");
    }
    let image = system.stack.redis().image()?;
    system.stack.http("alice").remove_member(&system.room, "bob").await?.expect(200);
    system.restart_redis_from(&image).await?;
    system.until_seeded(2).await?;
    Ok(send_as_bob(system).await?.ok().map(|ack| format!("a removed member sends: {ack:?}")))
}

#[tokio::test]
async fn cached_membership_is_invalid_in_newer_epoch() -> Result<()> {
    let removal = Removal::Named("cached memberships count up to their newest epoch");
    ensure_needed(&[removal], small_stack(), replay_redis_goes_back_before_a_removal).await
}

/// A message is deleted and then edited while no writer stores the deletion.
async fn replay_deleted_message_is_edited(system: &mut ReplaySystem) -> Result<BrokenPromise> {
    let message = system.send_until_stored("a").await?;
    system.suspend_writer().await?;
    let fields = || json!({ "client_id": uuid::Uuid::now_v7().to_string(), "ack": "accepted" });
    system.alice.change("message:delete", &system.room, message.seq, fields()).await?;
    let mut edit = fields();
    edit["content"] = json!("shown again");
    let edited = system.alice.change("message:edit", &system.room, message.seq, edit).await;
    system.resume_writer().await?;
    Ok(edited.ok().map(|ack| format!("everybody receives the text of a deleted message: {ack:?}")))
}

#[tokio::test]
async fn change_after_newer_message_change_is_stale() -> Result<()> {
    let rule = "if deleted > 0 and deleted > tonumber(deletes_upto) then return {'stale', deleted} end";
    ensure_needed(&[Removal::Text(rule, "")], small_stack(), replay_deleted_message_is_edited).await
}

/// The announcement of a removal fails once. A removed user who is connected must still learn of it.
async fn replay_announcement_fails_once(system: &mut ReplaySystem) -> Result<BrokenPromise> {
    let redis = system.stack.redis();
    let bob = system.stack.connect("bob").await?;
    // A key of the wrong type makes Redis refuse the announcement, but not the watermark.
    let version = "rooms:{bob}:v";
    let _: () = redis.command(redis::cmd("DEL").arg(version)).await?;
    let _: () = redis.command(redis::cmd("RPUSH").arg(version).arg("x")).await?;
    let mut removing = spawn_removal(system, "alice", "bob");
    let begun = Instant::now();
    // Without the rule, the removal counts as stored. With the rule, the announcement is tried again.
    let is_answered = loop {
        let failed = system.stack.persistence(0).log()?.matches("changes cannot be announced yet").count();
        match tokio::time::timeout(Duration::from_millis(50), &mut removing).await {
            Ok(_) => break true,
            Err(_) if failed > 1 => break false,
            Err(_) => ensure!(begun.elapsed() < WAIT_TIMEOUT, "the removal is not stored"),
        }
    };
    let _: () = redis.command(redis::cmd("DEL").arg(version)).await?;
    let told = bob.wait_for("room:removed", STORE_DEADLINE).await;
    Ok(told.err().map(|error| format!("bob never learns of his removal (answered: {is_answered}): {error}")))
}

#[tokio::test]
async fn watermark_waits_for_announcements() -> Result<()> {
    ensure_needed(
        &[Removal::Named("the watermark waits for announcements")],
        small_stack(),
        replay_announcement_fails_once,
    )
    .await
}

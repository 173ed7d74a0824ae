//! The rules of seeds: which base an epoch begins with, and which data of an earlier epoch stay.

use anyhow::{Result, bail, ensure};
use serde_json::json;
use tidings_harness::{Cursor, ServerFrame};
use tidings_shared::{
    ids::RoomId,
    log::{SeedOutcome, keys},
};

use crate::replay::{
    BrokenPromise, FinalAnswer, Removal, ReplaySystem, WAIT_TIMEOUT, ensure_needed, small_stack,
};

/// Redis restarts with all its data while accepted messages wait to be stored.
async fn replay_redis_restarts_with_a_backlog(system: &mut ReplaySystem) -> Result<BrokenPromise> {
    system.send_until_stored("a").await?;
    system.suspend_writer().await?;
    for id in ["b", "c"] {
        system.send_until_accepted(id).await?;
    }
    system.stack.redis().restart().await?;
    system.until_seeded(2).await?;
    system.resume_writer().await?;
    let broken = system.check_stored("d").await?;
    let rows = system.stored_rows().await?;
    let lost =
        (rows != ["a", "b", "c", "d"]).then(|| format!("Redis lost nothing, and PostgreSQL holds {rows:?}"));
    Ok(broken.or(lost))
}

#[tokio::test]
async fn base_counts_what_survived_in_redis() -> Result<()> {
    let removal = Removal::Named("base counts what survived");
    ensure_needed(&[removal], small_stack(), replay_redis_restarts_with_a_backlog).await
}

/// Redis loses the accepted message `a`. After a seed, Redis comes back with its data from before the loss.
pub async fn bring_back_lost_message(system: &ReplaySystem) -> Result<()> {
    system.suspend_writer().await?;
    system.send_until_accepted("a").await?;
    let image = system.stack.redis().image()?;
    system.stack.redis().restart_empty().await?;
    system.until_seeded(2).await?;
    system.restart_redis_from(&image).await?;
    system.until_seeded(3).await?;
    system.resume_writer().await
}

async fn replay_lost_message_comes_back(system: &mut ReplaySystem) -> Result<BrokenPromise> {
    bring_back_lost_message(system).await?;
    system.check_stored("b").await
}

#[tokio::test]
async fn surviving_seq_is_limited_by_later_bases() -> Result<()> {
    let removal = Removal::Named("surviving seq is limited by later bases");
    ensure_needed(&[removal], small_stack(), replay_lost_message_comes_back).await
}

#[tokio::test]
async fn writer_leaves_out_records_above_a_later_base() -> Result<()> {
    // With this text, the statement that reads the bases of a batch finds no later epoch.
    let rule = "WHERE e.room_id = r.id AND e.epoch > $2), '') AS bases";
    let removal = Removal::Text(rule, "WHERE e.room_id = r.id AND e.epoch > $2 + 1000000), '') AS bases");
    ensure_needed(&[removal], small_stack(), replay_lost_message_comes_back).await
}

/// A lost message and a stored one have the same seq. Redis comes back with the tail that holds the lost one.
async fn replay_tail_with_a_lost_message_comes_back(system: &mut ReplaySystem) -> Result<BrokenPromise> {
    system.suspend_writer().await?;
    let lost = system.send_until_accepted("a").await?;
    let image = system.stack.redis().image()?;
    system.stack.redis().restart_empty().await?;
    system.until_seeded(2).await?;
    system.resume_writer().await?;
    let stored = system.send_until_stored("b").await?;
    ensure!((lost.seq, stored.seq) == (1, 1), "{lost:?} {stored:?}");
    system.restart_redis_from(&image).await?;
    system.until_seeded(3).await?;
    let bob = system.connect_and_join("bob", Some(&Cursor { epoch: lost.epoch, seq: 0 })).await?;
    Ok(match bob.next_of_log(WAIT_TIMEOUT).await? {
        ServerFrame::Message(message) if message.content == "a" => {
            Some(format!("bob receives the lost message: {message:?}"))
        }
        _ => None,
    })
}

#[tokio::test]
async fn tail_above_the_trusted_head_is_dropped() -> Result<()> {
    let removal = Removal::Text("if survives < 3 then", "if false then");
    ensure_needed(&[removal], small_stack(), replay_tail_with_a_lost_message_comes_back).await
}

#[tokio::test]
async fn tail_is_kept_only_with_its_complete_hash() -> Result<()> {
    let removal = Removal::Named("tail stays only with its whole hash");
    ensure_needed(&[removal], small_stack(), replay_tail_with_a_lost_message_comes_back).await
}

/// The hash of a room expires in the epoch in which the room was seeded.
async fn replay_hash_expires(system: &mut ReplaySystem) -> Result<BrokenPromise> {
    system.send_until_stored("a").await?;
    let room = RoomId::parse(&system.room)?;
    let mut delete = redis::cmd("DEL");
    let deleted: usize =
        system.stack.redis().command(delete.arg(keys::room(&room)).arg(keys::tail(&room))).await?;
    ensure!(deleted == 2, "Redis had {deleted} of the room's keys");
    system.check_stored("b").await
}

#[tokio::test]
async fn base_is_decided_once_per_epoch() -> Result<()> {
    ensure_needed(&[Removal::Named("a base is decided once per epoch")], small_stack(), replay_hash_expires)
        .await
}

/// Requests as alice that the room is archived. Returns when Redis has this head; the change is not stored.
async fn archive(system: &ReplaySystem, head: u64) -> Result<()> {
    let (http, room) = (system.stack.http("alice"), system.room.clone());
    let asking = tokio::spawn(async move { http.change_room(&room, json!({ "archived": true })).await });
    system.until_head_in_redis(head).await?;
    asking.abort();
    Ok(())
}

/// A room is archived twice, and neither change is stored. Redis goes back to its data from between the two changes,
/// and then gets its latest data again.
async fn replay_archived_room_comes_back_unstored(system: &mut ReplaySystem) -> Result<BrokenPromise> {
    system.suspend_writer().await?;
    archive(system, 1).await?;
    let earlier = system.stack.redis().image()?;
    archive(system, 2).await?;
    let later = system.stack.redis().image()?;
    system.restart_redis_from(&earlier).await?;
    system.until_seeded(2).await?;
    system.restart_redis_from(&later).await?;
    system.until_opened(3).await?;
    match system.seed_at(0, 3).await? {
        SeedOutcome::Seeded => {
            let sent = system.alice.send_with(system.message_fields("a", Some(1))).await;
            Ok(sent.ok().map(|ack| format!("an archived room accepts a message: {ack:?}")))
        }
        SeedOutcome::Later => {
            system.resume_writer().await?;
            match system.retry_until_answered("a", WAIT_TIMEOUT).await? {
                FinalAnswer::Refused => Ok(None),
                other => Ok(Some(format!("an archived room answers {other:?}"))),
            }
        }
        SeedOutcome::NoSuchRoom => bail!("the room does not exist"),
    }
}

#[tokio::test]
async fn seed_with_marks_only_waits_for_postgres() -> Result<()> {
    let removal = Removal::Named("a seed with marks only waits for PostgreSQL");
    ensure_needed(&[removal], small_stack(), replay_archived_room_comes_back_unstored).await
}

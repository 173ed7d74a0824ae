//! The rules of Redis processes: which process a service may use, and which of its data are valid.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use tidings_harness::proxy::LinkConditions;
use tidings_harness::redis::Redis;
use tidings_harness::{Http, ServerFrame};
use tidings_shared::{ids::RoomId, log::keys};

use crate::processes::{
    redirect_gateways_to, redirect_persistence_to, start_promoted_replica, start_replica,
};
use crate::replay::{
    BrokenPromise, Removal, ReplaySystem, WAIT_TIMEOUT, ensure_needed, is_transient, small_stack,
};

/// How far the clock of one Redis process is ahead.
const CLOCK_AHEAD_S: u64 = 3600;

/// Repeats a message over HTTP until it is stored. Returns false if the message is not stored at the time `until`.
pub async fn store_over_http(sender: &Http, room: &str, id: &str, until: Instant) -> Result<bool> {
    while Instant::now() < until {
        let answer = tokio::time::timeout_at(until.into(), sender.send(room, id, id)).await;
        let Ok(answer) = answer else { return Ok(false) };
        match answer?.status {
            200 | 201 => return Ok(true),
            429 | 503 => tokio::time::sleep(Duration::from_millis(20)).await,
            status => anyhow::bail!("{id} is answered with {status}"),
        }
    }
    Ok(false)
}

/// Redis goes back to the time before a stored message while the gateway cannot reach persistence.
async fn replay_redis_goes_back_behind_persistence(system: &mut ReplaySystem) -> Result<BrokenPromise> {
    for id in ["a", "b"] {
        system.send_until_stored(id).await?;
    }
    let image = system.stack.redis().image()?;
    system.send_until_stored("c").await?;
    let links = system.stack.links().gateways_persistence.first().context("a link to persistence")?;
    links.set(LinkConditions { refuses: true, ..LinkConditions::default() });
    links.cut();
    system.restart_redis_from(&image).await?;
    system.until_opened(2).await?;
    let begun = Instant::now();
    let ready = format!("{}/readyz", system.stack.gateway(0).admin());
    loop {
        match system.alice.send_with(system.message_fields("d", Some(1))).await {
            Ok(_) => break,
            Err(error) => ensure!(is_transient(&error), "{error}"),
        }
        // With the rule the gateway has no Redis session, and says why.
        if tidings_harness::http::get(&ready).await?.text().await?.contains("persistence is unavailable") {
            break;
        }
        ensure!(begun.elapsed() < WAIT_TIMEOUT, "d is not accepted, and the gateway does not say why");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    links.heal();
    system.check_stored("d").await
}

#[tokio::test]
async fn only_the_same_process_continues_its_epoch() -> Result<()> {
    let removal = Removal::Named("only the same process continues its epoch");
    ensure_needed(&[removal], small_stack().proxied(), replay_redis_goes_back_behind_persistence).await
}

/// Persistence uses another Redis process for one epoch, and then the first process again. A gateway stays at the first
/// process all the time, and has a receiver with a message that the other epoch lost.
async fn replay_gateway_hears_of_the_epoch_after_next(system: &mut ReplaySystem) -> Result<BrokenPromise> {
    let second = start_promoted_replica(&system.stack).await?;
    system.suspend_writer().await?;
    let bob = system.connect_and_join("bob", None).await?;
    let lost = system.send_until_accepted("a").await?;
    loop {
        match bob.next_of_log(WAIT_TIMEOUT).await? {
            ServerFrame::Message(message) if message.seq == lost.seq => break,
            ServerFrame::CaughtUp(_) => {}
            other => anyhow::bail!("{other:?}"),
        }
    }
    for (redis, epoch, id) in [(&second, 2, "b"), (system.stack.redis(), 3, "c")] {
        redirect_persistence_to(&system.stack, redis);
        system.until_opened(epoch).await?;
        system.resume_writer().await?;
        let alice = system.stack.http("alice");
        let is_stored = store_over_http(&alice, &system.room, id, Instant::now() + WAIT_TIMEOUT).await?;
        ensure!(is_stored, "{id} is not stored");
    }
    let rows = system.stored_rows().await?;
    ensure!(rows == ["b", "c"] && lost.seq == 1, "{rows:?}, {lost:?}");
    Ok(match bob.next_of_log(WAIT_TIMEOUT).await? {
        ServerFrame::Gap(gap) if gap.after == 0 => None,
        other => Some(format!("bob has a at 1, PostgreSQL has {rows:?}, and bob receives {other:?}")),
    })
}

#[tokio::test]
async fn hint_of_another_epoch_causes_a_refill() -> Result<()> {
    let removal = Removal::Named("hint of another epoch");
    ensure_needed(&[removal], small_stack().proxied(), replay_gateway_hears_of_the_epoch_after_next).await
}

/// Kills the Redis connection on which persistence reads the streams.
async fn kill_stream_reader(redis: &Redis) -> Result<()> {
    let begun = Instant::now();
    loop {
        let clients: String = redis.command(redis::cmd("CLIENT").arg("LIST")).await?;
        let reader = clients.lines().find(|line| line.contains(" cmd=xread "));
        if let Some(id) = reader.and_then(|line| line.strip_prefix("id=")?.split(' ').next()) {
            return redis.command::<i64>(redis::cmd("CLIENT").arg("KILL").arg("ID").arg(id)).await.map(drop);
        }
        ensure!(begun.elapsed() < WAIT_TIMEOUT, "nobody reads streams: {clients}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// The reader connects again when the address leads back to the first process, whose clock was ahead and which has a
/// message that the present epoch lost. The session is still at the second process.
async fn replay_reader_connects_to_the_first_process(system: &mut ReplaySystem) -> Result<BrokenPromise> {
    let (first, second) = (system.stack.redis(), Redis::start().await?);
    system.suspend_writer().await?;
    first.clock().shift(i64::try_from(CLOCK_AHEAD_S)?)?;
    system.send_until_accepted("a").await?;
    redirect_gateways_to(&system.stack, &second);
    redirect_persistence_to(&system.stack, &second);
    system.until_opened(2).await?;
    system.resume_writer().await?;
    system.send_until_stored("b").await?;
    let (_, of_b) = system.watermark(&second).await?;
    system.stack.links().persistence_redis().point_to(first.port());
    kill_stream_reader(&second).await?;
    let begun = Instant::now();
    // Either persistence notices that the address leads to another process, or it reads that process.
    while system.stack.database().value("SELECT max(epoch) FROM epochs_opened").await? == "2"
        && system.watermark(&second).await?.1 < of_b + CLOCK_AHEAD_S * 500
    {
        ensure!(begun.elapsed() < WAIT_TIMEOUT, "the reader does not connect again");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    redirect_persistence_to(&system.stack, &second);
    system.check_stored("c").await
}

#[tokio::test]
async fn reader_reads_from_the_process_of_the_session() -> Result<()> {
    let removal = Removal::Named("the reader reads from the session's process");
    ensure_needed(&[removal], small_stack().proxied().clocks(), replay_reader_connects_to_the_first_process)
        .await
}

/// The address of persistence leads to a replica, while a gateway appends to the primary. Then the replica is promoted
/// with all data.
async fn replay_address_leads_to_a_replica(system: &mut ReplaySystem) -> Result<BrokenPromise> {
    system.send_until_stored("a").await?;
    let second = start_replica(&system.stack).await?;
    redirect_persistence_to(&system.stack, &second);
    // Without the rule, persistence opens an epoch at the replica for this message, and decides a base of the room.
    let alice = system.stack.http("alice");
    store_over_http(&alice, &system.room, "x", Instant::now() + Duration::from_secs(3)).await?;
    let accepted = system.send_until_accepted("b").await?;
    ensure!(accepted.seq == 2, "{accepted:?}");
    let (begun, key) = (Instant::now(), keys::room(&RoomId::parse(&system.room)?));
    while second.command::<u64>(redis::cmd("HGET").arg(&key).arg("seq")).await? < accepted.seq {
        ensure!(begun.elapsed() < WAIT_TIMEOUT, "the replica does not get b");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    second.promote().await?;
    redirect_gateways_to(&system.stack, &second);
    system.send_until_stored("c").await?;
    let rows = system.stored_rows().await?;
    Ok((!rows.contains(&"b".to_owned())).then(|| format!("b is lost, though Redis has it: {rows:?}")))
}

#[tokio::test]
async fn no_epoch_is_opened_at_a_replica() -> Result<()> {
    let removal = Removal::Named("no epoch is opened at a replica");
    ensure_needed(&[removal], small_stack().proxied(), replay_address_leads_to_a_replica).await
}

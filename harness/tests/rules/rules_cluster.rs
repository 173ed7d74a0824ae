//! The rules that only a Redis Cluster needs: marks of epochs, and caches of users whose rooms are in another shard.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;
use tidings_harness::redis::{RedisCluster, RedisTopology};
use tidings_shared::log::keys::Partition;

use crate::replay::{
    BrokenPromise, Removal, ReplaySystem, WAIT_TIMEOUT, ensure_needed, is_transient, small_stack,
};
use crate::rules_members::{send_as_bob, spawn_removal};

const MASTERS: usize = 3;
/// Every fourth partition is a presence partition, to which a node sends commands at intervals.
const PRESENCE_PARTITION_STEP: u16 = 4;
/// Several heartbeats of a session.
const HEARTBEATS: Duration = Duration::from_secs(10);

fn cluster_of(replicas_per_master: usize) -> RedisTopology {
    RedisTopology::Cluster { masters: MASTERS, replicas_per_master }
}

fn cluster(system: &ReplaySystem) -> Result<&RedisCluster> {
    system.stack.shards().cluster().context("the system has one Redis")
}

async fn master_of_user(system: &ReplaySystem, user: &str) -> Result<usize> {
    cluster(system)?.master_of(Partition::of_id(user).0).await
}

/// Replaces the room of alice and bob by one whose partition is at another master than the user's, and is not a presence
/// partition. So the services send commands to this partition only for the room. Returns its master.
async fn use_room_at_other_master(system: &mut ReplaySystem, user: &str) -> Result<usize> {
    let user_master = master_of_user(system, user).await?;
    let begun = Instant::now();
    while begun.elapsed() < WAIT_TIMEOUT {
        system.room = system.stack.http("alice").new_room(&["bob"]).await?;
        let partition = system.partition()?.0;
        let master = cluster(system)?.master_of(partition).await?;
        if master != user_master && partition % PRESENCE_PARTITION_STEP != 0 {
            return Ok(master);
        }
    }
    bail!("no room is in such a partition")
}

/// Whether the memberships of a user are cached, with that of the room.
async fn is_membership_cached(system: &ReplaySystem, user: &str) -> Result<bool> {
    let key = format!("{{{:02}}}:rooms:{user}", Partition::of_id(user).0);
    system.stack.shards().command(redis::cmd("HEXISTS").arg(key).arg(system.room.as_str())).await
}

/// The slot of the room moves to another master and comes back without its data, while no service runs that could open
/// an epoch at the other master.
async fn replay_slot_returns_empty(system: &mut ReplaySystem) -> Result<BrokenPromise> {
    system.send_until_stored("a").await?;
    let (cluster, partition) = (cluster(system)?, system.partition()?.0);
    let from = cluster.master_of(partition).await?;
    let to = (from + 1) % MASTERS;
    let services = [system.stack.gateway(0), system.stack.persistence(0)];
    for service in services {
        service.pause()?;
    }
    cluster.move_slot(partition, to).await?;
    let mut list = redis::cmd("KEYS");
    let keys: Vec<String> = cluster.node(to).command(list.arg(format!("{{{partition:02}}}:*"))).await?;
    let _: usize = cluster.node(to).command(redis::cmd("DEL").arg(&keys)).await?;
    cluster.move_slot(partition, from).await?;
    for service in services {
        service.resume()?;
    }
    system.check_stored("b").await
}

#[tokio::test]
async fn mark_is_compared_when_an_epoch_is_opened() -> Result<()> {
    ensure_needed(
        &[Removal::Named("the mark is compared when an epoch is opened")],
        small_stack().redis(cluster_of(0)),
        replay_slot_returns_empty,
    )
    .await
}

/// How often the sessions of the first gateway have ended for a partition.
fn ended_sessions(system: &ReplaySystem, partition: u16) -> Result<usize> {
    let log = system.stack.gateway(0).log()?;
    let entries = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let ends_partition = |entry: &Value| {
        let ended = entry["ended"].as_str().unwrap_or_default();
        ended.trim_matches(['[', ']']).split(", ").any(|number| number.parse::<u16>() == Ok(partition))
    };
    Ok(entries.filter(ends_partition).count())
}

/// A master is demoted, and promoted again without the messages that its replacement got meanwhile. The first gateway
/// has an idle session at this master, and persistence does not run when the gateway uses the session again.
async fn replay_demoted_master_returns(system: &mut ReplaySystem) -> Result<BrokenPromise> {
    let master = use_room_at_other_master(system, "alice").await?;
    let bob = system.stack.connect_at(1, "bob").await?;
    system.send_until_stored("a").await?;
    let begun = Instant::now();
    // Later, persistence is paused and cannot answer who is a member.
    while !is_membership_cached(system, "alice").await? {
        ensure!(begun.elapsed() < WAIT_TIMEOUT, "the memberships of alice are not cached");
        system.send_until_stored(&uuid::Uuid::now_v7().to_string()).await?;
    }
    let (cluster, partition) = (cluster(system)?, system.partition()?.0);
    let (persistence, ended) = (system.stack.persistence(0), ended_sessions(system, partition)?);
    // No epoch is opened at the replacement before the replication ends.
    persistence.pause()?;
    let replacement = cluster.failover(master).await?;
    ensure!(cluster.cut_replica(replacement).await? == master, "the demoted master is a replica");
    persistence.resume()?;
    let begun = Instant::now();
    let stored = loop {
        match bob.send_as(&system.room, "c", "c").await {
            Ok(ack) => break ack,
            Err(error) => {
                ensure!(is_transient(&error) && begun.elapsed() < WAIT_TIMEOUT, "c is not stored: {error}");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    };
    // With the rule, the session of the first gateway ends with the next heartbeat.
    let begun = Instant::now();
    while ended_sessions(system, partition)? == ended && begun.elapsed() < HEARTBEATS {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    persistence.pause()?;
    cluster.promote_older(master).await?;
    let accepted = system.alice.send_with(system.message_fields("d", Some(1))).await;
    persistence.resume()?;
    let next = match accepted {
        Ok(ack) => ack,
        Err(_) => system.send_until_accepted("d").await?,
    };
    if next.seq <= stored.seq {
        return Ok(Some(format!("seq {} is given twice, in epoch {}", next.seq, next.epoch)));
    }
    system.check_stored("d").await
}

#[tokio::test]
async fn heartbeat_reads_the_marks_of_the_partitions() -> Result<()> {
    // A notice would end the session too, but notices may be lost.
    let notice = Removal::Named("a notice of a later epoch ends the session");
    let heartbeat = Removal::Named("the heartbeat reads the marks of the partitions");
    let builder = small_stack().gateways(2).redis(cluster_of(1));
    ensure_needed(&[notice, heartbeat], builder, replay_demoted_master_returns).await
}

/// Waits until persistence has no session at a shard that does not answer.
async fn until_session_is_closed(system: &ReplaySystem, closed_before: usize) -> Result<()> {
    let begun = Instant::now();
    while closed_sessions(system)? == closed_before {
        ensure!(begun.elapsed() < WAIT_TIMEOUT, "persistence keeps its session");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    Ok(())
}

fn closed_sessions(system: &ReplaySystem) -> Result<usize> {
    Ok(system.stack.persistence(0).log()?.matches("Redis session closed after a failure").count())
}

/// A member is removed while the shard of the member, which has the cached memberships, does not answer. The removal is
/// stored. Before it is announced, the writer crashes, and the shard of the room goes back to the time before the
/// removal.
async fn replay_room_goes_back_without_its_member(system: &mut ReplaySystem) -> Result<BrokenPromise> {
    let room_master = use_room_at_other_master(system, "bob").await?;
    let user_master = master_of_user(system, "bob").await?;
    ensure!(user_master != master_of_user(system, "alice").await?, "alice could not remove bob");
    let cluster = cluster(system)?;
    let (room_shard, user_shard) = (cluster.node(room_master), cluster.node(user_master));
    let begun = Instant::now();
    while !is_membership_cached(system, "bob").await? {
        ensure!(begun.elapsed() < WAIT_TIMEOUT, "the memberships of bob are not cached");
        drop(system.connect_and_join("bob", None).await?);
    }
    let (image, closed) = (room_shard.image()?, closed_sessions(system)?);
    user_shard.pause()?;
    // A command in an open connection would be run when the shard resumes.
    until_session_is_closed(system, closed).await?;
    let removing = spawn_removal(system, "alice", "bob");
    let members =
        format!("SELECT count(*) FROM members WHERE room_id = '{}' AND user_id = 'bob'", system.room);
    system.stack.database().until(&members, "0").await?;
    system.stack.persistence(0).kill();
    removing.abort();
    user_shard.resume()?;
    room_shard.restart_from(&image).await?;
    cluster.until_serving().await?;
    system.stack.persistence(0).restart().await?;
    system.until_joined().await?;
    ensure!(is_membership_cached(system, "bob").await?, "the cached memberships of bob are lost");
    Ok(send_as_bob(system).await?.ok().map(|ack| format!("a removed member sends: {ack:?}")))
}

#[tokio::test]
async fn cached_membership_is_invalid_after_loss_in_other_shard() -> Result<()> {
    ensure_needed(
        &[Removal::Named("cached memberships count up to their newest epoch")],
        small_stack().redis(cluster_of(0)),
        replay_room_goes_back_without_its_member,
    )
    .await
}

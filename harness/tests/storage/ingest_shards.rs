//! Persistence with a Redis Cluster: a shard that does not answer stops only its own partitions.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use secrecy::SecretString;
use tidings_harness::{Stack, redis::RedisCluster};
use tidings_shared::{
    ids::{ClientId, RoomId, UserId},
    internal::InternalClient,
    log::{Entry, Log, LogLimits, keys::Partition, stored::Stored},
};

use crate::room_log::WAIT_TIMEOUT;

const MASTERS: usize = 3;
const PAUSED: usize = 1;
/// How long the shard is paused. Longer than its sessions live without an answer.
const PAUSE: Duration = Duration::from_secs(8);
/// How long a message of another shard may take meanwhile.
const STORE_DEADLINE: Duration = Duration::from_secs(10);

fn message<'a>(room: &'a RoomId, alice: &'a UserId, client_id: &str) -> Entry<'a> {
    let id = uuid::Uuid::now_v7().to_string();
    let body = serde_json::json!({
        "id": id, "client_id": client_id, "sender": {"id": "alice"}, "kind": "text", "content": client_id
    });
    Entry {
        sender: Some(alice),
        client_id: ClientId::parse(client_id).ok(),
        id: Some(id),
        is_change: false,
        ..Entry::new(room, "message:new", body.to_string())
    }
}

/// Repeats a message until it is stored, as senders do.
async fn send(log: &Log, entry: &Entry<'_>) -> Result<()> {
    let begun = Instant::now();
    while begun.elapsed() < WAIT_TIMEOUT {
        if let Ok(accepted) = log.append(entry).await
            && let Stored::AsAccepted | Stored::First { .. } = log.wait_stored(entry.room, &accepted).await
        {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    bail!("{:?} was not stored within {WAIT_TIMEOUT:?}", entry.client_id)
}

/// Starts a log that uses the cluster and the stack's persistence, as a gateway does.
fn start_log(cluster: &RedisCluster, stack: &Stack) -> Result<Arc<Log>> {
    let urls: Vec<String> = stack.persistence_nodes().iter().map(|node| node.internal()).collect();
    let secret = SecretString::from(stack.internal_secret().to_owned());
    let authority = Arc::new(InternalClient::new(&urls, secret)?);
    let limits =
        LogLimits { max_backlog_records: 10_000, max_backlog_bytes: LogLimits::DEFAULT_BACKLOG_BYTES };
    Ok(Log::start(tidings_shared::log::client(&cluster.node(0).url())?, authority, limits))
}

/// Creates one room at each master.
async fn create_rooms(cluster: &RedisCluster, stack: &Stack) -> Result<Vec<RoomId>> {
    let mut rooms = vec![None; MASTERS];
    while rooms.iter().any(Option::is_none) {
        let room = RoomId::parse(&stack.http("alice").new_room(&["bob"]).await?)?;
        let master = cluster.master_of(Partition::of(&room).0).await?;
        rooms[master] = Some(room);
    }
    Ok(rooms.into_iter().flatten().collect())
}

#[tokio::test]
async fn paused_shard_delays_only_its_partitions() -> Result<()> {
    let cluster = RedisCluster::start(MASTERS, 0).await?;
    let builder = Stack::builder().gateways(0).persistence(1);
    let stack = builder.persistence_env("REDIS_URL", cluster.node(0).url()).start().await?;
    let (log, alice) = (start_log(&cluster, &stack)?, UserId::parse("alice")?);
    let rooms = create_rooms(&cluster, &stack).await?;
    for room in &rooms {
        send(&log, &message(room, &alice, "first")).await?;
    }
    // The record may be written while the watermark can no longer be written.
    let delayed = message(&rooms[PAUSED], &alice, "second");
    log.append(&delayed).await.context("the shard answers")?;
    cluster.node(PAUSED).pause()?;
    let begun = Instant::now();
    let mut sent = 1;
    while begun.elapsed() < PAUSE {
        sent += 1;
        for (_, room) in rooms.iter().enumerate().filter(|(master, _)| *master != PAUSED) {
            let begun = Instant::now();
            send(&log, &message(room, &alice, &format!("next{sent}"))).await?;
            ensure!(begun.elapsed() < STORE_DEADLINE, "a message waited {:?}", begun.elapsed());
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    cluster.node(PAUSED).resume()?;
    send(&log, &delayed).await?;
    for (master, room) in rooms.iter().enumerate() {
        let expected = if master == PAUSED { 2 } else { sent };
        let count = format!("SELECT count(*) FROM messages WHERE room_id = '{room}'");
        let stored = stack.database().value(&count).await?;
        ensure!(stored == expected.to_string(), "{stored} of {expected} messages of shard {master}");
    }
    Ok(())
}

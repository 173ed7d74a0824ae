//! An installation moves from one Redis to an empty Redis Cluster, by the steps of docs/OPERATIONS.md. Meanwhile a
//! conversation is played, and accepted messages wait to be stored.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use futures_util::future::try_join_all;
use serde_json::json;
use tidings_harness::play::run::{PlayOptions, Progress, Speed, run_conversations};
use tidings_harness::play::transcript::{Act, Conversation, Line};
use tidings_harness::redis::{Redis, RedisTopology, Shards};
use tidings_harness::{Node, Nodes, Stack};
use tidings_shared::log::keys::{PARTITIONS, Partition};

use crate::draining::{WAIT_TIMEOUT, metric};

const ROOMS: u64 = 2;
/// Members of each room.
const ROOM_MEMBERS: u64 = 5;
/// Messages of each member, with this pause between two of them.
const MESSAGES_PER_MEMBER: u64 = 40;
const LINE_PAUSE_MS: u64 = 250;
/// Number of stored messages after which the move begins.
const STORED_BEFORE_MOVE: usize = 100;
/// Messages that are accepted while nobody can store them.
const ACCEPTED_MESSAGES: usize = 20;
/// Longer than two measurements of the backlog.
const SETTLED_TIME: Duration = Duration::from_secs(5);
const POLL_INTERVAL: Duration = Duration::from_millis(100);

fn conversations() -> BTreeMap<String, Conversation> {
    let line = |person: u64, number: u64| Line {
        at_ms: number * LINE_PAUSE_MS + person,
        act: Act::Say(format!("{person} says {number}")),
    };
    let room = |number: u64| {
        let lines = |person: u64| (0..MESSAGES_PER_MEMBER).map(|at| line(person, at)).collect::<Vec<_>>();
        let people =
            (0..ROOM_MEMBERS).map(|person| (format!("user-{number}-{person}"), lines(person))).collect();
        (format!("room-{number}"), Conversation { people })
    };
    (0..ROOMS).map(room).collect()
}

async fn until_stored(progress: &Progress, messages: usize) -> Result<()> {
    let begun = Instant::now();
    while progress.stored() < messages {
        ensure!(begun.elapsed() < WAIT_TIMEOUT, "only {} messages are stored", progress.stored());
        tokio::time::sleep(POLL_INTERVAL).await;
    }
    Ok(())
}

/// Sends messages while no writer owns a partition, so they are only in Redis when the move begins. Returns their room.
async fn accept_messages_without_writer(stack: &Stack) -> Result<String> {
    let room = stack.http("alice").new_room(&["bob"]).await?;
    let alice = stack.connect("alice").await?;
    let away = "UPDATE partitions SET owner = 'away', token = token + 1, \
                lease_until = clock_timestamp() + interval '3 seconds'";
    stack.database().query(away).await?;
    for number in 0..ACCEPTED_MESSAGES {
        let id = format!("accepted-{number}");
        let fields = json!({ "room": room, "client_id": id, "content": id, "ack": "accepted", "attempt": 1 });
        alice.send_with(fields).await?;
    }
    Ok(room)
}

/// Waits until persistence has owned all partitions without a backlog for some time.
async fn until_backlog_is_stored(stack: &Stack) -> Result<()> {
    let (begun, mut settled_since) = (Instant::now(), None);
    loop {
        let (mut leases, mut backlog) = (0.0, 0.0);
        for node in stack.persistence_nodes() {
            leases += metric(node, "tidings_persistence_leases").await?;
            // A replica that has not measured yet, or owns no partition, has no value.
            backlog += metric(node, "tidings_persistence_backlog_records").await.unwrap_or_default();
        }
        if leases < f64::from(PARTITIONS) || backlog > 0.0 {
            settled_since = None;
        } else if settled_since.get_or_insert_with(Instant::now).elapsed() > SETTLED_TIME {
            return Ok(());
        }
        ensure!(begun.elapsed() < WAIT_TIMEOUT, "{leases} partitions have an owner, {backlog} records wait");
        tokio::time::sleep(POLL_INTERVAL).await;
    }
}

/// The partitions whose last record is above the watermark of stored records.
async fn partitions_with_backlog(redis: &Redis) -> Result<Vec<u16>> {
    let mut found = Vec::new();
    for partition in Partition::all() {
        let mut read = redis::cmd("XREVRANGE");
        read.arg(partition.ingest()).arg("+").arg("-").arg("COUNT").arg(1);
        let last: Vec<(String, Vec<String>)> = redis.command(&read).await?;
        let watermark: Option<String> = redis.command(redis::cmd("GET").arg(partition.stored())).await?;
        let stored = watermark.as_deref().and_then(|watermark| watermark.split(' ').nth(1));
        if last.first().is_some_and(|(id, _)| stored != Some(id.as_str())) {
            found.push(partition.0);
        }
    }
    Ok(found)
}

/// The steps of docs/OPERATIONS.md.
async fn move_to(stack: &mut Stack, cluster: Shards) -> Result<()> {
    try_join_all(stack.gateways().iter().map(Node::stop)).await?;
    until_backlog_is_stored(stack).await?;
    try_join_all(stack.persistence_nodes().iter().map(Node::stop)).await?;
    let found = partitions_with_backlog(stack.redis()).await?;
    ensure!(found.is_empty(), "records of the partitions {found:?} are not stored");
    stack.restart_on(cluster).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "long: a conversation over two systems"]
async fn conversation_moves_to_a_cluster_without_loss() -> Result<()> {
    let builder = Stack::builder().gateways(2).redis(RedisTopology::Single);
    let builder = builder.persistence_env("TIDINGS_LEASE_MS", 1000);
    let builder = builder.gateway_env("TIDINGS_MESSAGES_BURST", 1000);
    let mut stack = builder.gateway_env("TIDINGS_MESSAGES_PER_SECOND", 1000).start().await?;
    let topology = RedisTopology::Cluster { masters: 3, replicas_per_master: 0 };
    let cluster = Shards::start_in(stack.folder(), topology).await?;
    let (nodes, progress) = (Nodes::of(&stack), Progress::default());
    let options = PlayOptions::new(Speed::Times(1.0), 1);
    let playing = run_conversations(conversations(), options, nodes, &progress);
    let moving = async {
        until_stored(&progress, STORED_BEFORE_MOVE).await?;
        let room = accept_messages_without_writer(&stack).await?;
        move_to(&mut stack, cluster).await?;
        anyhow::Ok((room, progress.stored()))
    };
    let (played, (room, stored_before)) = tokio::try_join!(playing, moving)?;
    let (report, verdict) = played.evaluate().await;
    println!("{}", serde_json::to_string(&report)?);
    println!("{stored_before} messages before the move ended, longest send {:?}", played.longest_send());
    ensure!(verdict.is_clean(), "{verdict:#?}");
    ensure!(report.messages == ROOMS * ROOM_MEMBERS * MESSAGES_PER_MEMBER, "{report:?}");
    ensure!(stored_before < progress.total(), "the conversation ended before the move");
    let messages = format!("SELECT count(*) FROM messages WHERE room_id = '{room}'");
    let stored = stack.database().value(&messages).await?;
    ensure!(
        stored == ACCEPTED_MESSAGES.to_string(),
        "{stored} of {ACCEPTED_MESSAGES} accepted messages are stored"
    );
    Ok(())
}

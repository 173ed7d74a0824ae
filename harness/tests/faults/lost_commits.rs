//! PostgreSQL is restored to an earlier point in time while Redis keeps its data. The services notice it, answer nothing
//! `stored` that PostgreSQL does not have, and continue from PostgreSQL's heads after the job `after-restore`.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use tidings_harness::frames::{Ack, Gap};
use tidings_harness::redis::{RedisTopology, Shards};
use tidings_harness::{Client, ClientError, Cursor, ServerFrame, Stack};
use tidings_shared::ids::RoomId;
use tidings_shared::log::keys::Partition;

use crate::restored_postgres::{after_restore, copy_postgres, restore_postgres, until_noticed};

const WAIT_TIMEOUT: Duration = Duration::from_secs(60);

/// What happens to Redis between the restore and the job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum RedisMeanwhile {
    Runs,
    RestartsWithData,
}

async fn send_until_stored(client: &Client, room: &str, text: &str) -> Result<Ack> {
    let begun = Instant::now();
    while begun.elapsed() < WAIT_TIMEOUT {
        match client.send_as(room, text, text).await {
            Ok(ack) => return Ok(ack),
            Err(ClientError::Answered(error))
                if matches!(error.code.as_str(), "unavailable" | "overloaded") =>
            {
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
            Err(error) => return Err(error.into()),
        }
    }
    anyhow::bail!("{text} was never stored")
}

async fn stored_contents(stack: &Stack, room: &str) -> Result<Vec<String>> {
    let page = stack.http("alice").messages(room, "limit=200").await?.expect(200).body;
    let messages = page["messages"].as_array().cloned().unwrap_or_default();
    ensure!(messages.iter().zip(1_u64..).all(|(message, seq)| message["seq"] == seq), "a hole: {page}");
    Ok(messages.iter().map(|message| message["content"].as_str().unwrap_or_default().to_owned()).collect())
}

/// Reads events of a live connection until a gap, or until a message with this content. The gap may cover the message.
async fn gap_or_message(client: &Client, content: &str) -> Result<Option<u64>> {
    loop {
        match client.next_of_log(WAIT_TIMEOUT).await? {
            ServerFrame::Message(message) if message.content == content => return Ok(None),
            ServerFrame::Gap(Gap { after, .. }) => return Ok(Some(after)),
            _ => {}
        }
    }
}

/// Waits until `/readyz` of the first persistence replica answers 200, or until it does not. Its owner leaves a closed
/// partition a moment after the metric counts it.
async fn until_readiness_is(stack: &Stack, ready: bool) -> Result<()> {
    let (begun, url) = (Instant::now(), format!("{}/readyz", stack.persistence(0).admin()));
    while (tidings_harness::http::get(&url).await?.status() == 200) != ready {
        ensure!(begun.elapsed() < WAIT_TIMEOUT, "/readyz answers 200: {}", !ready);
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    Ok(())
}

async fn restore_and_continue(stack: &Stack, meanwhile: RedisMeanwhile) -> Result<()> {
    let run_job = async || after_restore(stack, stack.database().url(), &[]).await;
    let room = stack.http("alice").new_room(&["bob"]).await?;
    let (alice, bob) = (stack.connect_at(0, "alice").await?, stack.connect_at(1, "bob").await?);
    bob.join_and_catch_up(&room).await?;
    for text in ["a1", "a2", "a3"] {
        send_until_stored(&alice, &room, text).await?;
    }
    ensure!(run_job().await?.status.code() == Some(3), "nothing went back yet");
    let copy = copy_postgres(stack).await?;
    let mut lost = None;
    for text in ["b1", "b2"] {
        lost = Some(send_until_stored(&alice, &room, text).await?);
    }
    let lost = lost.context("a message was stored")?;
    ensure!(gap_or_message(&bob, "b2").await?.is_none());

    restore_postgres(stack, &copy).await?;
    if meanwhile == RedisMeanwhile::RestartsWithData {
        stack.shards().restart().await?;
    }
    until_noticed(stack, true).await?;
    for text in ["b1", "b2", "a1", "c0"] {
        let answer = tokio::time::timeout(Duration::from_secs(3), alice.send_as(&room, text, text)).await;
        // PostgreSQL has a1, so it may be answered.
        ensure!(
            text == "a1" || !matches!(answer, Ok(Ok(_))),
            "{text} is not stored, but answered {answer:?}"
        );
    }
    // Without the partition, a cluster serves the others.
    let is_cluster = matches!(stack.shards(), Shards::Cluster(_));
    until_readiness_is(stack, is_cluster).await?;

    let job = run_job().await?;
    ensure!(job.status.success(), "{job:?}");
    ensure!(run_job().await?.status.code() == Some(3), "the job ran already");
    let resent = send_until_stored(&alice, &room, "b2").await?;
    ensure!((lost.seq, resent.seq) == (5, 4) && lost.epoch != resent.epoch, "{lost:?}, {resent:?}");
    send_until_stored(&alice, &room, "c1").await?;
    ensure!(send_until_stored(&alice, &room, "b2").await?.seq == 4, "a repetition is one message");
    let contents = stored_contents(stack, &room).await?;
    ensure!(contents.starts_with(&["a1", "a2", "a3", "b2"].map(str::to_owned)), "{contents:?}");
    ensure!(contents.iter().filter(|content| *content == "c1").count() == 1, "{contents:?}");

    // The live receiver held b1 and b2 at 4 and 5, and is told so.
    ensure!(gap_or_message(&bob, "c1").await? == Some(3), "the live receiver is not told");
    let beyond = stack.connect_at(1, "bob").await?;
    beyond.join_after(&room, &Cursor { epoch: lost.epoch.clone(), seq: lost.seq }).await?;
    match beyond.next_of_log(WAIT_TIMEOUT).await? {
        ServerFrame::Gap(gap) => ensure!(gap.after == 3 && gap.head.epoch != lost.epoch, "{gap:?}"),
        other => anyhow::bail!("a lost cursor is continued: {other:?}"),
    }
    until_noticed(stack, false).await?;
    for node in stack.persistence_nodes() {
        node.until_ready().await?;
        ensure!(!node.log()?.contains("panicked"));
    }
    Ok(())
}

#[tokio::test]
async fn restored_postgres_is_detected_and_rooms_continue() -> Result<()> {
    let stack = Stack::builder().own_postgres().gateways(2).start().await?;
    restore_and_continue(&stack, RedisMeanwhile::Runs).await
}

#[tokio::test]
async fn restored_postgres_is_noticed_after_redis_restart() -> Result<()> {
    let stack = Stack::builder().own_postgres().gateways(2).start().await?;
    restore_and_continue(&stack, RedisMeanwhile::RestartsWithData).await
}

#[tokio::test]
async fn restored_postgres_is_noticed_with_redis_cluster() -> Result<()> {
    let topology = RedisTopology::Cluster { masters: 3, replicas_per_master: 0 };
    let stack = Stack::builder().own_postgres().gateways(2).redis(topology).start().await?;
    restore_and_continue(&stack, RedisMeanwhile::Runs).await
}

/// A watermark that is ahead of PostgreSQL, while a job holds the rows of the partitions, is no loss.
#[tokio::test]
async fn partition_that_a_job_has_locked_is_not_closed() -> Result<()> {
    let stack = Stack::builder().own_postgres().gateways(1).start().await?;
    let room = stack.http("alice").new_room(&["bob"]).await?;
    let alice = stack.connect("alice").await?;
    send_until_stored(&alice, &room, "a").await?;
    // Lower than the time in seconds, which a closed partition would get.
    let epoch = 1_000_000;
    let key = Partition::of(&RoomId::parse(&room)?).stored();
    // As the job: the rows are locked, Redis gets the new epoch, and PostgreSQL has it only after the commit.
    let job = format!(
        "BEGIN; SELECT FROM partitions FOR UPDATE; SELECT pg_sleep(8); UPDATE partitions SET epoch = {epoch}; COMMIT"
    );
    let reopen = async {
        stack.database().until_asleep().await?;
        let mut set = redis::cmd("SET");
        stack.redis().command::<()>(set.arg(&key).arg(format!("{epoch} 0-0"))).await
    };
    tokio::try_join!(stack.database().query(&job), reopen)?;
    tokio::time::sleep(Duration::from_secs(5)).await;
    let metrics = stack.persistence(0).metrics().await?;
    ensure!(metrics.contains("tidings_persistence_lost_commit_partitions 0\n"), "it was closed");
    let watermark: Option<String> = stack.redis().command(redis::cmd("GET").arg(&key)).await?;
    ensure!(
        watermark.is_some_and(|held| held.starts_with(&format!("{epoch} "))),
        "the watermark was replaced"
    );
    Ok(())
}

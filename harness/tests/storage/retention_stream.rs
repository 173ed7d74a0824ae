//! `tidings-persistence retain` in an idle partition: old records leave Redis too, also the last record of a partition,
//! which normally stays until another one follows. An edit that is stored after its message was emptied is removed too.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use reqwest::Method;
use serde_json::json;
use tidings_harness::{Stack, node};
use tidings_shared::{ids::RoomId, log::keys::Partition};

use crate::room_log::hold_partition;

const WAIT_TIMEOUT: Duration = Duration::from_secs(30);

/// The contents of all Redis streams whose keys match, as text.
async fn stream_contents(stack: &Stack, keys: &str) -> Result<String> {
    let mut connection = redis::Client::open(stack.redis().url())?.get_multiplexed_async_connection().await?;
    let keys: Vec<String> = redis::cmd("KEYS").arg(keys).query_async(&mut connection).await?;
    let mut dump = String::new();
    for key in keys {
        let entries: redis::Value =
            redis::cmd("XRANGE").arg(&key).arg("-").arg("+").query_async(&mut connection).await?;
        dump.push_str(&format!("{entries:?}"));
    }
    Ok(dump)
}

#[tokio::test]
async fn last_record_of_partition_leaves_stream_when_old() -> Result<()> {
    let stack = Stack::builder().gateways(0).start().await?;
    let alice = stack.http("alice");
    let room = alice.new_room(&[]).await?;
    alice.send(&room, "one", "forgotten words").await?.expect(201);
    let is_old = "SELECT now() > max(at) + interval '2 seconds' FROM messages";
    let begun = Instant::now();
    while stack.database().value(is_old).await? != "t" {
        ensure!(begun.elapsed() < WAIT_TIMEOUT, "the message does not get old");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    for keys in ["*:ingest", "*:tail:*"] {
        ensure!(
            stream_contents(&stack, keys).await?.contains("forgotten words"),
            "the message is not in {keys} at first"
        );
    }
    let mut job = tokio::process::Command::new(node::program("tidings-persistence")?);
    job.args(["retain", "--older-than", "1s", "--drop", "--database-url", stack.database().url()]);
    let output = job.args(["--redis-url", &stack.redis().url()]).output().await?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    for keys in ["*:ingest", "*:tail:*"] {
        let left = stream_contents(&stack, keys).await?;
        ensure!(!left.contains("forgotten"), "{keys}: {left}");
    }
    let contents = stack.database().query("SELECT content FROM messages").await?;
    ensure!(contents == [[""]], "{contents:?}");
    ensure!(alice.send(&room, "two", "new words").await?.expect(201).body["seq"] == 2);
    Ok(())
}

#[tokio::test]
async fn edit_stored_after_retention_leaves_no_text() -> Result<()> {
    let stack = Stack::builder().gateways(0).start().await?;
    let alice = stack.http("alice");
    let room = alice.new_room(&[]).await?;
    alice.send(&room, "one", "old words").await?.expect(201);
    stack.database().query("UPDATE messages SET at = at - interval '200 days'").await?;
    // The edit is accepted, but cannot be stored before retention is done.
    let held = hold_partition(&stack, Partition::of(&RoomId::parse(&room)?), 8.0).await?;
    let edit = json!({"content": "late words"});
    let path = format!("/rooms/{room}/messages/1");
    let editing = tokio::spawn({
        let (alice, path) = (alice.clone(), path.clone());
        async move { alice.request(Method::PATCH, &path, Some(edit)).await }
    });
    let begun = Instant::now();
    while !stream_contents(&stack, "*:ingest").await?.contains("late words") {
        ensure!(begun.elapsed() < WAIT_TIMEOUT, "the edit was not accepted");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let retained = tokio::process::Command::new(node::program("tidings-persistence")?)
        .args(["retain", "--older-than", "180d", "--drop"])
        .args(["--database-url", stack.database().url(), "--redis-url", &stack.redis().url()])
        .output()
        .await?;
    ensure!(retained.status.success(), "{}", String::from_utf8_lossy(&retained.stderr));
    ensure!(!editing.is_finished(), "the edit was stored before retention");
    held.await?;
    editing.await??.expect(200);
    let stored = "SELECT m::text FROM messages m UNION ALL SELECT e::text FROM events e UNION ALL \
                  SELECT v::text FROM message_versions v";
    let stored = stack.database().query(stored).await?.concat().join("\n");
    ensure!(!stored.contains("words"), "{stored}");
    let shown = alice.get(&path).await?.expect(200).body;
    ensure!(shown["deleted"] == true && shown["content"] == "", "{shown}");
    let log = alice.events(&room, "").await?.expect(200).body;
    ensure!(log["events"][1]["type"] == "void" && log["events"][1]["seq"] == 2, "{log}");
    // The partition stores messages again.
    alice.send(&room, "two", "young").await?.expect(201);
    Ok(())
}

//! `tidings-persistence retain` in an idle partition: old records leave Redis too, including the last record of a
//! partition, which normally stays until another one follows.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use tidings_harness::{Stack, node};

const PATIENCE: Duration = Duration::from_secs(30);

/// The contents of all Redis streams whose keys match, as text.
async fn streams(stack: &Stack, keys: &str) -> Result<String> {
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
        ensure!(begun.elapsed() < PATIENCE, "the message does not get old");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    for keys in ["*:ingest", "*:tail:*"] {
        ensure!(
            streams(&stack, keys).await?.contains("forgotten words"),
            "the message is not in {keys} at first"
        );
    }
    let mut job = tokio::process::Command::new(node::program("tidings-persistence")?);
    job.args(["retain", "--older-than", "1s", "--drop", "--database-url", stack.database().url()]);
    let output = job.args(["--redis-url", &stack.redis().url()]).output().await?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    for keys in ["*:ingest", "*:tail:*"] {
        let left = streams(&stack, keys).await?;
        ensure!(!left.contains("forgotten"), "{keys}: {left}");
    }
    let contents = stack.database().query("SELECT content FROM messages").await?;
    ensure!(contents == [[""]], "{contents:?}");
    ensure!(alice.send(&room, "two", "new words").await?.expect(201).body["seq"] == 2);
    Ok(())
}

//! The metrics of the Redis shards: partitions without a session, commands that were refused for lack of replicas, and the
//! records of each shard that are stored or still wait.

use anyhow::{Context, Result, ensure};
use tidings_harness::Stack;
use tidings_harness::redis::RedisTopology;

use crate::telemetry_metrics::{metric_value, until_metric};

/// The series of a metric for the shard on this port of 127.0.0.1.
fn of_shard(metric: &str, port: u16) -> String {
    format!("{metric}{{shard=\"127.0.0.1:{port}\"}}")
}

fn partitions(port: u16, state: &str) -> String {
    format!("tidings_gateway_shard_partitions{{shard=\"127.0.0.1:{port}\",state=\"{state}\"}}")
}

#[tokio::test]
async fn refusals_without_replicas_are_counted_by_shard() -> Result<()> {
    let stack = Stack::builder().redis(RedisTopology::Single).start().await?;
    let room = stack.http("ann").new_room(&[]).await?;
    let ann = stack.connect("ann").await?;
    ann.join_and_catch_up(&room).await?;
    ann.send(&room, "hello").await?;
    let gateway = stack.gateway(0);
    let refused = of_shard("tidings_gateway_noreplicas_total", stack.redis().port());
    until_metric(gateway, &refused, 0.0).await?;
    until_metric(gateway, &partitions(stack.redis().port(), "open"), 64.0).await?;

    let setting = |replicas: u8| {
        let mut set = redis::cmd("CONFIG");
        set.arg("SET").arg("min-replicas-to-write").arg(replicas);
        set
    };
    stack.redis().command::<()>(&setting(1)).await?;
    let error = ann.send(&room, "without a replica").await.err().context("Redis has no replica")?;
    ensure!(error.code() == "unavailable", "{error}");
    let count = metric_value(&gateway.metrics().await?, &refused);
    ensure!(count.is_some_and(|count| count >= 1.0), "{count:?}");
    stack.redis().command::<()>(&setting(0)).await?;
    ann.send(&room, "hello again").await?;
    ensure!(!gateway.log()?.contains("Redis session closed"), "the refusal ended the session");
    Ok(())
}

#[tokio::test]
async fn partitions_of_a_dead_shard_are_reported_as_missing() -> Result<()> {
    let layout = RedisTopology::Cluster { masters: 3, replicas_per_master: 0 };
    let stack = Stack::builder().redis(layout).start().await?;
    let (gateway, persistence) = (stack.gateway(0), stack.persistence(0));
    let masters = stack.shards().nodes();
    for master in masters {
        until_metric(gateway, &partitions(master.port(), "missing"), 0.0).await?;
    }
    let room = stack.http("ann").new_room(&[]).await?;
    let ann = stack.connect("ann").await?;
    ann.join_and_catch_up(&room).await?;
    ann.send(&room, "hello").await?;
    let owner = stack.redis_of(&room).await?;
    let stored = of_shard("tidings_persistence_records_total", owner.port());
    let stored = metric_value(&persistence.metrics().await?, &stored);
    ensure!(stored.is_some_and(|count| count >= 1.0), "{stored:?}");
    until_metric(persistence, &of_shard("tidings_persistence_backlog_records", owner.port()), 0.0).await?;

    let page = gateway.metrics().await?;
    let owned = metric_value(&page, &partitions(owner.port(), "open")).context("no open partitions")?;
    ensure!((21.0..=22.0).contains(&owned), "{owned}");
    owner.kill();
    until_metric(gateway, &partitions(owner.port(), "missing"), owned).await?;
    for master in masters.iter().filter(|master| master.port() != owner.port()) {
        until_metric(gateway, &partitions(master.port(), "missing"), 0.0).await?;
    }
    Ok(())
}

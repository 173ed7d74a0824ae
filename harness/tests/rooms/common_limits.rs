//! The buckets of rate limits that all gateways have in common, on a real Redis.

use std::{num::NonZeroU32, time::Duration};

use anyhow::{Context, Result, ensure};
use tidings_harness::redis::Redis;
use tidings_shared::{
    ids::UserId,
    log::{Layout, RedisConnection},
    rate::{Rate, SpentTokens, report_spent_tokens},
};

#[tokio::test]
async fn limit_with_long_burst_makes_its_user_wait() -> Result<()> {
    let redis = Redis::start().await?;
    let connection = redis::Client::open(redis.url())?.get_multiplexed_async_connection().await?;
    let mut connection = RedisConnection::new(connection, Layout::Single);
    let count = |count| NonZeroU32::new(count).unwrap();
    // An empty bucket becomes full after 200 s.
    let rate = Rate { per_second: count(1), burst: count(200) };
    let mut spend = async |user: &str, count: u32| -> Result<u64> {
        let spent = [SpentTokens { user: UserId::parse(user)?, kind: "messages", count }];
        let waits = report_spent_tokens(&mut connection, &spent, Duration::ZERO, rate).await?;
        Ok(waits.first().context("no answer")?.as_secs())
    };
    ensure!(spend("alice", 150).await? == 0, "the burst is not spent");
    let wait = spend("alice", 150).await?;
    ensure!((90..=100).contains(&wait), "alice waits {wait} s");
    // No wait is longer than two minutes.
    let wait = spend("alice", 1_000).await?;
    ensure!((110..=120).contains(&wait), "alice waits {wait} s");
    ensure!(spend("}bob", 150).await? == 0, "bob pays for alice");
    Ok(())
}

//! Starts a second Redis process, and redirects services to one of the two.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use tidings_harness::Stack;
use tidings_harness::redis::Redis;

use crate::replay::WAIT_TIMEOUT;

/// Starts a replica of the stack's Redis, and waits until it has all data.
pub async fn start_replica(stack: &Stack) -> Result<Redis> {
    let (first, second) = (stack.redis(), Redis::start().await?);
    // Without this setting, a primary waits 5 s for more replicas.
    let delay = redis::cmd("CONFIG").arg("SET").arg("repl-diskless-sync-delay").arg(0).to_owned();
    let _: () = first.command(&delay).await?;
    let _: () = second.command(redis::cmd("REPLICAOF").arg("127.0.0.1").arg(first.port())).await?;
    let begun = Instant::now();
    while !second.is_in_sync().await {
        ensure!(begun.elapsed() < WAIT_TIMEOUT, "the second process does not get in step");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    Ok(second)
}

/// Starts a replica of the stack's Redis and promotes it, so that both processes accept writes.
pub async fn start_promoted_replica(stack: &Stack) -> Result<Redis> {
    let second = start_replica(stack).await?;
    second.promote().await?;
    Ok(second)
}

/// Ends all Redis connections of gateways, and redirects new ones to this process.
pub fn redirect_gateways_to(stack: &Stack, redis: &Redis) {
    stack.links().gateways_redis().point_to(redis.port());
    stack.links().gateways_redis().cut();
}

/// Ends all Redis connections of persistence, and redirects new ones to this process.
pub fn redirect_persistence_to(stack: &Stack, redis: &Redis) {
    stack.links().persistence_redis().point_to(redis.port());
    stack.links().persistence_redis().cut();
}

//! The name of a node appears where operators look for it: in the list of clients of Redis and in `replicas`.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use tidings_harness::Stack;

const WAIT_TIMEOUT: Duration = Duration::from_secs(20);

#[tokio::test]
async fn redis_connections_and_replica_have_the_name_of_their_node() -> Result<()> {
    let stack = Stack::builder()
        .gateway_env("TIDINGS_NODE", "gateway one")
        .persistence_env("TIDINGS_NODE", "store-1")
        .start()
        .await?;
    let begun = Instant::now();
    loop {
        let clients: String = stack.redis().command(redis::cmd("CLIENT").arg("LIST")).await?;
        let count = |name: &str, is_subscriber: bool| {
            let has_name = |line: &&str| line.contains(&format!(" name={name} "));
            let subscribes = |line: &&str| !line.contains(" sub=0 ") || !line.contains(" ssub=0 ");
            clients.lines().filter(has_name).filter(|line| subscribes(line) == is_subscriber).count()
        };
        let names = ["tidings-gateway:gateway_one", "tidings-persistence:store-1"];
        // A shard has a connection for scripts and one for reads.
        if names.iter().all(|name| count(name, false) >= 2 && count(name, true) >= 1) {
            break;
        }
        ensure!(begun.elapsed() < WAIT_TIMEOUT, "{clients}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let replica = stack.database().value("SELECT id FROM replicas").await?;
    ensure!(replica.starts_with("store-1/"), "{replica}");
    Ok(())
}

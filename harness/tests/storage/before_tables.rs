//! A persistence replica starts before its tables exist, as in a rollout with a long migration.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use tidings_harness::folder::Folder;
use tidings_harness::postgres::Postgres;
use tidings_harness::redis::Redis;
use tidings_harness::{Node, Ports, Service, http, stack, token};
use tokio::net::TcpStream;

const WAIT_TIMEOUT: Duration = Duration::from_secs(20);

#[tokio::test]
async fn persistence_waits_for_tables_before_it_listens() -> Result<()> {
    let (database, redis) = (Postgres::shared().await?.database().await?, Redis::start().await?);
    let (folder, ports) = (Folder::new()?, Ports::free()?);
    let settings = [
        ("DATABASE_URL", database.url().to_owned()),
        ("REDIS_URL", redis.url()),
        ("TIDINGS_JWT_SECRET", token::secret()),
        ("TIDINGS_INTERNAL_SECRET", token::secret()),
    ]
    .map(|(name, value)| (name.to_owned(), value));
    let asked = async |path: &str| {
        let answer = http::client().get(format!("http://127.0.0.1:{}{path}", ports.admin)).send().await;
        answer.map(|answer| answer.status().as_u16()).unwrap_or_default()
    };
    let watching = async {
        let begun = Instant::now();
        while asked("/healthz").await != 200 {
            ensure!(begun.elapsed() < WAIT_TIMEOUT, "the node is not alive");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        ensure!(asked("/readyz").await == 503, "ready without tables");
        for port in [ports.public, ports.internal] {
            let refused = TcpStream::connect(("127.0.0.1", port)).await;
            ensure!(refused.is_err(), "{port}: a connection is accepted before the tables exist");
        }
        stack::migrate(database.url()).await
    };
    let starting = Node::start_on(ports, Service::Persistence, folder.path(), "persistence", &settings);
    let (node, watched) = tokio::join!(starting, watching);
    watched?;
    let node = node?;
    http::get(&format!("{}/v1/openapi.json", node.url())).await?;
    for port in [ports.public, ports.internal] {
        TcpStream::connect(("127.0.0.1", port)).await?;
    }
    ensure!(node.log()?.contains("waiting for the tables of the database"));
    Ok(())
}

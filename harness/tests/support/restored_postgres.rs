//! PostgreSQL that is restored to an earlier copy of its data while Redis keeps its own.

use std::path::{Path, PathBuf};
use std::process::Output;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use tidings_harness::{Stack, node};

const WAIT_TIMEOUT: Duration = Duration::from_secs(60);

/// Stops PostgreSQL, copies its data, and starts it again. Returns the folder of the copy.
pub async fn copy_postgres(stack: &Stack) -> Result<PathBuf> {
    let (server, copy) = (stack.database().server(), stack.folder().join("copy"));
    server.stop().await?;
    copy_folder(server.data(), &copy)?;
    server.restart().await?;
    Ok(copy)
}

/// Replaces the data of PostgreSQL by a copy.
pub async fn restore_postgres(stack: &Stack, copy: &Path) -> Result<()> {
    let server = stack.database().server();
    server.lose_data().await?;
    copy_folder(copy, server.data())?;
    server.start_with_files().await
}

fn copy_folder(from: &Path, to: &Path) -> Result<()> {
    let copied = std::process::Command::new("cp").arg("-a").arg(from).arg(to).status()?;
    ensure!(copied.success(), "cp -a of PostgreSQL's data failed");
    Ok(())
}

/// Runs the job `after-restore` on a database.
pub async fn after_restore(stack: &Stack, database_url: &str, arguments: &[&str]) -> Result<Output> {
    let mut job = tokio::process::Command::new(node::program("tidings-persistence")?);
    job.arg("after-restore").args(arguments).args(["--database-url", database_url]);
    job.args(["--redis-url", &stack.shards().services_url()]);
    Ok(tokio::time::timeout(WAIT_TIMEOUT, job.kill_on_drop(true).output()).await??)
}

/// Waits until the metric of partitions that went back is 0, or until it is not.
pub async fn until_noticed(stack: &Stack, noticed: bool) -> Result<()> {
    let begun = Instant::now();
    loop {
        let metrics = stack.persistence(0).metrics().await?;
        let value =
            metrics.lines().find_map(|line| line.strip_prefix("tidings_persistence_lost_commit_partitions "));
        let value: u64 = value.context("no metric of a store that went back")?.parse()?;
        if (value > 0) == noticed {
            return Ok(());
        }
        ensure!(begun.elapsed() < WAIT_TIMEOUT, "the metric is {value}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

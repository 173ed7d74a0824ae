//! `./dev idle` against a small system: its figures make sense and its exit code follows them. How many bytes
//! a connection may cost is asked of release builds, by hand: a debug build's memory proves nothing.

use std::process::{Command, Output};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use tidings_harness::Stack;

const CONNECTIONS: usize = 100;
const PATIENCE: Duration = Duration::from_secs(60);
const IDLE_S: u64 = 3;
/// Pings come often enough for each connection to answer at least one while it idles.
const HEARTBEAT_MS: u64 = 1000;
/// No bound at all.
const ANY_BYTES: u64 = 1 << 40;

/// The JSON of `./dev status` for a stack.
fn status(stack: &Stack) -> Value {
    let gateway = |node: &tidings_harness::Node| json!({ "url": node.url(), "ws": node.ws(), "admin": node.admin(), "pid": node.pid() });
    let persistence =
        |node: &tidings_harness::Node| json!({ "url": node.url(), "admin": node.admin(), "pid": node.pid() });
    json!({
        "redis_url": stack.redis().url(), "database_url": stack.database().url(), "redis_pid": null,
        "postgres_pid": null, "demo": null, "jwt_secret": stack.jwt_secret(),
        "gateways": stack.gateways().iter().map(gateway).collect::<Vec<_>>(),
        "persistence": stack.persistence_nodes().iter().map(persistence).collect::<Vec<_>>(),
    })
}

async fn idle(stack: &Stack, max_bytes: u64) -> Result<(Output, Value)> {
    let file = stack.folder().join("status.json");
    std::fs::write(&file, status(stack).to_string())?;
    let mut command = Command::new(env!("CARGO_BIN_EXE_tidings-idle"));
    command.arg("--stack").arg(&file);
    command.args(["--connections", &CONNECTIONS.to_string(), "--idle", &IDLE_S.to_string()]);
    command.args(["--max-bytes", &max_bytes.to_string()]);
    let output = tokio::process::Command::from(command).output().await?;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let figures = serde_json::from_str(said.lines().next().unwrap_or_default());
    let figures = figures
        .map_err(|error| anyhow::anyhow!("{error} in {said}{}", String::from_utf8_lossy(&output.stderr)))?;
    Ok((output, figures))
}

#[tokio::test]
async fn idle_connections_are_counted_weighed_and_held_to_the_bound() -> Result<()> {
    let builder = Stack::builder().gateways(2).gateway_env("TIDINGS_HEARTBEAT_MS", HEARTBEAT_MS);
    let stack = builder.start().await?;

    // The first hundred connections of a new process cost something, so they cost too much for a bound of 0.
    let (output, figures) = idle(&stack, 0).await?;
    ensure!(output.status.code() == Some(1), "{output:?}");
    ensure!(String::from_utf8_lossy(&output.stdout).contains("TOO MUCH"), "{output:?}");
    ensure!(figures["bytes_per_connection"].as_u64() > Some(0), "{figures}");

    let (output, figures) = idle(&stack, ANY_BYTES).await?;
    ensure!(output.status.success(), "{output:?}");
    ensure!(String::from_utf8_lossy(&output.stdout).contains("good"), "{output:?}");
    ensure!(figures["connections"] == CONNECTIONS && figures["rooms_each"] == 2, "{figures}");
    ensure!(figures["lost"] == 0 && figures["idle_seconds"] == IDLE_S, "{figures}");
    let number = |name: &str| figures[name].as_u64().unwrap_or_default();
    ensure!(number("pings_answered") >= CONNECTIONS as u64, "{figures}");
    // Two whole services of a few megabytes each at least.
    ensure!(number("rss_before_bytes") > 8 << 20, "{figures}");
    let grown = number("rss_after_bytes").saturating_sub(number("rss_before_bytes"));
    ensure!(number("bytes_per_connection") == grown / CONNECTIONS as u64, "{figures}");
    Ok(())
}

#[tokio::test]
async fn a_gateway_that_dies_meanwhile_is_told() -> Result<()> {
    let stack = Stack::start().await?;
    let begun = Instant::now();
    let killed = async {
        while !stack
            .gateway(0)
            .metrics()
            .await?
            .contains(&format!("tidings_gateway_connections {CONNECTIONS}\n"))
        {
            ensure!(begun.elapsed() < PATIENCE, "they do not all connect");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        stack.gateway(0).kill();
        anyhow::Ok(())
    };
    let (idled, killed) = tokio::join!(idle(&stack, ANY_BYTES), killed);
    killed?;
    let told = format!("{:#}", idled.err().context("figures of a dead gateway")?);
    // Before its memory is read, or while the last connection still joins.
    ensure!(told.contains("has ended") || told.contains("connection"), "{told}");
    Ok(())
}

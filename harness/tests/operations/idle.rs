//! `./dev idle` against a small system: its figures are consistent and its exit code follows them. The bound on bytes
//! per connection is checked by hand with release builds, because the memory of a debug build proves nothing.

use std::process::{Command, Output};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use tidings_harness::Stack;

const CONNECTIONS: usize = 100;
const WAIT_TIMEOUT: Duration = Duration::from_secs(60);
const IDLE_S: u64 = 3;
/// Short enough for each connection to answer at least one ping while it is idle.
const HEARTBEAT_MS: u64 = 1000;
/// A bound that no connection reaches.
const ANY_BYTES: u64 = 1 << 40;

/// The JSON of `./dev status` for a stack.
fn stack_status(stack: &Stack) -> Value {
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

async fn run_idle(stack: &Stack, max_bytes: u64) -> Result<(Output, Value)> {
    let file = stack.folder().join("status.json");
    std::fs::write(&file, stack_status(stack).to_string())?;
    let mut command = Command::new(env!("CARGO_BIN_EXE_tidings-idle"));
    command.arg("--stack").arg(&file);
    command.args(["--connections", &CONNECTIONS.to_string(), "--idle", &IDLE_S.to_string()]);
    command.args(["--max-bytes", &max_bytes.to_string()]);
    let output = tokio::process::Command::from(command).output().await?;
    let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
    let figures = serde_json::from_str(stdout.lines().next().unwrap_or_default());
    let figures = figures
        .map_err(|error| anyhow::anyhow!("{error} in {stdout}{}", String::from_utf8_lossy(&output.stderr)))?;
    Ok((output, figures))
}

#[tokio::test]
async fn idle_reports_memory_per_connection_and_enforces_bound() -> Result<()> {
    let builder = Stack::builder().gateways(2).gateway_env("TIDINGS_HEARTBEAT_MS", HEARTBEAT_MS);
    let stack = builder.start().await?;

    // The first hundred connections of a new process need memory, so they exceed a bound of 0.
    let (output, figures) = run_idle(&stack, 0).await?;
    ensure!(output.status.code() == Some(1), "{output:?}");
    ensure!(String::from_utf8_lossy(&output.stdout).contains("TOO MUCH"), "{output:?}");
    ensure!(figures["bytes_per_connection"].as_u64() > Some(0), "{figures}");

    let (output, figures) = run_idle(&stack, ANY_BYTES).await?;
    ensure!(output.status.success(), "{output:?}");
    ensure!(String::from_utf8_lossy(&output.stdout).contains("good"), "{output:?}");
    ensure!(figures["connections"] == CONNECTIONS && figures["rooms_each"] == 2, "{figures}");
    ensure!(figures["lost"] == 0 && figures["idle_seconds"] == IDLE_S, "{figures}");
    let number = |name: &str| figures[name].as_u64().unwrap_or_default();
    ensure!(number("pings_answered") >= CONNECTIONS as u64, "{figures}");
    // Two services need at least a megabyte each.
    ensure!(number("anonymous_before_bytes") > 2 << 20, "{figures}");
    let grown = number("anonymous_after_bytes").saturating_sub(number("anonymous_before_bytes"));
    ensure!(number("bytes_per_connection") == grown / CONNECTIONS as u64, "{figures}");
    Ok(())
}

#[tokio::test]
async fn gateway_death_during_idle_run_is_reported() -> Result<()> {
    let stack = Stack::start().await?;
    let begun = Instant::now();
    let killed = async {
        while !stack
            .gateway(0)
            .metrics()
            .await?
            .contains(&format!("tidings_gateway_connections {CONNECTIONS}\n"))
        {
            ensure!(begun.elapsed() < WAIT_TIMEOUT, "not all connections were made");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        stack.gateway(0).kill();
        anyhow::Ok(())
    };
    let (idled, killed) = tokio::join!(run_idle(&stack, ANY_BYTES), killed);
    killed?;
    let error = format!("{:#}", idled.err().context("there are figures of a dead gateway")?);
    // The gateway dies before its memory is read, or while the last connection joins.
    ensure!(error.contains("has ended") || error.contains("connection"), "{error}");
    Ok(())
}

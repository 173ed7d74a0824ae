//! The wall clock of one process jumps while clients talk. No guarantee may depend on it.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use serde_json::json;
use tidings_harness::faults::{Fault, Part, Plan, run};
use tidings_harness::{Stack, clock};

const HOUR_S: i64 = 3600;

/// The clocks of Redis and PostgreSQL, in seconds since 1970.
async fn server_clocks(stack: &Stack) -> Result<[i64; 2]> {
    let (redis, _): (i64, i64) = stack.redis().command(&redis::cmd("TIME")).await?;
    let postgres = stack.database().value("SELECT extract(epoch FROM now())::bigint").await?.parse()?;
    Ok([redis, postgres])
}

#[tokio::test]
async fn clock_shift_affects_only_its_running_process() -> Result<()> {
    let stack = Stack::builder().own_postgres().clocks().start().await?;
    let now = i64::try_from(clock::now().as_secs())?;
    let near = |at: i64, expected: i64| (at - expected).abs() < 60;
    let [redis, postgres] = server_clocks(&stack).await?;
    ensure!(near(redis, now) && near(postgres, now), "{redis} and {postgres} at {now}");
    stack.redis().clock().shift(HOUR_S)?;
    stack.database().server().clock().shift(-HOUR_S)?;
    let [redis, postgres] = server_clocks(&stack).await?;
    ensure!(near(redis, now + HOUR_S) && near(postgres, now - HOUR_S), "{redis} and {postgres} at {now}");

    // Tokens of the harness are valid for one hour.
    ensure!(stack.http("alice").get("/rooms").await?.status == 200);
    stack.connect("alice").await?;
    stack.persistence(0).clock().shift(2 * HOUR_S)?;
    ensure!(stack.http("alice").get("/rooms").await?.status == 401);
    stack.connect("alice").await?;
    stack.gateway(0).clock().shift(2 * HOUR_S)?;
    ensure!(stack.connect("alice").await.is_err(), "the token should have expired");
    stack.gateway(0).clock().shift(0)?;
    stack.connect("alice").await?;
    Ok(())
}

/// When the clock is corrected, the leases of the dead replica end an hour from now. The other replica must not wait
/// until then.
#[tokio::test]
#[ignore = "long: a schedule of faults"]
async fn dead_replica_with_lease_in_future_is_replaced() -> Result<()> {
    let builder = Stack::builder().persistence(2).own_postgres().clocks();
    let stack = builder.persistence_env("TIDINGS_LEASE_MS", 1000).start().await?;
    let http = stack.http_at(1, "alice");
    let mut rooms = Vec::new();
    for number in 0..20 {
        let room = http.post("/rooms", json!({ "kind": "private", "name": format!("{number}") })).await?;
        rooms.push(room.expect(201).body["room"].as_str().unwrap_or_default().to_owned());
    }
    let postgres = stack.database().server().clock();
    postgres.shift(HOUR_S)?;
    let ahead = "SELECT count(*) FROM replicas WHERE expires_at > now()";
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(stack.database().value(ahead).await?, "2", "both replicas hold leases by the fast clock");
    stack.persistence(0).kill();
    postgres.shift(0)?;

    let begun = Instant::now();
    for room in rooms {
        let message = json!({ "client_id": "after", "content": "after the replica died" });
        while http.post(&format!("/rooms/{room}/messages"), message.clone()).await?.status >= 300 {
            ensure!(begun.elapsed() < Duration::from_secs(60), "no replica stores the messages of {room}");
        }
    }
    Ok(())
}

async fn run_with_clock_jumps(seed: u64, part: Part) -> Result<()> {
    let time = Duration::from_secs(3);
    let faults = [3600, -3600, 300, -20].map(|seconds| Fault::Clock(part, seconds, time)).to_vec();
    let report = run(&Plan::once(seed, faults)).await?;
    assert_eq!(report.violations, 0, "{report:#?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "long: a schedule of faults"]
async fn gateway_clock_jumps_break_nothing() -> Result<()> {
    run_with_clock_jumps(51, Part::Gateway(0)).await
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "long: a schedule of faults"]
async fn persistence_clock_jumps_break_nothing() -> Result<()> {
    run_with_clock_jumps(52, Part::Persistence(0)).await
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "long: a schedule of faults"]
async fn redis_clock_jumps_break_nothing() -> Result<()> {
    run_with_clock_jumps(53, Part::Redis).await
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "long: a schedule of faults"]
async fn postgres_clock_jumps_break_nothing() -> Result<()> {
    run_with_clock_jumps(54, Part::Postgres).await
}

//! Alerts on Redis and PostgreSQL by metrics of real exporters (Debian's `prometheus-redis-exporter` and
//! `prometheus-postgres-exporter`), with the shipped rules sixty times faster. Every exporter metric in rules and
//! dashboards must exist. Prints a table:
//!
//!     ./dev test --long watch_exporters

use crate::prometheus;
use crate::watch::shortened;
use std::time::{Duration, Instant};

use crate::prometheus::Prometheus;
use crate::watch::exporters::{self, Exporters};
use crate::watch::scene::AlertRecorder;
use anyhow::{Context, Result, ensure};
use serde_json::Value;
use tidings_harness::Stack;
use tokio::task::JoinSet;

const WAIT_TIMEOUT: Duration = Duration::from_secs(20);
const WARM_UP: Duration = Duration::from_secs(5);
/// `max_connections` of PostgreSQL. Persistence takes up to 39 of them.
const MAX_CONNECTIONS: u64 = 60;
const MIB: u64 = 1024 * 1024;

/// Checks that the exporters have all metrics that rules and dashboards use.
async fn ensure_metrics_exist(prometheus: &Prometheus) -> Result<()> {
    let late: Value = serde_json::from_str(&std::fs::read_to_string(
        prometheus::shipped_folder().join("late-metrics.json"),
    )?)?;
    for group in ["redis_exporter", "postgres_exporter"] {
        for name in late[group].as_object().context(group)?.keys() {
            let begun = Instant::now();
            // Prometheus finds new targets within seconds.
            while prometheus.query(name).await?.is_empty() {
                ensure!(begun.elapsed() < WAIT_TIMEOUT, "{group} has no metric {name}");
                tokio::time::sleep(Duration::from_millis(250)).await;
            }
        }
    }
    Ok(())
}

async fn redis_faults_fire_alerts(stack: &Stack, recorder: &mut AlertRecorder<'_>) -> Result<()> {
    recorder.set_current_fault("Redis is killed (SIGKILL)");
    stack.redis().kill();
    recorder.until_firing(&["TidingsDependencyDown"]).await?;
    stack.redis().restart().await?;
    exporters::create_users(stack).await?;
    recorder.until_resolved(&["TidingsDependencyDown"]).await?;

    let set = |name: &str, value: String| {
        let mut command = redis::cmd("CONFIG");
        command.arg("SET").arg(name).arg(value);
        async move { stack.redis().command::<()>(&command).await }
    };
    let fill = |key: String, bytes: u64| async move {
        let mut command = redis::cmd("SETRANGE");
        stack.redis().command::<u64>(command.arg(key).arg(bytes - 1).arg("x")).await
    };
    recorder.set_current_fault("somebody else fills Redis to nine tenths of its maxmemory");
    fill("other:0".to_owned(), 33 * MIB).await?;
    let info: String = stack.redis().command(redis::cmd("INFO").arg("memory")).await?;
    let used = info.lines().find_map(|line| line.strip_prefix("used_memory:")).context("no used_memory")?;
    set("maxmemory", (used.trim().parse::<u64>()? * 10 / 9).to_string()).await?;
    recorder.until_firing(&["TidingsRedisMemoryHigh"]).await?;

    recorder.set_current_fault("maxmemory-policy is allkeys-lru, and Redis is filled over its maxmemory");
    set("maxmemory-policy", "allkeys-lru".to_owned()).await?;
    for number in 1..20 {
        fill(format!("other:{number}"), MIB).await?;
    }
    recorder.until_firing(&["TidingsRedisEvicts"]).await?;
    set("maxmemory-policy", "noeviction".to_owned()).await?;
    set("maxmemory", "0".to_owned()).await?;
    recorder.until_resolved(&["TidingsRedisMemoryHigh"]).await
}

/// Takes connections as they become free, so that nine tenths are in use. Returns only on an error.
async fn hold_connections(
    stack: &Stack,
    others: &mut JoinSet<std::io::Result<std::process::Output>>,
) -> Result<()> {
    let taken = "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend'";
    loop {
        // The connections of the last round are established by now.
        let taken = match stack.database().value(taken).await {
            Ok(taken) => taken.parse()?,
            Err(error) if error.to_string().contains("too many clients") => MAX_CONNECTIONS,
            Err(error) => return Err(error),
        };
        for _ in taken..MAX_CONNECTIONS * 9 / 10 + 1 {
            let mut command = tokio::process::Command::new("psql");
            command.args(["--no-psqlrc", "--quiet", "--command=SELECT pg_sleep(120)"]);
            command.arg(stack.database().url()).kill_on_drop(true);
            others.spawn(async move { command.output().await });
        }
        tokio::time::sleep(Duration::from_secs(4)).await;
    }
}

async fn postgres_faults_fire_alerts(stack: &Stack, recorder: &mut AlertRecorder<'_>) -> Result<()> {
    recorder.set_current_fault("PostgreSQL is killed (SIGKILL)");
    stack.database().server().kill();
    recorder.until_firing(&["TidingsDependencyDown"]).await?;
    stack.database().server().restart().await?;
    recorder.until_resolved(&["TidingsDependencyDown"]).await?;

    recorder.set_current_fault("somebody else holds connections, until nine tenths are taken");
    let mut others = JoinSet::new();
    tokio::select! {
        failed = hold_connections(stack, &mut others) => failed?,
        fired = recorder.until_firing(&["TidingsPostgresConnectionsHigh"]) => fired?,
    }
    others.shutdown().await;
    let end =
        "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE query LIKE '%pg_sleep(120)'";
    stack.database().query(&format!("{end} AND pid <> pg_backend_pid()")).await?;
    recorder.until_resolved(&["TidingsPostgresConnectionsHigh"]).await?;

    recorder.set_current_fault("a report holds a transaction open");
    let report = tokio::process::Command::new("psql")
        .args(["--no-psqlrc", "--quiet", "--output=/dev/null", "--command=BEGIN; SELECT pg_sleep(120)"])
        .arg(stack.database().url())
        .kill_on_drop(true)
        .spawn()?;
    recorder.until_firing(&["TidingsPostgresOldTransaction"]).await?;
    drop(report);
    stack.database().query(&format!("{end} AND pid <> pg_backend_pid()")).await?;
    recorder.until_resolved(&["TidingsPostgresOldTransaction"]).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "long: alerts by real faults"]
async fn exporter_metrics_of_redis_and_postgres_fire_alerts() -> Result<()> {
    let connections = format!("max_connections = {MAX_CONNECTIONS}\n");
    let stack = Stack::builder().gateways(2).durable_postgres(&connections).start().await?;
    let prometheus = Prometheus::start(&stack, shortened::shortened_rules).await?;
    let started = Exporters::start(&stack, &prometheus).await?;
    // The PostgreSQL exporter tries for a second before it reports a missing server, which is longer than the timeout
    // here.
    prometheus.configure("prometheus.yml", |text| {
        text.replace(
            "job_name: postgresql\n",
            "job_name: postgresql\n    scrape_interval: 2s\n    scrape_timeout: 2s\n",
        )
    })?;
    ensure_metrics_exist(&prometheus).await?;
    tokio::time::sleep(WARM_UP).await;
    let mut recorder = AlertRecorder::of(&prometheus);
    recorder.set_current_fault("none");
    recorder.poll().await?;
    let played = async {
        redis_faults_fire_alerts(&stack, &mut recorder).await?;
        postgres_faults_fire_alerts(&stack, &mut recorder).await?;
        recorder.set_current_fault("an exporter is killed (SIGKILL)");
        started.redis.kill();
        recorder.until_firing(&["TidingsTargetDown"]).await
    };
    let outcome = played.await;
    println!("{}", recorder.table());
    outcome?;
    ensure!(recorder.missed().is_empty(), "did not fire: {:#?}", recorder.missed());
    Ok(())
}

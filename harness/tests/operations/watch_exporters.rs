//! Alerts of Redis and PostgreSQL by what their exporters tell: real exporters (Debian's `prometheus-redis-exporter` and
//! `prometheus-postgres-exporter`; where one is missing the test says so and checks nothing), the shipped rules sixty times
//! faster, and that every metric of theirs that rules and dashboards name is told. By hand, with a table:
//!
//!     ./dev test --long watch_exporters

use crate::prometheus;
use crate::watch::shortened;
use std::process::Command;
use std::time::{Duration, Instant};

use crate::prometheus::Prometheus;
use crate::watch::scene::Scene;
use anyhow::{Context, Result, ensure};
use nix::sys::signal::Signal;
use serde_json::Value;
use tidings_harness::{Stack, daemon::Daemon, http, ports};
use tokio::task::JoinSet;

const REDIS: &str = "prometheus-redis-exporter";
const POSTGRES: &str = "prometheus-postgres-exporter";
const PATIENCE: Duration = Duration::from_secs(20);
const CALM: Duration = Duration::from_secs(5);
/// Of PostgreSQL: persistence takes up to 34 of them.
const MAX_CONNECTIONS: u64 = 60;
const MB: u64 = 1024 * 1024;

/// Whether both are on this machine; says so where they are not.
fn are_there() -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders: Vec<_> = std::env::split_paths(&path).collect();
    [REDIS, POSTGRES].iter().all(|name| {
        let found = folders.iter().any(|folder| folder.join(name).is_file());
        if !found {
            eprintln!("NOT CHECKED: there is no {name} on this machine (Debian's package has the same name)");
        }
        found
    })
}

/// Starts an exporter; who it is, and where it answers.
async fn exporter(stack: &Stack, name: &'static str) -> Result<(Daemon, String)> {
    let place = format!("127.0.0.1:{}", ports::free()?);
    let listen = format!("--web.listen-address={place}");
    let (redis, postgres) = (stack.redis().url(), format!("{}?sslmode=disable", stack.database().url()));
    let daemon = Daemon::new(name, stack.folder().join(format!("{name}.log")), Signal::SIGKILL, move || {
        let mut command = Command::new(name);
        command.arg(&listen);
        match name {
            REDIS => command.arg(format!("--redis.addr={redis}")),
            _ => command.env("DATA_SOURCE_NAME", &postgres),
        };
        command
    });
    daemon.start()?;
    let (url, client) = (format!("http://{place}/metrics"), http::client());
    let ready = || async { client.get(&url).send().await.is_ok_and(|answer| answer.status().is_success()) };
    daemon.until_ready(PATIENCE, ready).await?;
    Ok((daemon, place))
}

/// What rules and dashboards take from these programs, all of it is told by them.
async fn names(prometheus: &Prometheus) -> Result<()> {
    let late: Value =
        serde_json::from_str(&std::fs::read_to_string(prometheus::shipped().join("late-metrics.json"))?)?;
    for group in ["redis_exporter", "postgres_exporter"] {
        for name in late[group].as_object().context(group)?.keys() {
            let begun = Instant::now();
            // Targets that are new are taken up within seconds.
            while prometheus.query(name).await?.is_empty() {
                ensure!(begun.elapsed() < PATIENCE, "{group} does not tell {name}");
                tokio::time::sleep(Duration::from_millis(250)).await;
            }
        }
    }
    Ok(())
}

async fn redis(stack: &Stack, scene: &mut Scene<'_>) -> Result<()> {
    scene.fault("Redis is killed (SIGKILL)");
    stack.redis().kill();
    scene.until(&["TidingsDependencyDown"]).await?;
    stack.redis().restart().await?;
    scene.calm(&["TidingsDependencyDown"]).await?;

    let set = |name: &str, value: String| {
        let mut command = redis::cmd("CONFIG");
        command.arg("SET").arg(name).arg(value);
        async move { stack.redis().command::<()>(&command).await }
    };
    let fill = |key: String, bytes: u64| async move {
        let mut command = redis::cmd("SETRANGE");
        stack.redis().command::<u64>(command.arg(key).arg(bytes - 1).arg("x")).await
    };
    scene.fault("somebody else fills Redis to nine tenths of its maxmemory");
    fill("other:0".to_owned(), 33 * MB).await?;
    let info: String = stack.redis().command(redis::cmd("INFO").arg("memory")).await?;
    let used = info.lines().find_map(|line| line.strip_prefix("used_memory:")).context("no used_memory")?;
    set("maxmemory", (used.trim().parse::<u64>()? * 10 / 9).to_string()).await?;
    scene.until(&["TidingsRedisMemoryHigh"]).await?;

    scene.fault("maxmemory-policy is allkeys-lru, and Redis is filled over its maxmemory");
    set("maxmemory-policy", "allkeys-lru".to_owned()).await?;
    for number in 1..20 {
        fill(format!("other:{number}"), MB).await?;
    }
    scene.until(&["TidingsRedisEvicts"]).await?;
    set("maxmemory-policy", "noeviction".to_owned()).await?;
    set("maxmemory", "0".to_owned()).await?;
    scene.calm(&["TidingsRedisMemoryHigh"]).await
}

/// Takes connections as they become free, until nine tenths are in use; fails or goes on.
async fn hold(stack: &Stack, others: &mut JoinSet<std::io::Result<std::process::Output>>) -> Result<()> {
    let taken = "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend'";
    loop {
        // Before the next look those of the last one are in.
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

async fn postgres(stack: &Stack, scene: &mut Scene<'_>) -> Result<()> {
    scene.fault("PostgreSQL is killed (SIGKILL)");
    stack.database().server().kill();
    scene.until(&["TidingsDependencyDown"]).await?;
    stack.database().server().restart().await?;
    scene.calm(&["TidingsDependencyDown"]).await?;

    scene.fault("somebody else holds connections, until nine tenths are taken");
    let mut others = JoinSet::new();
    tokio::select! {
        failed = hold(stack, &mut others) => failed?,
        seen = scene.until(&["TidingsPostgresConnectionsHigh"]) => seen?,
    }
    others.shutdown().await;
    let end =
        "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE query LIKE '%pg_sleep(120)'";
    stack.database().query(&format!("{end} AND pid <> pg_backend_pid()")).await?;
    scene.calm(&["TidingsPostgresConnectionsHigh"]).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "long: alerts by real faults"]
async fn what_exporters_tell_of_redis_and_postgres_fires_the_alerts() -> Result<()> {
    if !are_there() {
        return Ok(());
    }
    let connections = format!("max_connections = {MAX_CONNECTIONS}\n");
    let stack = Stack::builder().gateways(2).durable_postgres(&connections).start().await?;
    let prometheus = Prometheus::start(&stack, shortened::rules).await?;
    // PostgreSQL's tries for a second before it tells that there is no server: more than it is given here.
    prometheus.configure("prometheus.yml", |text| {
        text.replace(
            "job_name: postgres\n",
            "job_name: postgres\n    scrape_interval: 2s\n    scrape_timeout: 2s\n",
        )
    })?;
    let mut exporters = Vec::new();
    for (name, job) in [(REDIS, "redis"), (POSTGRES, "postgres")] {
        let (daemon, place) = exporter(&stack, name).await?;
        exporters.push(daemon);
        prometheus.configure(&format!("targets/{job}.yml"), |_| format!("- targets: [\"{place}\"]\n"))?;
    }
    names(&prometheus).await?;
    tokio::time::sleep(CALM).await;
    let mut scene = Scene::of(&prometheus);
    scene.fault("none");
    scene.look().await?;
    let played = async {
        redis(&stack, &mut scene).await?;
        postgres(&stack, &mut scene).await?;
        scene.fault("an exporter is killed (SIGKILL)");
        exporters[0].kill();
        scene.until(&["TidingsTargetDown"]).await
    };
    let outcome = played.await;
    println!("{}", scene.table());
    outcome?;
    ensure!(scene.missed().is_empty(), "did not fire: {:#?}", scene.missed());
    Ok(())
}

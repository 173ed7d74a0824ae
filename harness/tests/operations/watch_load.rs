//! Alerts of gateways that are at their end: memory near the limit, and threads that get no CPU. Real gateways, the shipped
//! rules sixty times faster, with the limit of memory that the rules are told. By hand, with a table:
//!
//!     ./dev test --long watch_load

use crate::watch::shortened;
use std::fs;
use std::process::{Child, Command};
use std::time::Duration;

use crate::prometheus::Prometheus;
use crate::watch::scene::Scene;
use anyhow::{Context, Result, ensure};
use serde_json::json;
use tidings_harness::{Client, Stack, clock};

const CALM: Duration = Duration::from_secs(15);
/// As deploy/prometheus/rules/recording.yml has it.
const LIMIT: &str = "vector(768 * 1024 * 1024)";
/// Of one room, on the gateway whose threads get no CPU.
const LISTENERS: usize = 30;
const SENDERS: usize = 4;

fn resident_bytes(pid: u32) -> Result<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS")?;
    Ok(line.trim().trim_end_matches(" kB").parse::<u64>()? * 1024)
}

async fn memory(stack: &Stack, prometheus: &Prometheus, scene: &mut Scene<'_>) -> Result<()> {
    let pid = stack.gateway(0).pid().context("gateway 0 does not run")?;
    let limit = format!("vector({})", resident_bytes(pid)? * 10 / 9);
    scene.fault("the limit of a gateway's memory is a ninth above what it holds");
    let limited = |from: &str, to: &str| {
        prometheus.configure("rules/recording.yml", |text| {
            assert!(text.contains(from), "recording.yml does not say {from}");
            text.replace(from, to)
        })
    };
    limited(LIMIT, &limit)?;
    scene.until(&["TidingsMemoryHigh"]).await?;
    limited(&limit, LIMIT)?;
    scene.calm(&["TidingsMemoryHigh"]).await
}

/// What takes all CPU of one core, and gives it back with the value.
struct Hog(Child);

impl Hog {
    fn on(core: &str) -> Result<Hog> {
        Ok(Hog(Command::new("taskset").args(["-c", core, "sh", "-c", "while :; do :; done"]).spawn()?))
    }
}

impl Drop for Hog {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The thread of a process that has needed the most CPU so far, of those whose names begin so: the one for metrics and
/// health has the same name, and must go on.
fn busiest(pid: u32, beginning: &str) -> Result<String> {
    let mut found = Vec::new();
    for task in fs::read_dir(format!("/proc/{pid}/task"))? {
        let task = task?;
        if fs::read_to_string(task.path().join("comm"))?.starts_with(beginning) {
            let told = fs::read_to_string(task.path().join("schedstat"))?;
            let nanoseconds: u64 = told.split(' ').next().unwrap_or_default().parse()?;
            found.push((nanoseconds, task.file_name().to_string_lossy().into_owned()));
        }
    }
    Ok(found.into_iter().max().with_context(|| format!("no thread is called {beginning}"))?.1)
}

async fn say(client: &Client, room: &str) {
    loop {
        let sends = (0..50).map(|_| {
            let id = clock::client_id();
            client.send_with(
                json!({"room": room, "client_id": id, "content": "x", "ack": "accepted", "attempt": 1}),
            )
        });
        futures_util::future::join_all(sends).await;
    }
}

async fn threads_without_cpu(stack: &Stack, scene: &mut Scene<'_>) -> Result<()> {
    let room = stack.http("ann").new_room(&["ben"]).await?;
    let (mut listeners, mut senders) = (Vec::new(), Vec::new());
    for _ in 0..LISTENERS {
        let ben = stack.connect_at(1, "ben").await?;
        ben.join_and_catch_up(&room).await?;
        listeners.push(ben);
    }
    for _ in 0..SENDERS {
        senders.push(stack.connect_at(0, "ann").await?);
    }
    let pid = stack.gateway(1).pid().context("gateway 1 does not run")?;
    let worker = busiest(pid, "actix-server wo")?;
    scene.fault(
        "the thread of a gateway shares a core with somebody who takes all of it, while a room is busy",
    );
    for (program, arguments) in [("taskset", ["-p", "-c", "0"].as_slice()), ("chrt", &["--idle", "-p", "0"])]
    {
        let output = Command::new(program).args(arguments).arg(&worker).output()?;
        ensure!(output.status.success(), "{program}: {}", String::from_utf8_lossy(&output.stderr));
    }
    let _hog = Hog::on("0")?;
    let saying = futures_util::future::join_all(senders.iter().map(|sender| say(sender, &room)));
    tokio::select! {
        _ = saying => Ok(()),
        seen = scene.until(&["TidingsHintsDropped"]) => seen,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "long: alerts by real load"]
async fn gateways_at_their_end_fire_the_alerts_that_are_meant_for_them() -> Result<()> {
    let mut builder = Stack::builder().gateways(2).gateway_env("TIDINGS_WORKERS", 1);
    for limit in ["TIDINGS_MESSAGES_PER_SECOND", "TIDINGS_MESSAGES_BURST", "TIDINGS_COMMANDS_PER_SECOND"] {
        builder = builder.gateway_env(limit, 100_000);
    }
    let stack = builder.start().await?;
    let prometheus = Prometheus::start(&stack, shortened::rules).await?;
    tokio::time::sleep(CALM).await;
    let mut scene = Scene::of(&prometheus);
    scene.fault("none");
    scene.look().await?;
    let played = async {
        memory(&stack, &prometheus, &mut scene).await?;
        threads_without_cpu(&stack, &mut scene).await
    };
    let outcome = played.await;
    println!("{}", scene.table());
    outcome?;
    ensure!(scene.missed().is_empty(), "did not fire: {:#?}", scene.missed());
    Ok(())
}

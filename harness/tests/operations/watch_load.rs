//! Alerts on overloaded gateways: memory near the limit, and threads without CPU. Uses real gateways and the shipped
//! rules, sixty times faster, and lowers the memory limit in the rules. Prints a table:
//!
//!     ./dev test --long watch_load

use crate::watch::shortened;
use std::fs;
use std::process::{Child, Command};
use std::time::Duration;

use crate::prometheus::Prometheus;
use crate::watch::scene::AlertRecorder;
use anyhow::{Context, Result, ensure};
use serde_json::json;
use tidings_harness::{Client, Stack, clock};

const WARM_UP: Duration = Duration::from_secs(15);
/// The expression of the memory limit in deploy/prometheus/rules/recording.yml.
const MEMORY_LIMIT_EXPRESSION: &str = "vector(768 * 1024 * 1024)";
/// Clients in one room, on the gateway whose thread gets no CPU.
const LISTENERS: usize = 30;
const SENDERS: usize = 4;

fn resident_bytes(pid: u32) -> Result<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS")?;
    Ok(line.trim().trim_end_matches(" kB").parse::<u64>()? * 1024)
}

async fn memory_near_limit(
    stack: &Stack,
    prometheus: &Prometheus,
    recorder: &mut AlertRecorder<'_>,
) -> Result<()> {
    let pid = stack.gateway(0).pid().context("gateway 0 does not run")?;
    let limit = format!("vector({})", resident_bytes(pid)? * 10 / 9);
    recorder.set_current_fault("the limit of a gateway's memory is a ninth above what it holds");
    let limited = |from: &str, to: &str| {
        prometheus.configure("rules/recording.yml", |text| {
            assert!(text.contains(from), "recording.yml does not contain {from}");
            text.replace(from, to)
        })
    };
    limited(MEMORY_LIMIT_EXPRESSION, &limit)?;
    recorder.until_firing(&["TidingsMemoryHigh"]).await?;
    limited(&limit, MEMORY_LIMIT_EXPRESSION)?;
    recorder.until_resolved(&["TidingsMemoryHigh"]).await
}

/// A process that uses all CPU of one core until the value is dropped.
struct CpuHog(Child);

impl CpuHog {
    fn on(core: &str) -> Result<CpuHog> {
        Ok(CpuHog(Command::new("taskset").args(["-c", core, "sh", "-c", "while :; do :; done"]).spawn()?))
    }
}

impl Drop for CpuHog {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The thread with the most CPU time among those whose names begin with `beginning`. The thread for metrics and health
/// has the same name and must not be slowed down.
fn busiest_thread(pid: u32, beginning: &str) -> Result<String> {
    let mut found = Vec::new();
    for task in fs::read_dir(format!("/proc/{pid}/task"))? {
        let task = task?;
        if fs::read_to_string(task.path().join("comm"))?.starts_with(beginning) {
            let times = fs::read_to_string(task.path().join("schedstat"))?;
            let nanoseconds: u64 = times.split(' ').next().unwrap_or_default().parse()?;
            found.push((nanoseconds, task.file_name().to_string_lossy().into_owned()));
        }
    }
    Ok(found.into_iter().max().with_context(|| format!("no thread is called {beginning}"))?.1)
}

async fn keep_sending(client: &Client, room: &str) {
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

async fn threads_without_cpu(stack: &Stack, recorder: &mut AlertRecorder<'_>) -> Result<()> {
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
    let worker = busiest_thread(pid, "actix-server wo")?;
    recorder.set_current_fault(
        "the thread of a gateway shares a core with somebody who takes all of it, while a room is busy",
    );
    for (program, arguments) in [("taskset", ["-p", "-c", "0"].as_slice()), ("chrt", &["--idle", "-p", "0"])]
    {
        let output = Command::new(program).args(arguments).arg(&worker).output()?;
        ensure!(output.status.success(), "{program}: {}", String::from_utf8_lossy(&output.stderr));
    }
    let _hog = CpuHog::on("0")?;
    let saying = futures_util::future::join_all(senders.iter().map(|sender| keep_sending(sender, &room)));
    tokio::select! {
        _ = saying => Ok(()),
        fired = recorder.until_firing(&["TidingsHintsDropped"]) => fired,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "long: alerts by real load"]
async fn overloaded_gateways_fire_their_alerts() -> Result<()> {
    let mut builder = Stack::builder().gateways(2).gateway_env("TIDINGS_WORKERS", 1);
    for limit in ["TIDINGS_MESSAGES_PER_SECOND", "TIDINGS_MESSAGES_BURST", "TIDINGS_COMMANDS_PER_SECOND"] {
        builder = builder.gateway_env(limit, 100_000);
    }
    let stack = builder.start().await?;
    let prometheus = Prometheus::start(&stack, shortened::shortened_rules).await?;
    tokio::time::sleep(WARM_UP).await;
    let mut recorder = AlertRecorder::of(&prometheus);
    recorder.set_current_fault("none");
    recorder.poll().await?;
    let played = async {
        memory_near_limit(&stack, &prometheus, &mut recorder).await?;
        threads_without_cpu(&stack, &mut recorder).await
    };
    let outcome = played.await;
    println!("{}", recorder.table());
    outcome?;
    ensure!(recorder.missed().is_empty(), "did not fire: {:#?}", recorder.missed());
    Ok(())
}

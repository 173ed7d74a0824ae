//! The process of a noisy neighbour. It runs at the lowest priority, so that it does not take CPU time from the servers
//! and from the measurement of the quiet rooms.

use std::collections::BTreeMap;
use std::process::Stdio;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use tidings_harness::folder;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

use super::generator::{NoiseOrder, STARTED_LINE};
use crate::processes::Process;

const PROGRAM: &str = "bench-noise";
/// The answers that show how much was delivered to the noisy neighbour.
const DELIVERIES: [&str; 3] = ["heard", "poll 200", "search 200"];

/// A running noisy neighbour. Dropping this value kills its process.
pub(super) struct NoiseProcess {
    child: Child,
    input: ChildStdin,
    output: Lines<BufReader<ChildStdout>>,
    started_at: Instant,
}

/// What a noisy neighbour did.
pub(super) struct NoiseReport {
    /// The answers to its requests, with their counts.
    pub(super) answers: BTreeMap<String, u64>,
    pub(super) deliveries_per_second: f64,
}

impl NoiseProcess {
    /// Starts the process, and waits until the noise has begun. The program is always from this build, because
    /// `TIDINGS_BIN_DIR` selects only the services.
    pub(super) async fn start(order: NoiseOrder, niceness: u32) -> Result<NoiseProcess> {
        let program = folder::build_folder()?.join(PROGRAM);
        ensure!(program.exists(), "{} is missing: build all programs of tidings-bench", program.display());
        // `nice` becomes the program, so the pid of the child is that of the program.
        let mut child = Command::new("nice")
            .args(["-n", &niceness.to_string()])
            .arg(program)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .context("start the noise")?;
        let mut input = child.stdin.take().context("the noise has no input")?;
        let mut output = BufReader::new(child.stdout.take().context("the noise has no output")?).lines();
        input.write_all(format!("{}\n", serde_json::to_string(&order)?).as_bytes()).await?;
        input.flush().await?;
        let line = output.next_line().await?;
        ensure!(line.as_deref() == Some(STARTED_LINE), "the noise did not begin");
        Ok(NoiseProcess { child, input, output, started_at: Instant::now() })
    }

    /// The process, for the measurement of its CPU time.
    pub(super) fn process(&self) -> Result<Process> {
        Ok(Process { name: "noise".into(), pid: self.child.id().context("the noise has ended")? })
    }

    /// Stops the noise, and waits until the process has ended.
    pub(super) async fn stop(self) -> Result<NoiseReport> {
        let NoiseProcess { mut child, input, mut output, started_at } = self;
        let seconds = started_at.elapsed().as_secs_f64();
        drop(input);
        let line = output.next_line().await?.context("the noise ended without its counts")?;
        let answers: BTreeMap<String, u64> = serde_json::from_str(&line)?;
        ensure!(child.wait().await?.success(), "the noise failed");
        let deliveries: u64 = DELIVERIES.iter().filter_map(|answer| answers.get(*answer)).sum();
        Ok(NoiseReport { answers, deliveries_per_second: deliveries as f64 / seconds })
    }
}

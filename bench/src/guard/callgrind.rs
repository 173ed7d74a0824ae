//! Runs a program under callgrind, valgrind's tool that counts instructions; resets and reads its counts.

use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use tokio::process::Command;

/// Timeout of a callgrind command. A process handles a command only when it runs, not while it waits.
const COMMAND_TIMEOUT: Duration = Duration::from_secs(60);

/// Checks whether callgrind works on this machine.
///
/// # Errors
/// When valgrind is missing or fails; with its error message.
pub async fn check_available() -> Result<()> {
    let mut command = Command::new("valgrind");
    command.args(["--tool=callgrind", "--callgrind-out-file=/dev/null", "true"]);
    let output = run_to_end(command).await.context("run valgrind")?;
    ensure!(output.status.success(), "valgrind: {}", status_and_output(&output));
    Ok(())
}

/// Resets and reads the counts of one process that runs under callgrind.
#[derive(Debug, Clone)]
pub struct CallgrindControl {
    folder: PathBuf,
}

impl CallgrindControl {
    /// Access to the counts of the process that [`Self::launcher`] starts. Callgrind writes its files into this folder.
    #[must_use]
    pub fn new(folder: &Path) -> Self {
        CallgrindControl { folder: folder.to_owned() }
    }

    /// The command with which to start the program under callgrind, without the program itself.
    #[must_use]
    pub fn launcher(&self) -> Vec<String> {
        // The harness clears the environment of nodes, so `VALGRIND_LIB` must be passed explicitly.
        let library = std::env::var("VALGRIND_LIB").map(|folder| format!("VALGRIND_LIB={folder}"));
        let mut words: Vec<String> = vec!["env".into()];
        words.extend(library);
        let prefix = format!("--vgdb-prefix={}", self.pipe_prefix());
        let file = format!("--callgrind-out-file={}", self.output_file("").display());
        let options = ["valgrind", "--tool=callgrind", "--quiet", "--cache-sim=no", &prefix, &file];
        words.extend(options.map(str::to_owned));
        words
    }

    /// Resets the counts.
    ///
    /// # Errors
    /// When the process does not handle the command.
    pub async fn reset(&self, pid: u32) -> Result<()> {
        self.send_command(pid, "zero").await
    }

    /// Returns the instructions since the last reset, and resets the counts.
    ///
    /// # Errors
    /// When the process does not handle the command, or the file has no counts.
    pub async fn read_and_reset(&self, pid: u32) -> Result<u64> {
        let number = (1..).find(|number| !self.dump_file(*number).exists()).unwrap_or_default();
        self.send_command(pid, "dump").await?;
        let part = self.dump_file(number);
        let text = std::fs::read_to_string(&part).with_context(|| format!("read {}", part.display()))?;
        parse_instructions(&text).with_context(|| format!("{} tells of no instructions", part.display()))
    }

    fn dump_file(&self, number: u32) -> PathBuf {
        self.output_file(&format!(".{number}"))
    }

    fn output_file(&self, end: &str) -> PathBuf {
        self.folder.join(format!("callgrind.out{end}"))
    }

    fn pipe_prefix(&self) -> String {
        self.folder.join("vgdb").display().to_string()
    }

    async fn send_command(&self, pid: u32, subcommand: &str) -> Result<()> {
        let mut command = Command::new("vgdb");
        command.arg(format!("--pid={pid}")).arg(format!("--vgdb-prefix={}", self.pipe_prefix()));
        // By default vgdb wakes a waiting process with ptrace, which containers may forbid. This disables it. The
        // timers of a service wake the process often enough.
        command.arg("--max-invoke-ms=0").arg(subcommand);
        let output = run_to_end(command).await.with_context(|| format!("run vgdb {subcommand}"))?;
        ensure!(output.status.success(), "vgdb {subcommand}: {}", status_and_output(&output));
        Ok(())
    }
}

/// The total of the event `Ir` (instructions) in a callgrind output file.
fn parse_instructions(text: &str) -> Option<u64> {
    let events = text.lines().find_map(|line| line.strip_prefix("events:"))?;
    let at = events.split_ascii_whitespace().position(|event| event == "Ir")?;
    let sum = |line: &str| line.strip_prefix("summary:").or(line.strip_prefix("totals:")).map(str::to_owned);
    let sums = text.lines().find_map(sum)?;
    sums.split_ascii_whitespace().nth(at)?.parse().ok()
}

async fn run_to_end(mut command: Command) -> Result<Output> {
    command.stdin(Stdio::null()).kill_on_drop(true);
    Ok(tokio::time::timeout(COMMAND_TIMEOUT, command.output()).await.context("it did not end")??)
}

fn status_and_output(output: &Output) -> String {
    let streams = [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes).into_owned());
    format!("{} {}", output.status, streams.concat().trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sum_of_a_counts_file_is_parsed() {
        let text = "version: 1\ncreator: callgrind-3.19.0\npid: 1\n\nevents: Ir\nsummary: 123456\n\nfn=(1) main\n1 7\n\ntotals: 123456\n";
        assert_eq!(parse_instructions(text), Some(123_456));
        assert_eq!(parse_instructions("events: Dr Ir\ntotals: 5 6\n"), Some(6));
    }

    #[test]
    fn counts_file_without_a_sum_is_refused() {
        for text in
            ["", "events: Ir\n", "summary: 5\n", "events: Dr\nsummary: 5\n", "events: Ir\nsummary: x\n"]
        {
            assert_eq!(parse_instructions(text), None, "{text:?}");
        }
    }
}

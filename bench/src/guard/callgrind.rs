//! Runs a program under callgrind, valgrind's tool that counts instructions; resets and reads its counts.
//! Touches the process under callgrind, and the files of counts in one folder.

use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use tokio::process::Command;

/// Timeout for a command to callgrind. The process handles commands at its next activity, usually within moments.
const ORDER_PATIENCE: Duration = Duration::from_secs(60);

/// Checks whether callgrind works here.
///
/// # Errors
/// Its error message.
pub async fn is_here() -> Result<()> {
    let mut command = Command::new("valgrind");
    command.args(["--tool=callgrind", "--callgrind-out-file=/dev/null", "true"]);
    let output = output(command).await.context("run valgrind")?;
    ensure!(output.status.success(), "valgrind: {}", said(&output));
    Ok(())
}

/// The counts of one process.
#[derive(Debug, Clone)]
pub struct CallgrindOutput {
    folder: PathBuf,
}

impl CallgrindOutput {
    /// Counts that are written into this folder.
    #[must_use]
    pub fn new(folder: &Path) -> Self {
        CallgrindOutput { folder: folder.to_owned() }
    }

    /// The command line before the program.
    #[must_use]
    pub fn launcher(&self) -> Vec<String> {
        // Nodes get a bare environment, so `VALGRIND_LIB` must be passed explicitly.
        let library = std::env::var("VALGRIND_LIB").map(|folder| format!("VALGRIND_LIB={folder}"));
        let mut words: Vec<String> = vec!["env".into()];
        words.extend(library);
        let prefix = format!("--vgdb-prefix={}", self.pipe());
        let file = format!("--callgrind-out-file={}", self.file("").display());
        let options = ["valgrind", "--tool=callgrind", "--quiet", "--cache-sim=no", &prefix, &file];
        words.extend(options.map(str::to_owned));
        words
    }

    /// Resets the counts.
    ///
    /// # Errors
    /// When the process does not handle the command.
    pub async fn zero(&self, pid: u32) -> Result<()> {
        self.order(pid, "zero").await
    }

    /// Instructions since the last reset; resets the counts again.
    ///
    /// # Errors
    /// When the process does not handle the command, or the file has no counts.
    pub async fn read(&self, pid: u32) -> Result<u64> {
        let number = (1..).find(|number| !self.part(*number).exists()).unwrap_or_default();
        self.order(pid, "dump").await?;
        let part = self.part(number);
        let text = std::fs::read_to_string(&part).with_context(|| format!("read {}", part.display()))?;
        instructions(&text).with_context(|| format!("{} tells of no instructions", part.display()))
    }

    fn part(&self, number: u32) -> PathBuf {
        self.file(&format!(".{number}"))
    }

    fn file(&self, end: &str) -> PathBuf {
        self.folder.join(format!("callgrind.out{end}"))
    }

    fn pipe(&self) -> String {
        self.folder.join("vgdb").display().to_string()
    }

    async fn order(&self, pid: u32, order: &str) -> Result<()> {
        let mut command = Command::new("vgdb");
        command.arg(format!("--pid={pid}")).arg(format!("--vgdb-prefix={}", self.pipe()));
        // Disables waking by ptrace, which containers may forbid. The timers of a service wake it often enough.
        command.arg("--max-invoke-ms=0").arg(order);
        let output = output(command).await.with_context(|| format!("run vgdb {order}"))?;
        ensure!(output.status.success(), "vgdb {order}: {}", said(&output));
        Ok(())
    }
}

/// The sum of a file of counts.
fn instructions(text: &str) -> Option<u64> {
    let events = text.lines().find_map(|line| line.strip_prefix("events:"))?;
    let at = events.split_ascii_whitespace().position(|event| event == "Ir")?;
    let sum = |line: &str| line.strip_prefix("summary:").or(line.strip_prefix("totals:")).map(str::to_owned);
    let sums = text.lines().find_map(sum)?;
    sums.split_ascii_whitespace().nth(at)?.parse().ok()
}

async fn output(mut command: Command) -> Result<Output> {
    command.stdin(Stdio::null()).kill_on_drop(true);
    Ok(tokio::time::timeout(ORDER_PATIENCE, command.output()).await.context("it did not end")??)
}

fn said(output: &Output) -> String {
    let streams = [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes).into_owned());
    format!("{} {}", output.status, streams.concat().trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sum_of_a_counts_file_is_parsed() {
        let text = "version: 1\ncreator: callgrind-3.19.0\npid: 1\n\nevents: Ir\nsummary: 123456\n\nfn=(1) main\n1 7\n\ntotals: 123456\n";
        assert_eq!(instructions(text), Some(123_456));
        assert_eq!(instructions("events: Dr Ir\ntotals: 5 6\n"), Some(6));
    }

    #[test]
    fn counts_file_without_a_sum_is_refused() {
        for text in
            ["", "events: Ir\n", "summary: 5\n", "events: Dr\nsummary: 5\n", "events: Ir\nsummary: x\n"]
        {
            assert_eq!(instructions(text), None, "{text:?}");
        }
    }
}

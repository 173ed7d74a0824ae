//! A process that outlives its parent, and is found again by pid and start time.
//! Guarantees that it never signals a pid that now belongs to another process.

use std::fs::OpenOptions;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde::{Deserialize, Serialize};

use crate::daemon::log_tail;
use crate::node::with_environment;

/// Identifies a process. Pids are reused, but not together with boot id and start time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Detached {
    /// Its pid.
    pub pid: u32,
    /// Its start time, in clock ticks since boot.
    started: u64,
    boot: String,
}

impl Detached {
    /// Starts a program in a new session; its output is appended to `log`.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start(command: &Command, log: &Path) -> Result<Detached> {
        let log = OpenOptions::new().create(true).append(true).open(log)?;
        // `setsid` replaces itself by the program, so the child's pid is that of the program.
        let mut own_session = Command::new("setsid");
        own_session.arg(command.get_program()).args(command.get_args());
        if let Some(folder) = command.get_current_dir() {
            own_session.current_dir(folder);
        }
        with_environment(&mut own_session, &[]);
        own_session.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
        own_session.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        let child = own_session.spawn().with_context(|| format!("start {:?}", command.get_program()))?;
        let pid = child.id();
        let (_, started) = stat(pid).context("it ended at once")?;
        Ok(Detached { pid, started, boot: boot()? })
    }

    /// Whether it still runs (a zombie does not).
    pub fn is_alive(&self) -> bool {
        let same_boot = boot().is_ok_and(|boot| boot == self.boot);
        same_boot && stat(self.pid).is_some_and(|(state, started)| state != 'Z' && started == self.started)
    }

    /// Sends a signal if it is still the process we started.
    pub fn signal(&self, signal: Signal) {
        if let (true, Ok(pid)) = (self.is_alive(), i32::try_from(self.pid)) {
            // It may end between the check and the signal, which is no problem.
            let _ = kill(Pid::from_raw(pid), signal);
        }
    }

    /// Waits for its end and kills it after `patience`. Returns whether it was killed.
    pub async fn until_ended(&self, patience: Duration) -> bool {
        let deadline = Instant::now() + patience;
        while self.is_alive() {
            if Instant::now() > deadline {
                self.signal(Signal::SIGKILL);
                return true;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        false
    }

    /// Waits until `ready` returns true.
    ///
    /// # Errors
    /// When it ends first or takes longer than `patience`; with the end of its log.
    pub async fn until_ready<F>(&self, patience: Duration, log: &Path, ready: impl Fn() -> F) -> Result<()>
    where
        F: Future<Output = bool>,
    {
        let deadline = Instant::now() + patience;
        while !ready().await {
            if !self.is_alive() {
                bail!("it ended while starting\n{}", log_tail(log));
            }
            if Instant::now() > deadline {
                bail!("it was not ready within {patience:?}\n{}", log_tail(log));
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Ok(())
    }
}

/// State and start time of a process.
fn stat(pid: u32) -> Option<(char, u64)> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name in parentheses may contain anything, so parsing begins after the last parenthesis.
    let (_, rest) = stat.rsplit_once(") ")?;
    let fields: Vec<&str> = rest.split(' ').collect();
    Some((fields.first()?.chars().next()?, fields.get(19)?.parse().ok()?))
}

fn boot() -> Result<String> {
    Ok(std::fs::read_to_string("/proc/sys/kernel/random/boot_id")?.trim().to_owned())
}

//! A process that outlives its parent, and is found again by pid and start time.
//! Guarantees that no signal goes to another process that got the same pid later.

use std::fs::OpenOptions;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde::{Deserialize, Serialize};

use crate::daemon::log_tail;
use crate::node::set_environment;
use crate::say;

/// Identifies a process by pid, boot id and start time, because the kernel reuses pids.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Detached {
    /// The pid of the process.
    pub pid: u32,
    /// The start time of the process, in clock ticks since boot.
    started: u64,
    boot: String,
}

impl Detached {
    /// Starts a program in a new session; its output is appended to `log`.
    pub fn start(command: &Command, log: &Path) -> Result<Detached> {
        let log = OpenOptions::new().create(true).append(true).open(log)?;
        // `setsid` replaces itself by the program, so the child's pid is that of the program.
        let mut own_session = Command::new("setsid");
        own_session.arg(command.get_program()).args(command.get_args());
        if let Some(folder) = command.get_current_dir() {
            own_session.current_dir(folder);
        }
        set_environment(&mut own_session, &[]);
        own_session.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
        own_session.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        let child = own_session.spawn().with_context(|| format!("start {:?}", command.get_program()))?;
        let pid = child.id();
        let started = process_stat(pid).context("it ended at once")?.started;
        Ok(Detached { pid, started, boot: boot_id()? })
    }

    /// Whether the process still runs. A zombie counts as running while it has live threads, because these hold its
    /// ports.
    pub fn is_alive(&self) -> bool {
        let same_boot = boot_id().is_ok_and(|boot| boot == self.boot);
        same_boot
            && process_stat(self.pid).is_some_and(|stat| {
                stat.started == self.started && (!matches!(stat.state, 'Z' | 'X') || stat.threads > 1)
            })
    }

    /// Sends a signal, if the pid still belongs to the process that was started.
    pub fn signal(&self, signal: Signal) {
        if let (true, Ok(pid)) = (self.is_alive(), i32::try_from(self.pid)) {
            // If the process ends between the check and the signal, the signal does nothing.
            let _ = kill(Pid::from_raw(pid), signal);
        }
    }

    /// Waits until the process ends; kills it after `time_limit`. Returns whether it was killed.
    pub async fn until_ended(&self, time_limit: Duration) -> bool {
        let deadline = Instant::now() + time_limit;
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
    /// When the process ends before, or is not ready within `time_limit`; with the end of its log.
    pub async fn until_ready<F>(&self, time_limit: Duration, log: &Path, ready: impl Fn() -> F) -> Result<()>
    where
        F: Future<Output = bool>,
    {
        let deadline = Instant::now() + time_limit;
        while !ready().await {
            if !self.is_alive() {
                bail!("it ended while starting\n{}", log_tail(log));
            }
            if Instant::now() > deadline {
                bail!("it was not ready within {time_limit:?}\n{}", log_tail(log));
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Ok(())
    }
}

/// Stops processes, all at the same time. Kills those that have not ended after `time_limit`.
pub(super) async fn stop_processes(running: &[(&str, Detached)], signal: Signal, time_limit: Duration) {
    let alive: Vec<_> = running.iter().filter(|(_, running)| running.is_alive()).collect();
    for (_, running) in &alive {
        running.signal(signal);
        // A paused process handles the signal only after it continues.
        running.signal(Signal::SIGCONT);
    }
    for (name, running) in alive {
        let killed = running.until_ended(time_limit).await;
        say!("{name:<12} pid {} {}", running.pid, if killed { "had to be killed" } else { "stopped" });
    }
}

/// Fields of `/proc/<pid>/stat` (proc_pid_stat(5)).
struct ProcessStat {
    /// `Z` once the first thread has ended.
    state: char,
    /// Number of threads that have not ended; a zombie counts as one.
    threads: u32,
    /// In clock ticks since boot.
    started: u64,
}

/// `None` if the process does not exist.
fn process_stat(pid: u32) -> Option<ProcessStat> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name in parentheses may contain anything, so parsing begins after the last parenthesis.
    let (_, rest) = stat.rsplit_once(") ")?;
    let fields: Vec<&str> = rest.split(' ').collect();
    Some(ProcessStat {
        state: fields.first()?.chars().next()?,
        threads: fields.get(17)?.parse().ok()?,
        started: fields.get(19)?.parse().ok()?,
    })
}

fn boot_id() -> Result<String> {
    Ok(std::fs::read_to_string("/proc/sys/kernel/random/boot_id")?.trim().to_owned())
}

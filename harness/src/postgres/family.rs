//! The processes of one PostgreSQL, by /proc: its postmaster and the children that it forks.
//! Sends signals. Guarantees that no process of a frozen server runs.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

const PATIENCE: Duration = Duration::from_secs(5);

/// The children of a postmaster: backends, writers, workers.
pub(super) fn children(postmaster: u32) -> Vec<u32> {
    let Ok(processes) = std::fs::read_dir("/proc") else { return Vec::new() };
    let pids = processes.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    pids.filter(|pid| status(*pid).is_some_and(|(_, parent)| parent == postmaster)).collect()
}

/// Signals the processes that still exist.
pub(super) fn signal(pids: &[u32], signal: Signal) {
    for pid in pids.iter().filter_map(|pid| i32::try_from(*pid).ok()) {
        // The process may have ended.
        let _ = kill(Pid::from_raw(pid), signal);
    }
}

/// Stops the children of a postmaster that got SIGSTOP, and waits until all of them have stopped.
pub(super) fn freeze(postmaster: u32) -> Result<()> {
    // First waits for the postmaster, so that there are no new children.
    until_still(&[postmaster])?;
    let children = children(postmaster);
    signal(&children, Signal::SIGSTOP);
    until_still(&children)
}

fn until_still(pids: &[u32]) -> Result<()> {
    let deadline = Instant::now() + PATIENCE;
    // Stopped, traced, zombie, or ended.
    let is_still = |pid: &u32| status(*pid).is_none_or(|(state, _)| "TtZX".contains(state));
    while !pids.iter().all(is_still) {
        ensure!(Instant::now() < deadline, "of {pids:?} not all stopped in {PATIENCE:?}");
        std::thread::sleep(Duration::from_millis(1));
    }
    Ok(())
}

/// State and parent of a process, if it exists.
fn status(pid: u32) -> Option<(char, u32)> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name may contain anything, even brackets.
    let mut fields = stat.get(stat.rfind(')')? + 1..)?.split_whitespace();
    Some((fields.next()?.chars().next()?, fields.next()?.parse().ok()?))
}

//! Finds and signals the processes of one PostgreSQL: its postmaster and the children that it forks. When
//! [`pause_children`] returns, no process of the server runs.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

const WAIT_TIMEOUT: Duration = Duration::from_secs(5);

/// The children of a postmaster: backends, writers, workers.
pub(super) fn children(postmaster: u32) -> Vec<u32> {
    let Ok(processes) = std::fs::read_dir("/proc") else { return Vec::new() };
    let pids = processes.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    pids.filter(|pid| state_and_parent(*pid).is_some_and(|(_, parent)| parent == postmaster)).collect()
}

/// Signals the processes that still exist.
pub(super) fn signal(pids: &[u32], signal: Signal) {
    for pid in pids.iter().filter_map(|pid| i32::try_from(*pid).ok()) {
        // The process may have ended.
        let _ = kill(Pid::from_raw(pid), signal);
    }
}

/// Stops the children of a postmaster that got SIGSTOP, and waits until all of them have stopped.
pub(super) fn pause_children(postmaster: u32) -> Result<()> {
    // The postmaster must stop first, because it forks children until then.
    wait_until_stopped(&[postmaster])?;
    let children = children(postmaster);
    signal(&children, Signal::SIGSTOP);
    wait_until_stopped(&children)
}

fn wait_until_stopped(pids: &[u32]) -> Result<()> {
    let deadline = Instant::now() + WAIT_TIMEOUT;
    // `T` is stopped, `t` traced, `Z` and `X` ended. No state means that the process does not exist any more.
    let is_stopped = |pid: &u32| state_and_parent(*pid).is_none_or(|(state, _)| "TtZX".contains(state));
    while !pids.iter().all(is_stopped) {
        ensure!(Instant::now() < deadline, "of {pids:?} not all stopped in {WAIT_TIMEOUT:?}");
        std::thread::sleep(Duration::from_millis(1));
    }
    Ok(())
}

/// The state letter and the parent's pid of a process; `None` if it does not exist.
fn state_and_parent(pid: u32) -> Option<(char, u32)> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name of the process may contain parentheses, so parsing begins after the last one.
    let mut fields = stat.get(stat.rfind(')')? + 1..)?.split_whitespace();
    Some((fields.next()?.chars().next()?, fields.next()?.parse().ok()?))
}

//! A child process, `sh`, that ends this process's servers and removes its folders after this process has ended. This
//! works even after SIGKILL: the kernel closes the pipe, and then the shell cleans up everything on its list.

use std::io::Write;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{ChildStdin, Command, Stdio};
use std::sync::{Mutex, PoisonError};

use anyhow::{Context, Result};

const WATCHDOG_SCRIPT: &str = include_str!("watchdog.sh");

static WATCHDOG_STDIN: Mutex<Option<ChildStdin>> = Mutex::new(None);

/// Adds a server to the list. The server gets `signal` (a name such as `KILL`) when this process has ended.
pub(crate) fn watch_server(signal: &str, pid: u32) -> Result<()> {
    send_order(&format!("+ {signal} {pid}\n"))
}

/// Removes a server from the list after it was reaped.
pub(crate) fn forget_server(signal: &str, pid: u32) -> Result<()> {
    send_order(&format!("- {signal} {pid}\n"))
}

/// Adds a folder to the list. The folder is removed when this process has ended.
pub(crate) fn watch_folder(folder: &Path) -> Result<()> {
    send_order(&format!("d {}\n", folder.display()))
}

fn send_order(line: &str) -> Result<()> {
    let mut pipe = WATCHDOG_STDIN.lock().unwrap_or_else(PoisonError::into_inner);
    if pipe.is_none() {
        *pipe = Some(start_shell()?);
    }
    match pipe.as_mut() {
        Some(pipe) => pipe.write_all(line.as_bytes()).context("write to the watchdog"),
        None => Ok(()),
    }
}

/// Starts the watchdog in its own process group, which Ctrl-C does not reach, and in the root folder, which is never
/// removed.
fn start_shell() -> Result<ChildStdin> {
    let mut child = Command::new("sh")
        .args(["-c", WATCHDOG_SCRIPT, "tidings-watchdog"])
        .current_dir("/")
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .process_group(0)
        .spawn()
        .context("start the watchdog shell")?;
    child.stdin.take().context("the watchdog has no stdin")
}

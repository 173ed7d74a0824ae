//! A child process that ends our servers and removes our folders after we have ended.
//! Touches one `sh` per process and its pipe. Even a SIGKILLed process leaves nothing behind: the pipe closes with the
//! process, and the shell then cleans up its list.

use std::io::Write;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{ChildStdin, Command, Stdio};
use std::sync::{Mutex, PoisonError};

use anyhow::{Context, Result};

const SCRIPT: &str = include_str!("watchdog.sh");

static PIPE: Mutex<Option<ChildStdin>> = Mutex::new(None);

/// Adds a server to the list: it gets `signal` (a name such as `KILL`) when this process has ended.
pub(crate) fn watch(signal: &str, pid: u32) -> Result<()> {
    order(&format!("+ {signal} {pid}\n"))
}

/// Removes a server from the list after it was reaped.
pub(crate) fn forget(signal: &str, pid: u32) -> Result<()> {
    order(&format!("- {signal} {pid}\n"))
}

/// Adds a folder to the list: it is removed when this process has ended.
pub(crate) fn sweep(folder: &Path) -> Result<()> {
    order(&format!("d {}\n", folder.display()))
}

fn order(line: &str) -> Result<()> {
    let mut pipe = PIPE.lock().unwrap_or_else(PoisonError::into_inner);
    if pipe.is_none() {
        *pipe = Some(start()?);
    }
    match pipe.as_mut() {
        Some(pipe) => pipe.write_all(line.as_bytes()).context("write to the watchdog"),
        None => Ok(()),
    }
}

/// Starts it in its own process group and in the root folder, so that Ctrl-C or a removed folder does not affect it.
fn start() -> Result<ChildStdin> {
    let mut child = Command::new("sh")
        .args(["-c", SCRIPT, "tidings-watchdog"])
        .current_dir("/")
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .process_group(0)
        .spawn()
        .context("start the watchdog shell")?;
    child.stdin.take().context("the watchdog has no stdin")
}

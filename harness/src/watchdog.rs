//! The child that outlives us by a moment: it ends our servers and removes our folders when we are gone.
//! Touches one `sh` per owner and its pipe. Promises that even a SIGKILLed owner leaves nothing behind:
//! the pipe closes with the owner, and the shell then works off its list.

use std::io::Write;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{ChildStdin, Command, Stdio};
use std::sync::{Mutex, PoisonError};

use anyhow::{Context, Result};

const SCRIPT: &str = include_str!("watchdog.sh");

static PIPE: Mutex<Option<ChildStdin>> = Mutex::new(None);

/// Puts a server on the list: it gets `signal` (a name such as `KILL`) when the owner is gone.
pub(crate) fn watch(signal: &str, pid: u32) -> Result<()> {
    order(&format!("+ {signal} {pid}\n"))
}

/// Takes a server off the list, once it has been reaped.
pub(crate) fn forget(signal: &str, pid: u32) -> Result<()> {
    order(&format!("- {signal} {pid}\n"))
}

/// Has a folder removed when the owner is gone.
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

/// In its own group and from the root folder, so that neither Ctrl-C nor a removed folder disturbs it.
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

//! Collects the commands that a Redis executes, to show what an operation costs.

use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Result, ensure};
use futures_util::StreamExt;
use tokio::task::JoinHandle;

/// Collects commands until dropped, as lines of Redis' MONITOR.
pub struct CommandMonitor {
    lines: Arc<Mutex<Vec<String>>>,
    task: JoinHandle<()>,
}

impl CommandMonitor {
    pub async fn start(url: &str) -> Result<Self> {
        let mut monitor =
            redis::Client::open(url)?.get_async_monitor().await?.into_on_message::<String>().boxed();
        let lines = Arc::<Mutex<Vec<String>>>::default();
        let sink = lines.clone();
        let task = tokio::spawn(async move {
            while let Some(line) = monitor.next().await {
                sink.lock().unwrap_or_else(PoisonError::into_inner).push(line);
            }
        });
        Ok(Self { lines, task })
    }

    /// Removes the collected commands. Returns those that contain one of these names, also commands that scripts call.
    /// Ignores the sweep, which compares the heads of all rooms once a second.
    ///
    /// # Errors
    /// When Redis has closed the connection, so that commands may be missing.
    pub fn take_commands(&self, names: &[&str]) -> Result<Vec<String>> {
        ensure!(!self.task.is_finished(), "Redis has closed the connection of the monitor");
        let mut lines = std::mem::take(&mut *self.lines.lock().unwrap_or_else(PoisonError::into_inner));
        lines.retain(|line| {
            !line.ends_with("\"epoch\" \"seq\"") && names.iter().any(|name| line.contains(name))
        });
        Ok(lines)
    }
}

impl Drop for CommandMonitor {
    fn drop(&mut self) {
        self.task.abort();
    }
}

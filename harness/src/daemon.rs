//! A server process that this process started. It can be killed, paused and started again, and it ends on drop.
//! Touches the child and its log file only. Guarantees that a child is reaped before it is forgotten, and that the
//! watchdog ends the child if this process is killed.

use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// On drop a server gets its stop signal. If it has not ended after this time, it is killed.
const DROP_TIMEOUT: Duration = Duration::from_secs(5);

type Launch = dyn Fn() -> Command + Send + Sync;

/// One server process.
pub struct Daemon {
    name: String,
    launch: Box<Launch>,
    stop_signal: Signal,
    log: PathBuf,
    child: Mutex<Option<Child>>,
}

impl Daemon {
    /// A server that is not started yet. `launch` builds the command of each start. `stop_signal` is the signal by
    /// which drop and the watchdog end the server.
    pub fn new(
        name: impl Into<String>,
        log: impl Into<PathBuf>,
        stop_signal: Signal,
        launch: impl Fn() -> Command + Send + Sync + 'static,
    ) -> Daemon {
        let launch = Box::new(launch);
        Daemon { name: name.into(), launch, stop_signal, log: log.into(), child: Mutex::new(None) }
    }

    /// Starts the server; its output is appended to the log.
    ///
    /// # Errors
    /// When the server runs already, or the program cannot be started.
    pub fn start(&self) -> Result<u32> {
        let mut slot = self.slot();
        if let Some(child) = slot.as_mut()
            && child.try_wait()?.is_none()
        {
            bail!("{} runs already", self.name);
        }
        self.forget_child(&mut slot);
        let log = OpenOptions::new().create(true).append(true).open(&self.log)?;
        let child = (self.launch)()
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .process_group(0)
            .spawn()
            .with_context(|| format!("start {}", self.name))?;
        let pid = child.id();
        *slot = Some(child);
        crate::watchdog::watch_server(signal_name(self.stop_signal), pid)?;
        Ok(pid)
    }

    /// The server's pid, while it runs or is paused.
    pub fn pid(&self) -> Option<u32> {
        let mut slot = self.slot();
        let child = slot.as_mut()?;
        match child.try_wait() {
            Ok(None) => Some(child.id()),
            _ => None,
        }
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        let pid = self.pid().with_context(|| format!("{} does not run", self.name))?;
        kill(Pid::from_raw(i32::try_from(pid)?), signal).with_context(|| format!("{signal} to {}", self.name))
    }

    /// Kills the server with SIGKILL and reaps it. Does nothing if it does not run.
    pub fn kill(&self) {
        let mut slot = self.slot();
        if let Some(child) = slot.as_mut() {
            // The kill fails if the process has ended by itself.
            let _ = child.kill();
            let _ = child.wait();
        }
        self.forget_child(&mut slot);
    }

    /// Sends SIGSTOP: the process stops, its sockets stay open.
    pub fn pause(&self) -> Result<()> {
        self.signal(Signal::SIGSTOP)
    }

    /// Sends SIGCONT: the process continues.
    pub fn resume(&self) -> Result<()> {
        self.signal(Signal::SIGCONT)
    }

    /// Sends `signal` and waits for the end; kills the process after `time_limit`.
    pub async fn stop(&self, signal: Signal, time_limit: Duration) -> Result<()> {
        if self.signal(signal).is_err() {
            return Ok(());
        }
        // A paused process handles the signal only after it continues.
        let _ = self.resume();
        let deadline = Instant::now() + time_limit;
        while self.pid().is_some() {
            if Instant::now() > deadline {
                self.kill();
                bail!("{} did not end within {time_limit:?} of {signal}\n{}", self.name, self.log_tail());
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        self.kill();
        Ok(())
    }

    /// Waits until `ready` returns true.
    ///
    /// # Errors
    /// When the server ends, or is not ready within `time_limit`; with the end of its log.
    pub async fn until_ready<F>(&self, time_limit: Duration, ready: impl Fn() -> F) -> Result<()>
    where
        F: Future<Output = bool>,
    {
        let deadline = Instant::now() + time_limit;
        let mut pause = Duration::from_millis(5);
        loop {
            if ready().await {
                return Ok(());
            }
            if self.pid().is_none() {
                bail!("{} ended while starting\n{}", self.name, self.log_tail());
            }
            if Instant::now() > deadline {
                bail!("{} was not ready within {time_limit:?}\n{}", self.name, self.log_tail());
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(Duration::from_millis(50));
        }
    }

    /// The file with the server's output.
    pub fn log(&self) -> &Path {
        &self.log
    }

    /// The path of the log, and its last 4 KiB.
    pub fn log_tail(&self) -> String {
        log_tail(&self.log)
    }

    fn slot(&self) -> MutexGuard<'_, Option<Child>> {
        self.child.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn forget_child(&self, slot: &mut Option<Child>) {
        if let Some(child) = slot.take() {
            // This fails if the watchdog has ended.
            let _ = crate::watchdog::forget_server(signal_name(self.stop_signal), child.id());
        }
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if self.stop_signal != Signal::SIGKILL && self.signal(self.stop_signal).is_ok() {
            // A paused process handles the signal only after it continues.
            let _ = self.resume();
            let deadline = Instant::now() + DROP_TIMEOUT;
            while self.pid().is_some() && Instant::now() < deadline {
                std::thread::sleep(Duration::from_millis(5));
            }
        }
        self.kill();
    }
}

/// The last 4 KiB of a log, after its path.
pub(crate) fn log_tail(log: &Path) -> String {
    let read = || -> std::io::Result<String> {
        let mut file = File::open(log)?;
        let length = file.metadata()?.len();
        file.seek(SeekFrom::Start(length.saturating_sub(4096)))?;
        let mut tail = Vec::new();
        file.read_to_end(&mut tail)?;
        Ok(String::from_utf8_lossy(&tail).into_owned())
    };
    format!("--- end of {} ---\n{}", log.display(), read().unwrap_or_else(|error| error.to_string()))
}

fn signal_name(signal: Signal) -> &'static str {
    signal.as_str().trim_start_matches("SIG")
}

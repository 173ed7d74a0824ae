//! A server process that we started: it can be killed, paused and started again, and it ends on drop.
//! Touches the child and its log file only. Guarantees that a child is reaped before it is forgotten, and that the
//! watchdog ends it if we cannot.

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

/// How long a server may take to end after its signal on drop before it is killed.
const DROP_PATIENCE: Duration = Duration::from_secs(5);

type Launch = dyn Fn() -> Command + Send + Sync;

/// One server process.
pub struct Daemon {
    name: String,
    launch: Box<Launch>,
    ending: Signal,
    log: PathBuf,
    child: Mutex<Option<Child>>,
}

impl Daemon {
    /// Describes a server. `launch` builds the command of each start; `ending` is the signal with which drop and the
    /// watchdog end it.
    pub fn new(
        name: impl Into<String>,
        log: impl Into<PathBuf>,
        ending: Signal,
        launch: impl Fn() -> Command + Send + Sync + 'static,
    ) -> Daemon {
        let launch = Box::new(launch);
        Daemon { name: name.into(), launch, ending, log: log.into(), child: Mutex::new(None) }
    }

    /// Starts it; its output is appended to the log.
    ///
    /// # Errors
    /// When it runs already, or the program cannot be started.
    pub fn start(&self) -> Result<u32> {
        let mut slot = self.slot();
        if let Some(child) = slot.as_mut()
            && child.try_wait()?.is_none()
        {
            bail!("{} runs already", self.name);
        }
        self.release(&mut slot);
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
        crate::watchdog::watch(short(self.ending), pid)?;
        Ok(pid)
    }

    /// Its pid, while it runs (or is paused).
    pub fn pid(&self) -> Option<u32> {
        let mut slot = self.slot();
        let child = slot.as_mut()?;
        match child.try_wait() {
            Ok(None) => Some(child.id()),
            _ => None,
        }
    }

    /// Sends a signal.
    ///
    /// # Errors
    /// When it does not run.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        let pid = self.pid().with_context(|| format!("{} does not run", self.name))?;
        kill(Pid::from_raw(i32::try_from(pid)?), signal).with_context(|| format!("{signal} to {}", self.name))
    }

    /// SIGKILL, and reaped when this returns. Does nothing when it does not run.
    pub fn kill(&self) {
        let mut slot = self.slot();
        if let Some(child) = slot.as_mut() {
            // The kill fails if the process has ended by itself.
            let _ = child.kill();
            let _ = child.wait();
        }
        self.release(&mut slot);
    }

    /// SIGSTOP: the process stops, its sockets stay open.
    ///
    /// # Errors
    /// When it does not run.
    pub fn pause(&self) -> Result<()> {
        self.signal(Signal::SIGSTOP)
    }

    /// SIGCONT: the process continues.
    ///
    /// # Errors
    /// When it does not run.
    pub fn resume(&self) -> Result<()> {
        self.signal(Signal::SIGCONT)
    }

    /// Sends `signal` and waits for the end; kills the process after `patience`.
    ///
    /// # Errors
    /// When it had to be killed.
    pub async fn stop(&self, signal: Signal, patience: Duration) -> Result<()> {
        if self.signal(signal).is_err() {
            return Ok(());
        }
        // A paused process handles the signal only after it continues.
        let _ = self.resume();
        let deadline = Instant::now() + patience;
        while self.pid().is_some() {
            if Instant::now() > deadline {
                self.kill();
                bail!("{} did not end within {patience:?} of {signal}\n{}", self.name, self.log_tail());
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        self.kill();
        Ok(())
    }

    /// Waits until `ready` returns true.
    ///
    /// # Errors
    /// When it ends, or is not ready within `patience`: with the last lines of its log.
    pub async fn until_ready<F>(&self, patience: Duration, ready: impl Fn() -> F) -> Result<()>
    where
        F: Future<Output = bool>,
    {
        let deadline = Instant::now() + patience;
        let mut pause = Duration::from_millis(5);
        loop {
            if ready().await {
                return Ok(());
            }
            if self.pid().is_none() {
                bail!("{} ended while starting\n{}", self.name, self.log_tail());
            }
            if Instant::now() > deadline {
                bail!("{} was not ready within {patience:?}\n{}", self.name, self.log_tail());
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(Duration::from_millis(50));
        }
    }

    /// The file with its output.
    pub fn log(&self) -> &Path {
        &self.log
    }

    /// The last 4 KiB of its output, with its name and path.
    pub fn log_tail(&self) -> String {
        log_tail(&self.log)
    }

    fn slot(&self) -> MutexGuard<'_, Option<Child>> {
        self.child.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn release(&self, slot: &mut Option<Child>) {
        if let Some(child) = slot.take() {
            // This fails if there is no watchdog.
            let _ = crate::watchdog::forget(short(self.ending), child.id());
        }
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if self.ending != Signal::SIGKILL && self.signal(self.ending).is_ok() {
            // A paused process handles the signal only after it continues.
            let _ = self.resume();
            let deadline = Instant::now() + DROP_PATIENCE;
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

fn short(signal: Signal) -> &'static str {
    signal.as_str().trim_start_matches("SIG")
}

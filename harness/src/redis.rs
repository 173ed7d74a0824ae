//! A private, real Redis with its own port and folder, and an append-only file as in production.
//! Touches its folder and its child. Guarantees that the server answers PING when `start` returns, and keeps its port
//! through every kill and restart.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use nix::sys::signal::Signal;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::daemon::Daemon;
use crate::folder::Folder;
use crate::ports;
use crate::wall_clock::WallClock;

const READY_PATIENCE: Duration = Duration::from_secs(10);
const STOP_PATIENCE: Duration = Duration::from_secs(10);

/// One running redis-server.
pub struct Redis {
    daemon: Daemon,
    port: u16,
    data: PathBuf,
    clock: WallClock,
    _folder: Option<Folder>,
}

impl Redis {
    /// Starts one in a new temp folder.
    ///
    /// # Errors
    /// When redis-server is missing or does not come up.
    pub async fn start() -> Result<Redis> {
        let folder = Folder::new()?;
        let path = folder.path().to_owned();
        Self::launch(path, Some(folder)).await
    }

    /// Starts one with its data and log in `folder`.
    ///
    /// # Errors
    /// As [`Redis::start`].
    pub async fn start_in(folder: &Path) -> Result<Redis> {
        Self::launch(folder.to_owned(), None).await
    }

    /// Starts a replica of the Redis on another port of 127.0.0.1; its data and log are in `folder`.
    ///
    /// # Errors
    /// As [`Redis::start`].
    pub async fn follow(folder: &Path, primary: u16) -> Result<Redis> {
        let redis = Self::launch(folder.to_owned(), None).await?;
        redis.command::<()>(redis::cmd("REPLICAOF").arg("127.0.0.1").arg(primary)).await?;
        Ok(redis)
    }

    /// Makes it a primary, with its present data.
    ///
    /// # Errors
    /// When it does not answer.
    pub async fn promote(&self) -> Result<()> {
        self.command(redis::cmd("REPLICAOF").arg("NO").arg("ONE")).await
    }

    /// Whether it is in sync with its primary.
    pub async fn is_in_step(&self) -> bool {
        let info: Result<String> = self.command(redis::cmd("INFO").arg("replication")).await;
        info.is_ok_and(|info| info.contains("master_link_status:up"))
    }

    /// Runs a command.
    ///
    /// # Errors
    /// When it does not answer within seconds, or refuses the command.
    pub async fn command<T: redis::FromRedisValue>(&self, command: &redis::Cmd) -> Result<T> {
        let asking = async {
            let client = redis::Client::open(self.url())?;
            let mut connection = client.get_multiplexed_async_connection().await?;
            command.query_async(&mut connection).await
        };
        Ok(tokio::time::timeout(READY_PATIENCE, asking).await??)
    }

    async fn launch(path: PathBuf, folder: Option<Folder>) -> Result<Redis> {
        let data = path.join("redis");
        std::fs::create_dir_all(&data)?;
        let clock = WallClock::of(&path, "redis");
        let mut tries = 5;
        loop {
            let port = ports::free()?;
            let daemon = Daemon::new("redis-server", path.join("redis.log"), Signal::SIGKILL, {
                let (data, clock) = (data.clone(), clock.clone());
                move || {
                    let mut command = command(&data, port);
                    clock.give_to(&mut command);
                    command
                }
            });
            let (data, clock) = (data.clone(), clock.clone());
            let redis = Redis { daemon, port, data, clock, _folder: None };
            match redis.up().await {
                Ok(()) => return Ok(Redis { _folder: folder, ..redis }),
                Err(error) if tries == 0 || !error.to_string().contains("in use") => return Err(error),
                Err(_) => tries -= 1,
            }
        }
    }

    async fn up(&self) -> Result<()> {
        self.daemon.start()?;
        self.daemon.until_ready(READY_PATIENCE, || answers(self.port)).await
    }

    /// `redis://127.0.0.1:PORT`
    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// Its port of 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Its pid, while it runs.
    pub fn pid(&self) -> Option<u32> {
        self.daemon.pid()
    }

    /// Its wall clock.
    pub fn clock(&self) -> &WallClock {
        &self.clock
    }

    /// SIGKILL. Redis writes a command to its append-only file before it answers, unless the file is being synced, so
    /// nearly nothing is lost. [`Redis::restart_truncated`] loses data.
    pub fn kill(&self) {
        self.daemon.kill();
    }

    /// SIGTERM: Redis writes everything and ends.
    ///
    /// # Errors
    /// When it had to be killed.
    pub async fn stop(&self) -> Result<()> {
        self.daemon.stop(Signal::SIGTERM, STOP_PATIENCE).await
    }

    /// Starts it again with its data on the same port (stops it first when it runs).
    ///
    /// # Errors
    /// When it does not come up.
    pub async fn restart(&self) -> Result<()> {
        self.stop().await?;
        self.up().await
    }

    /// Starts it again without any data on the same port.
    ///
    /// # Errors
    /// When it does not come up.
    pub async fn restart_empty(&self) -> Result<()> {
        self.kill();
        std::fs::remove_dir_all(&self.data)?;
        std::fs::create_dir_all(&self.data)?;
        self.up().await
    }

    /// Kills it, removes up to this many bytes from the end of its append-only file, as a crash of the machine may, and
    /// starts it again.
    ///
    /// # Errors
    /// When the current part of the file stays empty, or Redis does not start.
    pub async fn restart_truncated(&self, bytes: u64) -> Result<()> {
        // After a rewrite or a replication, the current part is empty at first.
        let begun = Instant::now();
        while std::fs::metadata(self.written_to()?)?.len() == 0 {
            ensure!(begun.elapsed() < READY_PATIENCE, "nothing is written to the append-only file");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        self.kill();
        cut(&self.written_to()?, bytes)?;
        self.up().await
    }

    /// The current part of the append-only file. Earlier parts must not be changed, or Redis does not start.
    fn written_to(&self) -> Result<PathBuf> {
        let mut parts = Vec::new();
        for file in std::fs::read_dir(self.data.join("appendonlydir"))? {
            let path = file?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            if let Some(number) = name.strip_suffix(".incr.aof").and_then(|name| name.rsplit('.').next()) {
                parts.push((number.parse::<u64>()?, path));
            }
        }
        Ok(parts.into_iter().max().context("there is no append-only file")?.1)
    }

    /// SIGSTOP.
    ///
    /// # Errors
    /// When it does not run.
    pub fn pause(&self) -> Result<()> {
        self.daemon.pause()
    }

    /// SIGCONT.
    ///
    /// # Errors
    /// When it does not run.
    pub fn resume(&self) -> Result<()> {
        self.daemon.resume()
    }
}

/// Removes bytes from the end of a file, at least one.
fn cut(path: &Path, bytes: u64) -> Result<()> {
    let file = std::fs::OpenOptions::new().write(true).open(path)?;
    let length = file.metadata()?.len();
    ensure!(length > 0 && bytes > 0, "nothing is cut off {}: {bytes} of {length} bytes", path.display());
    Ok(file.set_len(length.saturating_sub(bytes))?)
}

/// The command line of a private Redis with its data in `data`.
pub(crate) fn command(data: &Path, port: u16) -> Command {
    let mut command = Command::new("redis-server");
    command
        .current_dir(data)
        .args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--protected-mode", "yes"])
        .args(["--daemonize", "no", "--save", "", "--appendonly", "yes", "--appendfsync", "everysec"])
        .args(["--maxmemory-policy", "noeviction", "--dir"])
        .arg(data);
    command
}

/// Whether a Redis on this port answers PING (while it loads its data, it does not).
pub(crate) async fn answers(port: u16) -> bool {
    let ask = async {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).await.context("connect")?;
        stream.write_all(b"PING\r\n").await?;
        let mut answer = [0_u8; 5];
        stream.read_exact(&mut answer).await?;
        anyhow::Ok(&answer == b"+PONG")
    };
    matches!(tokio::time::timeout(Duration::from_millis(500), ask).await, Ok(Ok(true)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn truncation_of_an_empty_file_fails() {
        let folder = Folder::new().unwrap();
        let file = folder.path().join("a.incr.aof");
        std::fs::write(&file, "12345").unwrap();
        assert!(cut(&file, 0).is_err());
        cut(&file, 2).unwrap();
        assert_eq!(std::fs::read(&file).unwrap(), b"123");
        cut(&file, 9).unwrap();
        assert!(cut(&file, 9).is_err(), "it is empty");
    }
}

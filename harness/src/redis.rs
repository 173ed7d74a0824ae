//! A private, real Redis with its own port and folder, and an append-only file as in production. The server answers
//! PING when `start` returns, and keeps its port over restarts.

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

mod cluster;
pub mod cluster_nodes;
pub(crate) mod forming;
mod image;
mod monitor;
mod sentinel;
mod shards;
pub(crate) mod slot_move;

pub use cluster::RedisCluster;
pub(crate) use cluster::add_arguments as add_cluster_arguments;
pub use image::RedisImage;
pub use monitor::CommandMonitor;
pub use sentinel::Sentinel;
pub(crate) use shards::cluster_url;
#[cfg(feature = "faults")]
pub(crate) use shards::partition_of;
pub use shards::{RedisTopology, Shards};

const READY_TIMEOUT: Duration = Duration::from_secs(10);
const STOP_TIMEOUT: Duration = Duration::from_secs(10);
/// The file in which a node of a cluster keeps what it knows about the cluster.
const CLUSTER_FILE: &str = "nodes.conf";

/// How Redis runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    Single,
    ClusterNode,
}

/// One running redis-server.
pub struct Redis {
    daemon: Daemon,
    port: u16,
    /// The port for the other nodes, if this is a node of a cluster.
    bus_port: Option<u16>,
    data: PathBuf,
    clock: WallClock,
    _folder: Option<Folder>,
}

impl Redis {
    /// Starts a Redis in a new temporary folder.
    ///
    /// # Errors
    /// When redis-server is missing or does not start.
    pub async fn start() -> Result<Redis> {
        let folder = Folder::new()?;
        let path = folder.path().to_owned();
        Self::launch(path, Some(folder), Mode::Single, &[]).await
    }

    /// Like [`Redis::start`], but runs Redis under another program, such as `valgrind`. `launcher` is this program with
    /// its arguments.
    ///
    /// # Errors
    /// When a program is missing, or Redis does not start.
    pub async fn start_under(launcher: &[String]) -> Result<Redis> {
        let folder = Folder::new()?;
        let path = folder.path().to_owned();
        Self::launch(path, Some(folder), Mode::Single, launcher).await
    }

    /// Starts a Redis with its data and log in `folder`.
    pub async fn start_in(folder: &Path) -> Result<Redis> {
        Self::launch(folder.to_owned(), None, Mode::Single, &[]).await
    }

    /// Starts a replica of the Redis on the port `primary` of 127.0.0.1. Its data and log are in `folder`.
    pub async fn follow(folder: &Path, primary: u16) -> Result<Redis> {
        let redis = Self::launch(folder.to_owned(), None, Mode::Single, &[]).await?;
        redis.command::<()>(redis::cmd("REPLICAOF").arg("127.0.0.1").arg(primary)).await?;
        Ok(redis)
    }

    /// Makes this replica a primary with its present data.
    ///
    /// # Errors
    /// When Redis does not answer.
    pub async fn promote(&self) -> Result<()> {
        self.command(redis::cmd("REPLICAOF").arg("NO").arg("ONE")).await
    }

    /// Whether this replica is in sync with its primary.
    pub async fn is_in_sync(&self) -> bool {
        let info: Result<String> = self.command(redis::cmd("INFO").arg("replication")).await;
        info.is_ok_and(|info| info.contains("master_link_status:up"))
    }

    /// Runs a command.
    ///
    /// # Errors
    /// When Redis does not answer in time, or refuses the command.
    pub async fn command<T: redis::FromRedisValue>(&self, command: &redis::Cmd) -> Result<T> {
        command_at(&self.url(), command).await
    }

    async fn launch(path: PathBuf, folder: Option<Folder>, mode: Mode, launcher: &[String]) -> Result<Redis> {
        let data = path.join("redis");
        std::fs::create_dir_all(&data)?;
        let clock = WallClock::of(&path, "redis");
        let mut tries = 5;
        loop {
            let port = ports::free()?;
            let bus_port = (mode == Mode::ClusterNode).then(ports::free).transpose()?;
            let daemon = Daemon::new("redis-server", path.join("redis.log"), Signal::SIGKILL, {
                let (data, clock, launcher) = (data.clone(), clock.clone(), launcher.to_owned());
                move || {
                    let mut command = under(&launcher, command(&data, port));
                    if let Some(bus_port) = bus_port {
                        add_cluster_arguments(&mut command, bus_port);
                    }
                    clock.apply_to(&mut command);
                    command
                }
            });
            let (data, clock) = (data.clone(), clock.clone());
            let redis = Redis { daemon, port, bus_port, data, clock, _folder: None };
            match redis.start_and_wait().await {
                Ok(()) => return Ok(Redis { _folder: folder, ..redis }),
                Err(error) if tries == 0 || !error.to_string().contains("in use") => return Err(error),
                Err(_) => tries -= 1,
            }
        }
    }

    async fn start_and_wait(&self) -> Result<()> {
        self.daemon.start()?;
        self.daemon.until_ready(READY_TIMEOUT, || answers_ping(self.port)).await
    }

    /// `redis://127.0.0.1:PORT`
    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// The port of 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The pid, while Redis runs.
    pub fn pid(&self) -> Option<u32> {
        self.daemon.pid()
    }

    /// The wall clock of Redis.
    pub fn clock(&self) -> &WallClock {
        &self.clock
    }

    /// Kills Redis with SIGKILL. Nearly nothing is lost, because Redis writes a command to its append-only file before
    /// it answers, except while the file is being synced. To lose data, use [`Redis::restart_truncated`].
    pub fn kill(&self) {
        self.daemon.kill();
    }

    /// Sends SIGTERM, after which Redis writes all data, and waits until it ends.
    pub async fn stop(&self) -> Result<()> {
        self.daemon.stop(Signal::SIGTERM, STOP_TIMEOUT).await
    }

    /// Starts Redis again with its data on the same port. If it still runs, it is stopped first.
    pub async fn restart(&self) -> Result<()> {
        self.stop().await?;
        self.start_and_wait().await
    }

    /// Starts Redis again without any data on the same port. If it still runs, it is killed first. A node of a cluster
    /// keeps what it knows about the cluster.
    pub async fn restart_empty(&self) -> Result<()> {
        self.kill();
        for entry in std::fs::read_dir(&self.data)? {
            let path = entry?.path();
            if path.is_dir() {
                std::fs::remove_dir_all(path)?;
            } else if path.file_name().is_some_and(|name| name != CLUSTER_FILE) {
                std::fs::remove_file(path)?;
            }
        }
        self.start_and_wait().await
    }

    /// Kills Redis, removes up to this many bytes from the end of its append-only file, and starts it again. A crash of
    /// the machine may lose such bytes.
    ///
    /// # Errors
    /// When the current part of the file stays empty, or Redis does not start.
    pub async fn restart_truncated(&self, bytes: u64) -> Result<()> {
        // The current part of the file is empty after a rewrite or a replication, until Redis writes a command.
        let begun = Instant::now();
        while std::fs::metadata(self.current_aof_part()?)?.len() == 0 {
            ensure!(begun.elapsed() < READY_TIMEOUT, "nothing is written to the append-only file");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        self.kill();
        truncate_end(&self.current_aof_part()?, bytes)?;
        self.start_and_wait().await
    }

    /// The path of the current part of the append-only file. If earlier parts are changed, Redis does not start.
    fn current_aof_part(&self) -> Result<PathBuf> {
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

    /// Pauses Redis with SIGSTOP.
    pub fn pause(&self) -> Result<()> {
        self.daemon.pause()
    }

    /// Resumes Redis with SIGCONT.
    pub fn resume(&self) -> Result<()> {
        self.daemon.resume()
    }
}

/// Removes bytes from the end of a file: at least one byte, at most all.
fn truncate_end(path: &Path, bytes: u64) -> Result<()> {
    let file = std::fs::OpenOptions::new().write(true).open(path)?;
    let length = file.metadata()?.len();
    ensure!(length > 0 && bytes > 0, "nothing is cut off {}: {bytes} of {length} bytes", path.display());
    Ok(file.set_len(length.saturating_sub(bytes))?)
}

/// Runs a command at the Redis with this URL.
///
/// # Errors
/// When Redis does not answer in time, or refuses the command.
pub(crate) async fn command_at<T: redis::FromRedisValue>(url: &str, command: &redis::Cmd) -> Result<T> {
    // The client's default response timeout of 500 ms is too short for a loaded node.
    let config = redis::AsyncConnectionConfig::new()
        .set_connection_timeout(Some(READY_TIMEOUT))
        .set_response_timeout(Some(READY_TIMEOUT));
    let asking = async {
        let client = redis::Client::open(url)?;
        let mut connection = client.get_multiplexed_async_connection_with_config(&config).await?;
        command.query_async(&mut connection).await
    };
    Ok(tokio::time::timeout(READY_TIMEOUT, asking).await??)
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

/// The command that runs `command` under a launcher. An empty launcher changes nothing.
fn under(launcher: &[String], command: Command) -> Command {
    let Some((program, arguments)) = launcher.split_first() else { return command };
    let mut launched = Command::new(program);
    launched.args(arguments).arg(command.get_program()).args(command.get_args());
    if let Some(folder) = command.get_current_dir() {
        launched.current_dir(folder);
    }
    launched
}

/// Whether a Redis on this port answers PING. Redis does not answer while it loads its data.
pub(crate) async fn answers_ping(port: u16) -> bool {
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
        assert!(truncate_end(&file, 0).is_err());
        truncate_end(&file, 2).unwrap();
        assert_eq!(std::fs::read(&file).unwrap(), b"123");
        truncate_end(&file, 9).unwrap();
        assert!(truncate_end(&file, 9).is_err(), "it is empty");
    }
}

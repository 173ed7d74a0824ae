//! A private Redis Sentinel on 127.0.0.1, which watches one master and replaces it by a replica when it does not answer.

use std::process::Command;

use anyhow::{Result, ensure};
use nix::sys::signal::Signal;

use super::{READY_TIMEOUT, answers_ping, command_at};
use crate::daemon::Daemon;
use crate::folder::Folder;
use crate::ports;

/// The name by which Sentinels know the master.
const MASTER_NAME: &str = "chat";

/// One running Sentinel.
pub struct Sentinel {
    daemon: Daemon,
    port: u16,
    _folder: Folder,
}

impl Sentinel {
    /// Starts a Sentinel for the master on this port of 127.0.0.1. `quorum` is the number of Sentinels that must miss the
    /// master before it is replaced. Returns when the Sentinel knows `replicas` replicas.
    ///
    /// # Errors
    /// When the Sentinel does not start, or does not find the replicas.
    pub async fn start(master: u16, quorum: usize, replicas: usize) -> Result<Sentinel> {
        let (folder, port) = (Folder::new()?, ports::free()?);
        let file = folder.path().join("sentinel.conf");
        let lines = [
            format!("port {port}\nbind 127.0.0.1\ndir {}", folder.path().display()),
            format!("sentinel monitor {MASTER_NAME} 127.0.0.1 {master} {quorum}"),
            format!("sentinel down-after-milliseconds {MASTER_NAME} 1000"),
            format!("sentinel failover-timeout {MASTER_NAME} 10000\n"),
        ];
        std::fs::write(&file, lines.join("\n"))?;
        let daemon =
            Daemon::new("redis-sentinel", folder.path().join("sentinel.log"), Signal::SIGKILL, move || {
                let mut command = Command::new("redis-server");
                command.arg(&file).arg("--sentinel");
                command
            });
        daemon.start()?;
        daemon.until_ready(READY_TIMEOUT, || answers_ping(port)).await?;
        let sentinel = Sentinel { daemon, port, _folder: folder };
        // Sentinel asks the master for its replicas at the start, and then every 10 s.
        sentinel.daemon.until_ready(READY_TIMEOUT * 2, || sentinel.knows_replicas(replicas)).await?;
        Ok(sentinel)
    }

    async fn knows_replicas(&self, count: usize) -> bool {
        let mut command = redis::cmd("SENTINEL");
        command.arg("REPLICAS").arg(MASTER_NAME);
        let known: Result<Vec<redis::Value>> = command_at(&self.url(), &command).await;
        known.is_ok_and(|known| known.len() == count)
    }

    /// The port of the master that the Sentinel knows.
    ///
    /// # Errors
    /// When the Sentinel does not answer.
    pub async fn master_port(&self) -> Result<u16> {
        let mut command = redis::cmd("SENTINEL");
        command.arg("GET-MASTER-ADDR-BY-NAME").arg(MASTER_NAME);
        let (host, port): (String, u16) = command_at(&self.url(), &command).await?;
        ensure!(host == "127.0.0.1", "the master is at {host}");
        Ok(port)
    }

    /// The URL for the services: the master that these Sentinels know.
    pub fn services_url(sentinels: &[Sentinel]) -> String {
        let hosts: Vec<String> =
            sentinels.iter().map(|sentinel| format!("127.0.0.1:{}", sentinel.port)).collect();
        format!("redis+sentinel://{}/{MASTER_NAME}", hosts.join(","))
    }

    fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// Kills the Sentinel.
    pub fn kill(&self) {
        self.daemon.kill();
    }
}

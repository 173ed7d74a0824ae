//! A round-robin load balancer in front of any number of gateways. A request reaches the node of its session only by
//! chance.

use std::fmt::Write;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};
use nix::sys::signal::Signal;
use tidings_harness::daemon::Daemon;
use tidings_harness::folder::Folder;
use tidings_harness::{Stack, ports};
use tokio::net::TcpStream;

const READY_TIMEOUT: Duration = Duration::from_secs(20);

/// The balancer notices a killed gateway after half a second. Until then it retries a refused connection on another
/// gateway.
const CONFIGURATION: &str = "
defaults
    mode http
    timeout connect 2s
    timeout client 75s
    timeout server 75s
    timeout tunnel 120s
    retries 3
    option redispatch 1
    retry-on conn-failure
backend gateways
    balance roundrobin
    default-server check inter 500ms fall 1 rise 1
";

/// A running HAProxy without sticky sessions.
pub struct LoadBalancer {
    port: u16,
    _daemon: Daemon,
    _folder: Folder,
}

impl LoadBalancer {
    /// Starts HAProxy in front of all gateways of a stack.
    pub async fn start(stack: &Stack) -> Result<LoadBalancer> {
        let (folder, port) = (Folder::new()?, ports::free()?);
        let mut text = CONFIGURATION.to_owned();
        for (number, gateway) in stack.gateways().iter().enumerate() {
            writeln!(text, "    server gateway-{number} 127.0.0.1:{}", gateway.ports().public)?;
        }
        writeln!(text, "frontend public\n    bind 127.0.0.1:{port}\n    default_backend gateways")?;
        let file = folder.path().join("haproxy.cfg");
        std::fs::write(&file, text)?;
        let daemon = Daemon::new("haproxy", folder.path().join("haproxy.log"), Signal::SIGKILL, move || {
            // Debian installs HAProxy in a folder that is only in root's PATH.
            let path = std::env::var("PATH").unwrap_or_default() + ":/usr/sbin";
            let mut command = Command::new("haproxy");
            command.env("PATH", path).arg("-db").arg("-f").arg(&file);
            command
        });
        daemon.start().context("HAProxy, which Debian has as the package haproxy")?;
        daemon.until_ready(READY_TIMEOUT, || accepts_connections(port)).await?;
        Ok(LoadBalancer { port, _daemon: daemon, _folder: folder })
    }

    /// `http://127.0.0.1:PORT`, without a path.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }
}

async fn accepts_connections(port: u16) -> bool {
    TcpStream::connect(("127.0.0.1", port)).await.is_ok()
}

//! The load balancer of a deployment in front of a test's nodes: HAProxy with the shipped configuration
//! (`deploy/haproxy`). It uses TLS with a certificate for `localhost` that all clients of this process trust.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use nix::sys::signal::Signal;

use crate::daemon::Daemon;
use crate::folder::Folder;
use crate::node::Ports;
use crate::{Node, Nodes, Stack, ports, tls};

const READY_PATIENCE: Duration = Duration::from_secs(30);
const PORT_TRIES: u32 = 5;

/// A running load balancer.
pub struct Balancer {
    daemon: Daemon,
    listeners: Listeners,
    _folder: Folder,
}

/// Its ports on 127.0.0.1.
#[derive(Debug, Clone, Copy)]
struct Listeners {
    http: u16,
    https: u16,
    metrics: u16,
}

impl Balancer {
    /// In front of two gateways and two persistence nodes, in this order.
    ///
    /// # Errors
    /// When the stack has other nodes than these, HAProxy is missing, or not all nodes become ready.
    pub async fn of(stack: &Stack) -> Result<Balancer> {
        let ports = |nodes: &[Node]| -> Vec<Ports> { nodes.iter().map(Node::ports).collect() };
        Self::before(&ports(stack.gateways()), &ports(stack.persistence_nodes())).await
    }

    /// In front of these ports, whatever listens on them.
    ///
    /// # Errors
    /// As [`Balancer::of`].
    pub async fn before(gateways: &[Ports], persistence: &[Ports]) -> Result<Balancer> {
        ensure!(gateways.len() == 2 && persistence.len() == 2, "two of each are in its configuration");
        let folder = Folder::new()?;
        let certificate = folder.path().join("certificate.pem");
        let identity = tls::authority()?.identity(&["localhost"])?;
        std::fs::write(&certificate, identity.certificate + &identity.key)?;
        let mut settings = vec![("CERTIFICATE".to_owned(), certificate.display().to_string())];
        for (name, nodes) in [("GATEWAY", gateways), ("PERSISTENCE", persistence)] {
            for (number, ports) in (1..).zip(nodes) {
                settings.push((format!("{name}_{number}"), format!("127.0.0.1:{}", ports.public)));
                settings.push((format!("{name}_{number}_ADMIN"), ports.admin.to_string()));
            }
        }
        let mut tries = PORT_TRIES;
        loop {
            let listeners =
                Listeners { http: ports::free()?, https: ports::free()?, metrics: ports::free()? };
            let daemon = daemon(folder.path(), listeners, settings.clone());
            daemon.start().context("HAProxy, which Debian has as the package haproxy")?;
            let servers = gateways.len() + persistence.len();
            match daemon.until_ready(READY_PATIENCE, || finds_ready(listeners.metrics, servers)).await {
                Ok(()) => return Ok(Balancer { daemon, listeners, _folder: folder }),
                Err(error) if tries > 0 && format!("{error:#}").contains("in use") => tries -= 1,
                Err(error) => return Err(error),
            }
        }
    }

    /// The nodes as clients see them through the balancer: one origin, with TLS.
    pub fn nodes(&self, stack: &Stack) -> Nodes {
        Nodes { gateways: vec![self.ws()], persistence: vec![self.url()], ..Nodes::of(stack) }
    }

    /// `wss://localhost:PORT/v1/ws`
    pub fn ws(&self) -> String {
        format!("wss://localhost:{}/v1/ws", self.listeners.https)
    }

    /// `https://localhost:PORT`, without a path.
    pub fn url(&self) -> String {
        format!("https://localhost:{}", self.listeners.https)
    }

    /// The port of 127.0.0.1 on which it speaks plain HTTP.
    pub fn http_port(&self) -> u16 {
        self.listeners.http
    }

    /// Its metrics in Prometheus' text format.
    ///
    /// # Errors
    /// When it does not answer.
    pub async fn metrics(&self) -> Result<String> {
        metrics(self.listeners.metrics).await
    }

    /// Its log.
    ///
    /// # Errors
    /// When the log cannot be read.
    pub fn log(&self) -> Result<String> {
        Ok(std::fs::read_to_string(self.daemon.log())?)
    }
}

fn daemon(folder: &Path, listeners: Listeners, mut settings: Vec<(String, String)>) -> Daemon {
    let bind = |port: u16| format!("127.0.0.1:{port}");
    settings.push(("HTTP_BIND".to_owned(), bind(listeners.http)));
    settings.push(("HTTPS_BIND".to_owned(), bind(listeners.https)));
    settings.push(("METRICS_BIND".to_owned(), bind(listeners.metrics)));
    Daemon::new("haproxy", folder.join("haproxy.log"), Signal::SIGKILL, move || {
        // Debian installs it in a folder that is only in root's PATH.
        let path = std::env::var("PATH").unwrap_or_default() + ":/usr/sbin";
        let mut command = Command::new("haproxy");
        let configuration = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/haproxy/haproxy.cfg");
        command.env_clear().env("PATH", path).envs(settings.clone());
        command.arg("-db").arg("-f").arg(configuration);
        command
    })
}

async fn metrics(port: u16) -> Result<String> {
    Ok(crate::http::get(&format!("http://127.0.0.1:{port}/metrics")).await?.text().await?)
}

/// Whether the balancer has checked all servers and found them ready.
async fn finds_ready(port: u16, servers: usize) -> bool {
    let Ok(text) = metrics(port).await else { return false };
    let checked = |line: &&str| {
        line.starts_with("haproxy_server_check_status{")
            && line.contains(r#"state="L7OK""#)
            && line.ends_with(" 1")
    };
    text.lines().filter(checked).count() == servers
}

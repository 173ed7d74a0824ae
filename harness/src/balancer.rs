//! Runs the load balancer of a deployment in front of a test's nodes: HAProxy with the shipped configuration
//! (`deploy/haproxy`). It uses TLS with a certificate for `localhost` that all clients of this process trust.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use nix::sys::signal::Signal;

use crate::daemon::Daemon;
use crate::folder::Folder;
use crate::node::Ports;
use crate::tls::Identity;
use crate::{Node, Nodes, Stack, ports, tls};

const READY_TIMEOUT: Duration = Duration::from_secs(30);
const MAX_PORT_TRIES: u32 = 5;

const CONFIGURATION_FILE: &str = "haproxy.cfg";
const CERTIFICATES_FOLDER: &str = "certificates";

/// The configuration as it is shipped.
pub const SHIPPED: &str = include_str!("../../deploy/haproxy/haproxy.cfg");

/// A running load balancer.
pub struct Balancer {
    daemon: Daemon,
    listeners: ListenerPorts,
    servers: usize,
    folder: Folder,
}

/// The balancer's ports on 127.0.0.1.
#[derive(Debug, Clone, Copy)]
struct ListenerPorts {
    http: u16,
    https: u16,
    metrics: u16,
}

impl Balancer {
    /// Starts a balancer for the nodes of a stack: two gateways and two persistence nodes.
    ///
    /// # Errors
    /// When the stack has another number of nodes, HAProxy is missing, or not all nodes become ready.
    pub async fn of(stack: &Stack) -> Result<Balancer> {
        Self::with(stack, &[]).await
    }

    /// Like [`Balancer::of`], with these environment variables of the configuration.
    pub async fn with(stack: &Stack, variables: &[(&str, &str)]) -> Result<Balancer> {
        Self::start(&ports_of(stack.gateways()), &ports_of(stack.persistence_nodes()), variables, SHIPPED)
            .await
    }

    /// Starts a balancer for two gateways and two persistence nodes on these ports.
    pub async fn before(gateways: &[Ports], persistence: &[Ports]) -> Result<Balancer> {
        Self::start(gateways, persistence, &[], SHIPPED).await
    }

    /// Like [`Balancer::of`], with this certificate.
    pub async fn with_identity(stack: &Stack, identity: Identity) -> Result<Balancer> {
        let (gateways, persistence) = (ports_of(stack.gateways()), ports_of(stack.persistence_nodes()));
        Self::launch(&gateways, &persistence, &[], SHIPPED, identity).await
    }

    /// Like [`Balancer::before`], with these environment variables, and a configuration made of [`SHIPPED`].
    pub async fn start(
        gateways: &[Ports],
        persistence: &[Ports],
        variables: &[(&str, &str)],
        configuration: &str,
    ) -> Result<Balancer> {
        let identity = tls::authority()?.identity(&["localhost"])?;
        Self::launch(gateways, persistence, variables, configuration, identity).await
    }

    async fn launch(
        gateways: &[Ports],
        persistence: &[Ports],
        variables: &[(&str, &str)],
        configuration: &str,
        identity: Identity,
    ) -> Result<Balancer> {
        ensure!(gateways.len() == 2 && persistence.len() == 2, "two of each are in its configuration");
        let folder = Folder::new()?;
        // A folder of certificates, as in compose.yaml.
        let certificates = folder.path().join(CERTIFICATES_FOLDER);
        std::fs::create_dir(&certificates)?;
        write_identity(folder.path(), &identity)?;
        std::fs::write(folder.path().join(CONFIGURATION_FILE), configuration)?;
        let mut settings = vec![("CERTIFICATE".to_owned(), certificates.display().to_string())];
        for (name, nodes) in [("GATEWAY", gateways), ("PERSISTENCE", persistence)] {
            for (number, ports) in (1..).zip(nodes) {
                settings.push((format!("{name}_{number}"), format!("127.0.0.1:{}", ports.public)));
                settings.push((format!("{name}_{number}_ADMIN"), ports.admin.to_string()));
            }
        }
        settings.extend(variables.iter().map(|&(name, value)| (name.to_owned(), value.to_owned())));
        let mut tries = MAX_PORT_TRIES;
        loop {
            let listeners =
                ListenerPorts { http: ports::free()?, https: ports::free()?, metrics: ports::free()? };
            let daemon = haproxy_daemon(folder.path(), listeners, settings.clone());
            daemon.start().context("HAProxy, which Debian has as the package haproxy")?;
            // The servers of these programs are there only if their variables are set.
            let is_set = |variable: &str| variables.iter().any(|(name, _)| *name == variable);
            let is_used = |line: &str| {
                line.starts_with("    server ")
                    && ["WEBHOOKS", "FILES", "PUSH"]
                        .iter()
                        .all(|variable| is_set(variable) || !line.contains(&format!("\"${{{variable}-")))
            };
            let servers = configuration.lines().filter(|line| is_used(line)).count();
            match daemon.until_ready(READY_TIMEOUT, || has_ready_servers(listeners.metrics, servers)).await {
                Ok(()) => return Ok(Balancer { daemon, listeners, servers, folder }),
                Err(error) if tries > 0 && format!("{error:#}").contains("in use") => tries -= 1,
                Err(error) => return Err(error),
            }
        }
    }

    /// Replaces the certificate and starts the balancer again: connections end, and metrics count anew.
    ///
    /// # Errors
    /// When the balancer does not find all nodes ready.
    pub async fn replace_identity(&self, identity: &Identity) -> Result<()> {
        write_identity(self.folder.path(), identity)?;
        self.daemon.kill();
        self.daemon.start()?;
        let ready = || has_ready_servers(self.listeners.metrics, self.servers);
        self.daemon.until_ready(READY_TIMEOUT, ready).await
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

    /// The port of 127.0.0.1 for TLS.
    pub fn https_port(&self) -> u16 {
        self.listeners.https
    }

    /// The port of 127.0.0.1 for plain HTTP.
    pub fn http_port(&self) -> u16 {
        self.listeners.http
    }

    /// The port of 127.0.0.1 for metrics.
    pub fn metrics_port(&self) -> u16 {
        self.listeners.metrics
    }

    /// The balancer's metrics in Prometheus' text format.
    pub async fn metrics(&self) -> Result<String> {
        read_metrics(self.listeners.metrics).await
    }

    /// The balancer's log.
    pub fn log(&self) -> Result<String> {
        Ok(std::fs::read_to_string(self.daemon.log())?)
    }
}

fn write_identity(folder: &Path, identity: &Identity) -> Result<()> {
    let file = folder.join(CERTIFICATES_FOLDER).join("localhost.pem");
    Ok(std::fs::write(file, identity.certificate.clone() + &identity.key)?)
}

fn ports_of(nodes: &[Node]) -> Vec<Ports> {
    nodes.iter().map(Node::ports).collect()
}

fn haproxy_daemon(folder: &Path, listeners: ListenerPorts, mut settings: Vec<(String, String)>) -> Daemon {
    let bind = |port: u16| format!("127.0.0.1:{port}");
    settings.push(("HTTP_BIND".to_owned(), bind(listeners.http)));
    settings.push(("HTTPS_BIND".to_owned(), bind(listeners.https)));
    settings.push(("HTTPS_PORT".to_owned(), listeners.https.to_string()));
    settings.push(("METRICS_BIND".to_owned(), bind(listeners.metrics)));
    let configuration = folder.join(CONFIGURATION_FILE);
    Daemon::new("haproxy", folder.join("haproxy.log"), Signal::SIGKILL, move || {
        // Debian installs HAProxy in a folder that is only in root's PATH.
        let path = std::env::var("PATH").unwrap_or_default() + ":/usr/sbin";
        let mut command = Command::new("haproxy");
        command.env_clear().env("PATH", path).envs(settings.clone());
        command.arg("-db").arg("-f").arg(&configuration);
        command
    })
}

async fn read_metrics(port: u16) -> Result<String> {
    Ok(crate::http::get(&format!("http://127.0.0.1:{port}/metrics")).await?.text().await?)
}

/// Whether the balancer has found all of its `servers` servers ready.
async fn has_ready_servers(port: u16, servers: usize) -> bool {
    let Ok(text) = read_metrics(port).await else { return false };
    let checked = |line: &&str| {
        line.starts_with("haproxy_server_check_status{")
            && line.contains(r#"state="L7OK""#)
            && line.ends_with(" 1")
    };
    text.lines().filter(checked).count() == servers
}

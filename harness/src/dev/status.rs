//! `./dev status`: the running processes and their addresses. The JSON form is a public interface: `play` and other
//! tools find the nodes with it.

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use super::companion::Companion;
use super::detached::Detached;
use super::state::State;
use super::{ADMIN_PORT_OFFSET, Home, demo, ports_of};
use crate::node::Service;
use crate::say;

/// Everything that a client needs to use the system.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// Redis, private or not.
    pub redis_url: String,
    /// The database, private or not.
    pub database_url: String,
    /// `null` if the server is not private or does not run, or if Redis is a cluster.
    pub redis_pid: Option<u32>,
    /// The nodes of the private Redis Cluster, if the system uses it.
    #[serde(default)]
    pub redis_nodes: Vec<RedisNodeStatus>,
    /// `null` if the server is not private or does not run.
    pub postgres_pid: Option<u32>,
    /// The nodes in the order of their numbers.
    pub gateways: Vec<GatewayStatus>,
    /// The nodes in the order of their numbers.
    pub persistence: Vec<PersistenceStatus>,
    /// The companion programs.
    #[serde(default)]
    pub companions: Vec<CompanionStatus>,
    /// The demo's URL, while the demo runs.
    pub demo: Option<String>,
    /// The secret that signs tokens (HS256).
    pub jwt_secret: String,
}

/// A node of the private Redis Cluster.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RedisNodeStatus {
    /// Host and port.
    pub address: String,
    /// `null` if the node does not run.
    pub pid: Option<u32>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GatewayStatus {
    /// The URL for clients, without a path.
    pub url: String,
    /// The URL of the WebSocket; ends in `/v1/ws`.
    pub ws: String,
    /// The URL of health and metrics, without a path.
    pub admin: String,
    /// `null` if the node does not run.
    pub pid: Option<u32>,
}

/// A persistence node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PersistenceStatus {
    /// The URL for clients, without a path.
    pub url: String,
    /// The URL of health and metrics, without a path.
    pub admin: String,
    /// `null` if the node does not run.
    pub pid: Option<u32>,
}

/// A companion program.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CompanionStatus {
    /// `files`, `push` or `webhooks`.
    pub name: Companion,
    /// The URL for clients, without a path.
    pub url: String,
    /// The URL of health and metrics, without a path.
    pub admin: String,
    /// `null` if the program does not run.
    pub pid: Option<u32>,
}

impl Status {
    /// Reads the status from the state and the processes.
    ///
    /// # Errors
    /// When the system was never started.
    pub fn read(home: &Home) -> Result<Status> {
        let state = State::load(home)?;
        (!state.gateways.is_empty()).then_some(()).context("nothing was started yet: ./dev up")?;
        Self::from_state(&state)
    }

    /// The status of this state.
    ///
    /// # Errors
    /// When the ports are invalid.
    pub fn from_state(state: &State) -> Result<Status> {
        let pid = |running: &Option<Detached>| running.as_ref().filter(|it| it.is_alive()).map(|it| it.pid);
        let mut gateways = Vec::new();
        for (number, node) in state.gateways.iter().enumerate() {
            let ports = ports_of(Service::Gateway, state.first_port, number)?;
            gateways.push(GatewayStatus {
                url: format!("http://127.0.0.1:{}", ports.public),
                ws: format!("ws://127.0.0.1:{}/v1/ws", ports.public),
                admin: format!("http://127.0.0.1:{}", ports.admin),
                pid: pid(&node.running),
            });
        }
        let mut persistence = Vec::new();
        for (number, node) in state.persistence.iter().enumerate() {
            let ports = ports_of(Service::Persistence, state.first_port, number)?;
            persistence.push(PersistenceStatus {
                url: format!("http://127.0.0.1:{}", ports.public),
                admin: format!("http://127.0.0.1:{}", ports.admin),
                pid: pid(&node.running),
            });
        }
        let mut companions = Vec::new();
        for (name, node) in &state.companions {
            let port = name.port(state.first_port)?;
            companions.push(CompanionStatus {
                name: *name,
                url: format!("http://127.0.0.1:{port}"),
                admin: format!("http://127.0.0.1:{}", port + ADMIN_PORT_OFFSET),
                pid: pid(&node.running),
            });
        }
        let mut redis_nodes = Vec::new();
        if state.redis_cluster.masters > 0 {
            for node in &state.redis_cluster.nodes {
                let port = node.server.port.context("a node without a port")?;
                let address = format!("127.0.0.1:{port}");
                redis_nodes.push(RedisNodeStatus { address, pid: pid(&node.server.running) });
            }
        }
        Ok(Status {
            redis_url: state.redis_url.clone(),
            database_url: state.database_url.clone(),
            redis_pid: pid(&state.redis.running),
            redis_nodes,
            postgres_pid: pid(&state.postgres.running),
            gateways,
            persistence,
            companions,
            demo: pid(&state.demo.running).map(|_| demo::url(state.first_port)).transpose()?,
            jwt_secret: state.jwt_secret.clone(),
        })
    }

    /// Prints a table for humans.
    pub fn print(&self) {
        let state = |pid: Option<u32>| pid.map_or_else(|| "down".to_owned(), |pid| format!("pid {pid}"));
        for gateway in &self.gateways {
            say!("gateway      {}  {}", gateway.url, state(gateway.pid));
        }
        for persistence in &self.persistence {
            say!("persistence  {}  {}", persistence.url, state(persistence.pid));
        }
        for companion in &self.companions {
            say!("{:<12} {}  {}", companion.name.name(), companion.url, state(companion.pid));
        }
        if let Some(demo) = &self.demo {
            say!("demo         {demo}");
        }
        for node in &self.redis_nodes {
            say!("redis        {}  {}", node.address, state(node.pid));
        }
        if self.redis_nodes.is_empty() {
            say!("redis        {}  {}", self.redis_url, state(self.redis_pid));
        }
        say!("postgres     {}  {}", self.database_url, state(self.postgres_pid));
    }
}

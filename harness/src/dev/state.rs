//! The state that `./dev` keeps between calls: ports, nodes, secrets and pids. It is one JSON file, which is replaced
//! atomically.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use super::companion::Companion;
use super::detached::Detached;
use super::{FIRST_PORT, Home};
use crate::token;

/// A private server.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Server {
    /// The port, which does not change after it was chosen.
    pub port: Option<u16>,
    /// The process; `None` if it was not started or was stopped since.
    pub running: Option<Detached>,
}

/// A node of the private cluster. Its ports never change, because the other nodes know them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClusterServer {
    pub server: Server,
    /// The port for the other nodes.
    pub bus_port: u16,
}

/// The private Redis Cluster.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DevCluster {
    /// Number of masters. 0 means that the system uses a single Redis; the nodes keep their data meanwhile.
    pub masters: usize,
    /// First the masters of the start, then their replicas.
    pub nodes: Vec<ClusterServer>,
    /// Whether the nodes form a cluster.
    pub is_formed: bool,
}

impl DevCluster {
    /// Takes all processes that were started, to stop them.
    pub fn take_running(&mut self) -> Vec<Detached> {
        self.nodes.iter_mut().filter_map(|node| node.server.running.take()).collect()
    }
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DevNode {
    /// The process; `None` if it was not started or was stopped since.
    pub running: Option<Detached>,
    /// The settings with which the node was started. If they change, `up` restarts the node.
    pub settings: Vec<(String, String)>,
}

/// The whole state.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    /// The first gateway's port.
    pub first_port: u16,
    /// The private Redis.
    pub redis: Server,
    /// The private Redis Cluster, which is used in place of the private Redis.
    #[serde(default)]
    pub redis_cluster: DevCluster,
    /// The private PostgreSQL.
    pub postgres: Server,
    /// The URL of Redis, private or not.
    pub redis_url: String,
    /// The URL of the database, private or not.
    pub database_url: String,
    /// The nodes in the order of their numbers.
    pub gateways: Vec<DevNode>,
    /// The nodes in the order of their numbers.
    pub persistence: Vec<DevNode>,
    /// The companion programs.
    #[serde(default)]
    pub companions: BTreeMap<Companion, DevNode>,
    /// The demo's server.
    #[serde(default)]
    pub demo: DevNode,
    /// Secret for tokens (HS256).
    pub jwt_secret: String,
    /// Secret between the services.
    pub internal_secret: String,
    /// Secret that signs the addresses of files.
    #[serde(default = "token::secret")]
    pub files_secret: String,
    /// Private key of push for browsers; empty before push was started.
    #[serde(default)]
    pub vapid_key: String,
}

impl State {
    /// Reads the state, or creates one with new secrets if there is none.
    pub fn load(home: &Home) -> Result<State> {
        let path = home.state_file();
        if !path.exists() {
            return Ok(State {
                first_port: FIRST_PORT,
                redis: Server::default(),
                redis_cluster: DevCluster::default(),
                postgres: Server::default(),
                redis_url: String::new(),
                database_url: String::new(),
                gateways: Vec::new(),
                persistence: Vec::new(),
                companions: BTreeMap::new(),
                demo: DevNode::default(),
                jwt_secret: token::secret(),
                internal_secret: token::secret(),
                files_secret: token::secret(),
                vapid_key: String::new(),
            });
        }
        let text = fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
        serde_json::from_str(&text).with_context(|| format!("{} is broken: ./dev reset", path.display()))
    }

    /// Writes the state; only its owner can read the file, because it contains secrets.
    pub fn save(&self, home: &Home) -> Result<()> {
        let path = home.state_file();
        let draft = path.with_extension("new");
        fs::write(&draft, serde_json::to_string_pretty(self)?)?;
        fs::set_permissions(&draft, fs::Permissions::from_mode(0o600))?;
        fs::rename(draft, path)?;
        Ok(())
    }
}

//! The measured servers. Each runs as processes outside the bench, and a [`Dialect`] describes its frames.

use std::net::SocketAddr;

use crate::dialect::Dialect;
use crate::processes::Process;

pub mod install;
pub mod others;
pub mod tidings;

/// The requirements of a scenario on a server.
#[derive(Debug, Clone, Default)]
pub struct ServerRequirements {
    /// Number of nodes that hold connections. A message must reach the receivers on all nodes.
    pub nodes: usize,
    /// Whether messages are acknowledged only after they are stored.
    pub stored: bool,
}

/// A running server. Dropping it ends all its processes.
pub struct RunningServer {
    /// The addresses of its nodes.
    pub nodes: Vec<SocketAddr>,
    pub dialect: Dialect,
    /// All processes of the server.
    pub processes: Vec<Process>,
    /// The secret that signs tokens (JWT, HS256). Their `sub` is the user.
    pub jwt_secret: String,
    /// Values that are dropped with the server, such as its database and its folder.
    pub guards: Vec<Box<dyn Send>>,
}

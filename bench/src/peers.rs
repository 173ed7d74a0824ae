//! The measured servers, each started as child processes and described by its frames.

use std::net::SocketAddr;

use crate::dialect::Dialect;
use crate::processes::Process;

pub mod install;
pub mod others;
pub mod tidings;

/// The setting of a server.
#[derive(Debug, Clone, Default)]
pub struct Setting {
    /// Number of nodes with connections; with more than one, messages pass between them.
    pub nodes: usize,
    /// Messages are acknowledged after they are stored.
    pub stored: bool,
}

/// A running server. Dropping it ends all its processes.
pub struct Running {
    /// The addresses of its nodes.
    pub nodes: Vec<SocketAddr>,
    pub dialect: Dialect,
    /// All its processes.
    pub processes: Vec<Process>,
    /// The secret of tokens (JWT, HS256, `sub` is the user).
    pub jwt_secret: String,
    /// Values that must live as long as the server.
    pub kept: Vec<Box<dyn Send>>,
}

//! The servers that are measured, each started as child processes and described by its frames.

use std::net::SocketAddr;

use crate::dialect::Dialect;
use crate::processes::Process;

pub mod install;
pub mod others;
pub mod tidings;

/// How a server is to be started.
#[derive(Debug, Clone, Default)]
pub struct Setting {
    /// Nodes that hold connections; with more than one, messages pass between them.
    pub nodes: usize,
    /// Messages are stored, and acknowledged when they are.
    pub stored: bool,
}

/// A server that runs. Dropping it ends all its processes.
pub struct Running {
    /// Where its nodes take WebSockets.
    pub nodes: Vec<SocketAddr>,
    pub dialect: Dialect,
    /// Everything that works for it.
    pub processes: Vec<Process>,
    /// What tokens (JWT, HS256, `sub` is the user) are signed with; its peers check them too.
    pub jwt_secret: String,
    /// What ends when it is dropped.
    pub kept: Vec<Box<dyn Send>>,
}

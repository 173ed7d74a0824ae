//! What the gateway's program does besides serving.

use std::{net::SocketAddr, process::ExitCode};

use clap::{Args, Subcommand};
use tidings_shared::{
    config::{
        admin_address, load,
        problem::{Check, Problem},
    },
    health::Asking,
    program::{self, Aid},
};

use crate::config::GatewayConfig;

/// Subcommands.
#[derive(Debug, Clone, Subcommand)]
pub enum Task {
    /// Ask the gateway that these settings describe how it is, on its operators' port: exit code 0 when it is ready
    Health(Health),
    #[command(flatten)]
    Aid(Aid),
}

/// Whom to ask.
#[derive(Debug, Clone, Args)]
pub struct Health {
    /// Where clients connect
    #[arg(long, env = "TIDINGS_LISTEN", default_value = "127.0.0.1:8080", value_name = "ADDRESS")]
    pub listen: SocketAddr,
    /// Where operators ask. Default: the public port + 10000
    #[arg(long, env = "TIDINGS_ADMIN_LISTEN", value_name = "ADDRESS")]
    pub admin_listen: Option<SocketAddr>,
    #[command(flatten)]
    pub asking: Asking,
}

impl Check for Task {
    fn check(&self) -> Vec<Problem> {
        match self {
            Self::Health(health) => {
                admin_address(health.listen, health.admin_listen).err().into_iter().collect()
            }
            Self::Aid(aid) => aid.check(),
        }
    }
}

/// Does a task.
///
/// # Errors
/// When it cannot be done, or the gateway is not well.
pub fn run(task: &Task) -> anyhow::Result<ExitCode> {
    match task {
        Task::Health(health) => {
            let admin = admin_address(health.listen, health.admin_listen).map_err(anyhow::Error::msg)?;
            Ok(health.asking.tell(admin))
        }
        Task::Aid(aid) => {
            program::print(&aid.text(load::command::<GatewayConfig, Task>()))?;
            Ok(ExitCode::SUCCESS)
        }
    }
}

//! The subcommands of the gateway's program. Without a subcommand, the program serves clients.

use std::{net::SocketAddr, process::ExitCode};

use clap::{Args, Subcommand};
use tidings_shared::{
    config::{
        admin_address, load,
        problem::{Check, Problem},
    },
    health::HealthProbe,
    program::{self, DescribeCommand},
};

use crate::config::GatewayConfig;

/// Subcommands.
#[derive(Debug, Clone, Subcommand)]
pub enum Task {
    /// Ask the gateway that these settings describe for its health, on its admin port: exit code 0 when it is ready
    Health(Health),
    #[command(flatten)]
    Describe(DescribeCommand),
}

/// The address of the gateway to ask.
#[derive(Debug, Clone, Args)]
pub struct Health {
    /// Listening address for clients
    #[arg(long, env = "TIDINGS_LISTEN", default_value = "127.0.0.1:8080", value_name = "ADDRESS")]
    pub listen: SocketAddr,
    /// Address of the admin port. Default: the public port + 10000
    #[arg(long, env = "TIDINGS_ADMIN_LISTEN", value_name = "ADDRESS")]
    pub admin_listen: Option<SocketAddr>,
    #[command(flatten)]
    pub probe: HealthProbe,
}

impl Check for Task {
    fn check(&self) -> Vec<Problem> {
        match self {
            Self::Health(health) => {
                admin_address(health.listen, health.admin_listen).err().into_iter().collect()
            }
            Self::Describe(describe) => describe.check(),
        }
    }
}

/// Runs a subcommand. Fails if the subcommand fails, or if the gateway is not healthy.
pub async fn run(task: &Task) -> anyhow::Result<ExitCode> {
    match task {
        Task::Health(health) => {
            let admin = admin_address(health.listen, health.admin_listen).map_err(anyhow::Error::msg)?;
            Ok(health.probe.run(admin).await)
        }
        Task::Describe(describe) => {
            program::print(&describe.text(load::command::<GatewayConfig, Task>()))?;
            Ok(ExitCode::SUCCESS)
        }
    }
}

//! The subcommands of the gateway's program. Without a subcommand, the program serves clients.

use std::{net::SocketAddr, path::PathBuf, process::ExitCode};

use clap::{Args, Subcommand};
use tidings_shared::{
    config::{
        admin_address, load,
        problem::{Check, Problem},
    },
    health::HealthProbe,
    program::{self, DescribeCommand},
};

use crate::{config::GatewayConfig, dialect_file};

/// Subcommands.
#[derive(Debug, Clone, Subcommand)]
pub enum Task {
    /// Ask the gateway that these settings describe for its health, on its admin port: exit code 0 when it is ready
    Health(Health),
    /// Check a dialect of Socket.IO clients, or try it. See docs/clients/DIALECTS.md
    #[command(subcommand)]
    Dialect(DialectTask),
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

/// Subcommands for the file of a dialect.
#[derive(Debug, Clone, Subcommand)]
pub enum DialectTask {
    /// Print the number of rules, or all errors with their lines
    Check {
        /// The file
        file: PathBuf,
    },
    /// Show what becomes of an event of a client, or of a frame of the server
    Try {
        /// The file
        file: PathBuf,
        /// The name of an event, or the type of a frame
        event: String,
        /// The arguments of the event, or the fields of the frame, as JSON
        #[arg(allow_negative_numbers = true)]
        arguments: Vec<String>,
        /// The frame that answers the command of the event, as JSON
        #[arg(long)]
        answer: Option<String>,
    },
}

impl DialectTask {
    /// The text to print. The error is for people.
    fn run(&self) -> Result<String, String> {
        match self {
            Self::Check { file } => {
                let (client, server) = dialect_file::read(file)?.rule_counts();
                Ok(format!("ok: {client} rules for events of clients, {server} for frames of the server\n"))
            }
            Self::Try { file, event, arguments, answer } => {
                let dialect = dialect_file::read(file)?;
                dialect_file::describe(&dialect, event, arguments, answer.as_deref())
            }
        }
    }
}

impl Check for Task {
    fn check(&self) -> Vec<Problem> {
        match self {
            Self::Health(health) => {
                admin_address(health.listen, health.admin_listen).err().into_iter().collect()
            }
            Self::Dialect(_) => Vec::new(),
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
        Task::Dialect(dialect) => {
            program::print(&dialect.run().map_err(anyhow::Error::msg)?)?;
            Ok(ExitCode::SUCCESS)
        }
        Task::Describe(describe) => {
            program::print(&describe.text(load::command::<GatewayConfig, Task>()))?;
            Ok(ExitCode::SUCCESS)
        }
    }
}

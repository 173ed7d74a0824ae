//! The subcommands of `tidings-persistence`: migrations, jobs, and information about the program.

use std::net::SocketAddr;
use std::process::ExitCode;

use clap::{Args, Subcommand};
use tidings_migrations::command as migrate;
use tidings_persistence::config::Config;
use tidings_shared::config::{
    admin_address, load,
    problem::{Check, Problem},
};
use tidings_shared::health::HealthProbe;
use tidings_shared::program::{self, DescribeCommand};

use crate::{after_restore, dead_letters, erase, export, import, retention};

/// The subcommands of `tidings-persistence`.
#[derive(Debug, Clone, Subcommand)]
pub enum Task {
    /// Change the schema of the database; run it as one job before the services start
    Migrate(migrate::MigrateArgs),
    /// Move or drop contents of messages that are older than a bound
    Retain(retention::RetainArgs),
    /// Import rooms, members and messages of another system
    Import(import::ImportArgs),
    /// Export users, rooms, members and messages, as lines of JSON that import reads
    Export(export::ExportArgs),
    /// Erase users for good, also blocked ones, and wait until they are erased
    Erase(erase::EraseArgs),
    /// List, replay or drop dead letters, which are records that PostgreSQL refused
    DeadLetter(dead_letters::DeadLetterArgs),
    /// Let the services continue after PostgreSQL was restored to an earlier point in time: exit code 3 if it lost nothing
    AfterRestore(after_restore::AfterRestoreArgs),
    /// Check the health of the service with these settings, on its admin port: exit code 0 when it is ready
    Health(HealthArgs),
    #[command(flatten)]
    Describe(DescribeCommand),
}

/// Arguments of `health`.
#[derive(Debug, Clone, Args)]
pub struct HealthArgs {
    /// Public address of the service
    #[arg(long, env = "TIDINGS_LISTEN", default_value = "127.0.0.1:8081", value_name = "ADDRESS")]
    pub listen: SocketAddr,
    /// Admin address of the service. Default: the public port + 10000
    #[arg(long, env = "TIDINGS_ADMIN_LISTEN", value_name = "ADDRESS")]
    pub admin_listen: Option<SocketAddr>,
    #[command(flatten)]
    pub probe: HealthProbe,
}

impl Check for Task {
    fn unused_settings(&self) -> &'static [&'static str] {
        match self {
            Self::Import(arguments) if arguments.check => &["database-url", "redis-url"],
            _ => &[],
        }
    }

    fn check(&self) -> Vec<Problem> {
        match self {
            Self::Migrate(arguments) => arguments.check(),
            Self::Retain(arguments) => arguments.connection.check(),
            Self::Import(arguments) if arguments.check => Vec::new(),
            Self::Import(arguments) => arguments.connection.check(),
            Self::Export(arguments) => arguments.database.check(),
            Self::Erase(arguments) => arguments.database.check(),
            Self::DeadLetter(arguments) => arguments.connection().check(),
            Self::AfterRestore(arguments) => arguments.connection.check(),
            Self::Health(health) => {
                admin_address(health.listen, health.admin_listen).err().into_iter().collect()
            }
            Self::Describe(describe) => describe.check(),
        }
    }
}

/// Runs a subcommand. If it fails, the work that it finished stays.
pub async fn run(task: Task) -> anyhow::Result<ExitCode> {
    match task {
        Task::Migrate(arguments) => migrate::run(&arguments).await?,
        Task::Retain(arguments) => retention::run(arguments).await?,
        Task::Import(arguments) => import::run(arguments).await?,
        Task::Export(arguments) => export::run(arguments).await?,
        Task::Erase(arguments) => erase::run(arguments).await?,
        Task::DeadLetter(arguments) => dead_letters::run(arguments).await?,
        Task::AfterRestore(arguments) => return after_restore::run(arguments).await,
        Task::Health(health) => {
            let admin = admin_address(health.listen, health.admin_listen).map_err(anyhow::Error::msg)?;
            return Ok(health.probe.run(admin).await);
        }
        Task::Describe(describe) => program::print(&describe.text(load::command::<Config, Task>()))?,
    }
    Ok(ExitCode::SUCCESS)
}

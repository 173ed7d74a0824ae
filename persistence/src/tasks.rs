//! What persistence's program does besides serving: the schema, jobs, and what it tells about itself.

use std::net::SocketAddr;
use std::process::ExitCode;

use clap::{Args, Subcommand};
use tidings_migrations::command as migrate;
use tidings_shared::config::{
    admin_address, load,
    problem::{Check, Problem},
};
use tidings_shared::health::Asking;
use tidings_shared::program::{self, Aid};

use crate::config::Config;
use crate::{dead_letters, export, import, retention};

/// Subcommands.
#[derive(Debug, Clone, Subcommand)]
pub enum Task {
    /// Bring the schema of the database to where it shall be; run it as one job before the services start
    Migrate(migrate::Arguments),
    /// Move or drop contents of messages that are older than a bound
    Retain(retention::Arguments),
    /// Bring rooms, members and messages of another system in
    Import(import::Arguments),
    /// Write users, rooms, members and messages out, as lines of JSON that import reads
    Export(export::Arguments),
    /// See to records that could not be written
    DeadLetter(dead_letters::Arguments),
    /// Ask the service that these settings describe how it is, on its operators' port: exit code 0 when it is ready
    Health(Health),
    #[command(flatten)]
    Aid(Aid),
}

/// Whom to ask.
#[derive(Debug, Clone, Args)]
pub struct Health {
    /// Where clients ask
    #[arg(long, env = "TIDINGS_LISTEN", default_value = "127.0.0.1:8081", value_name = "ADDRESS")]
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
            Self::Migrate(arguments) => arguments.check(),
            Self::Retain(arguments) => arguments.reach.check(),
            Self::Import(arguments) => arguments.reach.check(),
            Self::Export(arguments) => arguments.database.check(),
            Self::DeadLetter(arguments) => arguments.reach().check(),
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
/// Why it did not come to its end. What was done stays done.
pub async fn run(task: Task) -> anyhow::Result<ExitCode> {
    match task {
        Task::Migrate(arguments) => migrate::run(&arguments).await?,
        Task::Retain(arguments) => retention::run(arguments).await?,
        Task::Import(arguments) => import::run(arguments).await?,
        Task::Export(arguments) => export::run(arguments).await?,
        Task::DeadLetter(arguments) => dead_letters::run(arguments).await?,
        Task::Health(health) => {
            let admin = admin_address(health.listen, health.admin_listen).map_err(anyhow::Error::msg)?;
            return Ok(health.asking.tell(admin));
        }
        Task::Aid(aid) => program::print(&aid.text(load::command::<Config, Task>()))?,
    }
    Ok(ExitCode::SUCCESS)
}

//! The subcommands of `tidings-persistence`: migrations, jobs, and information about the program.

use std::process::ExitCode;

use clap::Subcommand;
use tidings_migrations::command as migrate;
use tidings_shared::config::{
    load,
    problem::{Check, Problem},
};
use tidings_shared::program;

use super::{after_restore, dead_letters, erase, export, import, retention};
use crate::config::Config;

mod common {
    use crate::config::Config;

    crate::companion_tasks!(Config, "TIDINGS_LISTEN", "TIDINGS_ADMIN_LISTEN", "127.0.0.1:8081");
}

/// The subcommands of `tidings-persistence`.
#[derive(Debug, Clone, Subcommand)]
pub enum PersistenceTask {
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
    #[command(flatten)]
    Common(common::Task),
}

impl Check for PersistenceTask {
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
            Self::Common(task) => task.check(),
        }
    }
}

/// Runs a subcommand. If it fails, the work that it finished stays.
pub async fn run(task: PersistenceTask) -> anyhow::Result<ExitCode> {
    match task {
        PersistenceTask::Migrate(arguments) => migrate::run(&arguments).await?,
        PersistenceTask::Retain(arguments) => retention::run(arguments).await?,
        PersistenceTask::Import(arguments) => import::run(arguments).await?,
        PersistenceTask::Export(arguments) => export::run(arguments).await?,
        PersistenceTask::Erase(arguments) => erase::run(arguments).await?,
        PersistenceTask::DeadLetter(arguments) => dead_letters::run(arguments).await?,
        PersistenceTask::AfterRestore(arguments) => return after_restore::run(arguments).await,
        // Describes all subcommands, also those that are not common.
        PersistenceTask::Common(common::Task::Describe(describe)) => {
            program::print(&describe.text(load::command::<Config, PersistenceTask>()))?;
        }
        PersistenceTask::Common(task) => return common::run(task).await,
    }
    Ok(ExitCode::SUCCESS)
}

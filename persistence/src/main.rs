//! The program `tidings-persistence`: starts the persistence service, or runs one of its subcommands.

use std::process::ExitCode;

use tidings_persistence::{
    app,
    config::{COMMIT, Config},
    jobs::tasks::{self, PersistenceTask},
};
use tidings_shared::config::load::{Invocation, parse_invocation};
use tidings_shared::{program, telemetry, tls, version};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[tokio::main]
async fn main() -> anyhow::Result<ExitCode> {
    tls::install_provider();
    version::set_commit(COMMIT);
    match parse_invocation::<Config, PersistenceTask>() {
        Invocation::Serve { settings, warnings } => {
            let log = settings.common.log.clone();
            program::serve(&log, &warnings, app::run(*settings)).await.map_err(anyhow::Error::msg)
        }
        Invocation::Task(task) => {
            telemetry::start("warn").map_err(anyhow::Error::msg)?;
            tasks::run(*task).await
        }
    }
}

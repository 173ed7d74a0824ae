//! The program `tidings-persistence`: starts the persistence service, or runs one of its subcommands.

use std::process::ExitCode;

use tidings_jobs::{
    erasure,
    tasks::{self, Task},
};
use tidings_persistence::{
    app,
    config::{COMMIT, Config},
};
use tidings_shared::config::load::{Invocation, parse_invocation};
use tidings_shared::{program, telemetry, tls, version};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[tokio::main]
async fn main() -> anyhow::Result<ExitCode> {
    tls::install_provider();
    version::set_commit(COMMIT);
    match parse_invocation::<Config, Task>() {
        Invocation::Serve { settings, warnings } => {
            let log = settings.common.log.clone();
            let service = app::run(*settings, erasure::run);
            program::serve(&log, &warnings, service).await.map_err(anyhow::Error::msg)
        }
        Invocation::Task(task) => {
            telemetry::start("warn").map_err(anyhow::Error::msg)?;
            tasks::run(*task).await
        }
    }
}

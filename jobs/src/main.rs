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
use tidings_shared::{telemetry, tls, version};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[tokio::main]
async fn main() -> anyhow::Result<ExitCode> {
    tls::install_provider();
    version::set_commit(COMMIT);
    match parse_invocation::<Config, Task>() {
        Invocation::Serve { settings, warnings } => {
            telemetry::start(&settings.common.log).map_err(anyhow::Error::msg)?;
            warnings.iter().for_each(|warning| tracing::warn!("{warning}"));
            Ok(match app::run(*settings, erasure::run).await {
                Ok(()) => ExitCode::SUCCESS,
                Err(error) => {
                    telemetry::log_fatal(&format!("{error:#}"));
                    ExitCode::FAILURE
                }
            })
        }
        Invocation::Task(task) => {
            telemetry::start("warn").map_err(anyhow::Error::msg)?;
            tasks::run(*task).await
        }
    }
}

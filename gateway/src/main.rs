//! Reads the settings, then starts the gateway or runs a subcommand.

use std::process::ExitCode;

use tidings_gateway::{
    app,
    config::GatewayConfig,
    tasks::{self, Task},
};
use tidings_shared::{
    config::load::{Invocation, parse_invocation},
    lifecycle::Lifecycle,
    telemetry, tls, version,
};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> anyhow::Result<ExitCode> {
    tls::install_provider();
    version::set_commit(env!("TIDINGS_COMMIT"));
    // The transport's threads serve the client connections. This thread serves Redis, persistence and the admin port.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (config, warnings) = match parse_invocation::<GatewayConfig, Task>() {
        Invocation::Serve { settings, warnings } => (*settings, warnings),
        Invocation::Task(task) => return runtime.block_on(tasks::run(&task)),
    };
    telemetry::start(&config.common.log).map_err(anyhow::Error::msg)?;
    warnings.iter().for_each(|warning| tracing::warn!("{warning}"));
    Ok(match runtime.block_on(app::run(config, Lifecycle::default())) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            telemetry::log_fatal(&format!("{error:#}"));
            ExitCode::FAILURE
        }
    })
}

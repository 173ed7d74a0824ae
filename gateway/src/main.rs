//! Starts a gateway (settings, logs, then `app`), or runs one of its subcommands.

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
    // Connections live on the transport's own threads. This thread drives Redis, persistence and the admin port.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (config, warnings) = match parse_invocation::<GatewayConfig, Task>() {
        Invocation::Serve { settings, warnings } => (*settings, warnings),
        Invocation::Task(task) => return runtime.block_on(tasks::run(&task)),
    };
    telemetry::start(&config.common.log).map_err(anyhow::Error::msg)?;
    warnings.iter().for_each(|warning| tracing::warn!("{warning}"));
    runtime.block_on(app::run(config, Lifecycle::default()))?;
    Ok(ExitCode::SUCCESS)
}

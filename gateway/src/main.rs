//! Starts a gateway: settings, logs, then `app`; or does one of its tasks.

use std::process::ExitCode;

use tidings_gateway::{
    app,
    config::GatewayConfig,
    tasks::{self, Task},
};
use tidings_shared::{
    config::load::{Asked, ask},
    lifecycle::Lifecycle,
    telemetry, tls, version,
};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> anyhow::Result<ExitCode> {
    tls::prepare();
    version::built_from(env!("TIDINGS_COMMIT"));
    let (config, warnings) = match ask::<GatewayConfig, Task>() {
        Asked::Serve { settings, warnings } => (*settings, warnings),
        Asked::Task(task) => return tasks::run(&task),
    };
    telemetry::start(&config.common.log).map_err(anyhow::Error::msg)?;
    warnings.iter().for_each(|warning| tracing::warn!("{warning}"));
    // Connections live on the transport's own threads; this one drives Redis, persistence and the admin port.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(app::run(config, Lifecycle::default()))?;
    Ok(ExitCode::SUCCESS)
}

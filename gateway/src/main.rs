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
    program, tls, version,
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
    let log = config.common.log.clone();
    let service = app::run(config, Lifecycle::default());
    runtime.block_on(program::serve(&log, &warnings, service)).map_err(anyhow::Error::msg)
}

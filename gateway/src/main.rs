//! Starts a gateway: settings, logs, then `app`.

use clap::Parser;
use tidings_gateway::{app, config::GatewayConfig};
use tidings_shared::{lifecycle::Lifecycle, telemetry};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> anyhow::Result<()> {
    let config = GatewayConfig::parse();
    telemetry::start(&config.common.log).map_err(anyhow::Error::msg)?;
    // Connections live on the transport's own threads; this one drives Redis, persistence and the admin port.
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    runtime.block_on(app::run(config, Lifecycle::default()))
}

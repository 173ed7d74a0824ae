//! Starts the persistence service: settings, logs, then `app`.

use clap::Parser;
use tidings_persistence::{app, config::Config};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let config = Config::parse();
    tidings_shared::telemetry::start(&config.common.log).map_err(|error| anyhow::anyhow!(error))?;
    app::run(config).await
}

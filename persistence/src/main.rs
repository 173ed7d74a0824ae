//! Starts the persistence service: settings, logs, then `app`; or one of its jobs.

use clap::Parser;
use tidings_persistence::{app, config::Config, jobs};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    if let Some(job) = jobs::asked(std::env::args_os()) {
        tidings_shared::telemetry::start("warn").map_err(|error| anyhow::anyhow!(error))?;
        return jobs::run(job).await;
    }
    let config = Config::parse();
    tidings_shared::telemetry::start(&config.common.log).map_err(|error| anyhow::anyhow!(error))?;
    app::run(config).await
}

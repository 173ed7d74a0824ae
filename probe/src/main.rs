//! The program `tidings-probe`: uses an installation as a client does, and measures each step. Without a subcommand it
//! runs for ever and serves metrics.

#![cfg_attr(test, allow(clippy::unwrap_used))]

mod config;
mod connection;
mod credentials;
mod endpoint;
mod http;
mod metrics;
mod round;
mod service;
mod socket;
mod step;
mod tasks;
mod trust;

use std::process::ExitCode;

use config::Config;
use tasks::Task;
use tidings_shared::{
    config::load::{Invocation, parse_invocation},
    program, tls, version,
};

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<ExitCode> {
    tls::install_provider();
    version::set_commit(env!("TIDINGS_COMMIT"));
    match parse_invocation::<Config, Task>() {
        Invocation::Serve { settings, warnings } => {
            let log = settings.log.clone();
            program::serve(&log, &warnings, service::run(*settings)).await.map_err(anyhow::Error::msg)
        }
        Invocation::Task(task) => tasks::run(*task).await,
    }
}

//! The program `tidings-webhooks`: sends the events of the feed to registered HTTP endpoints, at least once, and serves
//! the API that registers them. Several replicas share the work through PostgreSQL.

#![cfg_attr(test, allow(clippy::unwrap_used))]

mod api;
mod config;
mod endpoint;
mod metrics;
mod observer;
mod outcome;
mod reader;
mod sender;
mod service;
mod signing;
mod store;
mod tasks;

use std::process::ExitCode;

use config::Config;
use tasks::Task;
use tidings_shared::{
    config::load::{Invocation, parse_invocation},
    program, tls, version,
};

#[tokio::main]
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

//! The program `tidings-files`: takes uploads of files, and serves them to those who may see the message that names the
//! file. Several replicas share one folder and PostgreSQL.

#![cfg_attr(test, allow(clippy::unwrap_used))]

mod active_uploads;
mod api;
mod bucket;
mod config;
mod content_name;
mod decoding_budget;
mod file;
mod folder;
mod images;
mod inspection;
mod media;
mod metadata;
mod metrics;
mod observer;
mod preview;
mod service;
mod signing;
mod storage;
mod store;
mod sweep;
mod tasks;
mod upload_file;

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

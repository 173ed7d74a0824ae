//! The program `tidings-push`: notifies users who are offline or away of new messages, through the push services of
//! their devices, and serves the API by which users register devices and mute rooms. Several replicas share the work through
//! PostgreSQL.

#![cfg_attr(test, allow(clippy::unwrap_used))]

mod api;
mod app_push;
mod config;
mod device;
mod endpoints;
mod exchange;
mod jwt;
mod metrics;
mod notification;
mod observer;
mod online;
mod outcome;
mod reader;
mod receipts;
mod schedule;
mod service;
mod store;
mod takeback;
mod tasks;
mod web_push;
mod worker;

use std::process::ExitCode;

use config::Config;
use tasks::PushTask;
use tidings_shared::{
    config::load::{Invocation, parse_invocation},
    program, tls, version,
};

#[tokio::main]
async fn main() -> anyhow::Result<ExitCode> {
    tls::install_provider();
    version::set_commit(env!("TIDINGS_COMMIT"));
    match parse_invocation::<Config, PushTask>() {
        Invocation::Serve { settings, warnings } => {
            let log = settings.log.clone();
            program::serve(&log, &warnings, service::run(*settings)).await.map_err(anyhow::Error::msg)
        }
        Invocation::Task(task) => tasks::run(*task).await,
    }
}

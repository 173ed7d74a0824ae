//! Builds the service from its settings and runs it until a signal ends it. At shutdown no new attempt begins, and those
//! that have begun end within their time limit.

use std::sync::Arc;
use std::time::Duration;

use actix_web::web::Data;
use anyhow::Error;
use tidings_persistence::companion::{self, CompanionSettings};
use tidings_persistence::companion_metrics;
use tidings_persistence::database::PoolPurpose;
use tidings_shared::outbound;

use crate::api::{self, ApiState};
use crate::config::Config;
use crate::metrics::Metrics;
use crate::observer;
use crate::reader::{DeliveryLimits, Reader};
use crate::sender::Sending;

/// How long a drain may take beyond the time limit of an attempt.
const DRAIN_MARGIN: Duration = Duration::from_secs(5);
const USER_AGENT: &str = concat!("tidings-webhooks/", env!("CARGO_PKG_VERSION"));

/// Runs until SIGTERM or SIGINT.
pub async fn run(config: Config) -> anyhow::Result<()> {
    let metrics = Metrics::new();
    metrics.create_series();
    let settings = CompanionSettings {
        database_url: &config.database.database_url,
        purpose: PoolPurpose::Webhooks,
        tokens: &config.tokens,
        unknown_users: config.accounts.users,
        secret_files: &config.secret_files,
        listen: config.listen,
        admin_listen: config.admin_listen().map_err(Error::msg)?,
        drain: config.timeout() + DRAIN_MARGIN,
    };
    let common = companion_metrics!(metrics);
    let client =
        outbound::build(USER_AGENT, config.timeout(), config.ca_file.as_deref(), config.allow_private)
            .map_err(Error::msg)?;
    let retry_delays = config.retry_delays().map_err(Error::msg)?;
    companion::run(settings, common, async |running, listener| {
        let (db, lifecycle) = (&running.db, &running.lifecycle);
        let sending = Arc::new(Sending {
            db: db.clone(),
            client,
            allow_private: config.allow_private,
            retry_delays,
            timeout: config.timeout(),
            concurrency: usize::from(config.concurrency),
            metrics: metrics.clone(),
        });
        let callers = running.callers.clone();
        let state = Data::new(ApiState { db: db.clone(), callers, sending: sending.clone() });
        let limits = DeliveryLimits { pending: config.max_pending, dead: config.max_dead };
        let reader = Reader::new(sending, limits, lifecycle.tasks.clone());
        lifecycle.tasks.spawn(reader.run(lifecycle.draining.clone()));
        lifecycle.tasks.spawn(observer::run(db.clone(), metrics.clone(), lifecycle.draining.clone()));
        companion::api::serve(listener, move || api::configure(state.clone()))
    })
    .await
}

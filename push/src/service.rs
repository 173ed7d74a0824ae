//! Builds the service from its settings and runs it until a signal ends it. At shutdown no new attempt begins, and those
//! that have begun end within their time limit.

use std::sync::Arc;
use std::time::Duration;

use actix_web::web::Data;
use anyhow::Error;
use sea_orm::DatabaseConnection;
use tidings_persistence::companion::{self, CompanionSettings};
use tidings_persistence::companion_metrics;
use tidings_persistence::database::PoolPurpose;
use tidings_shared::config::problem::Problem;
use tidings_shared::outbound;
use tidings_shared::presence::PresenceReader;
use tidings_shared::rate::{Rate, UserRateLimiter};

use crate::api::{self, ApiState};
use crate::app_push::AppPush;
use crate::config::{Config, USER_AGENT};
use crate::endpoints::EndpointRules;
use crate::metrics::Metrics;
use crate::observer;
use crate::online::PresenceLookup;
use crate::reader::Reader;
use crate::receipts::ReceiptReader;
use crate::store::MessageRules;
use crate::takeback;
use crate::web_push::WebPush;
use crate::web_push::vapid::VapidKey;
use crate::worker::{self, Worker};

/// How long a drain may take beyond the time limit of an attempt.
const DRAIN_MARGIN: Duration = Duration::from_secs(5);

/// Runs until SIGTERM or SIGINT.
pub async fn run(config: Config) -> anyhow::Result<()> {
    let metrics = Metrics::new();
    metrics.create_series();
    let settings = CompanionSettings {
        database_url: &config.database.database_url,
        purpose: PoolPurpose::Push,
        tokens: &config.tokens,
        unknown_users: config.accounts.users,
        secret_files: &config.secret_files,
        listen: config.listen,
        admin_listen: config.admin_listen().map_err(Error::msg)?,
        drain: config.timeout() + DRAIN_MARGIN,
    };
    let first =
        |problems: Vec<Problem>| Error::msg(problems.first().map(ToString::to_string).unwrap_or_default());
    let app_push = config.app_push().map_err(first)?;
    let (vapid, origins) = (config.vapid().map_err(Error::msg)?, config.origins().map_err(Error::msg)?);
    let endpoints = config.endpoints().map_err(Error::msg)?;
    companion::run(settings, companion_metrics!(metrics), async |running, listener| {
        let (db, lifecycle) = (&running.db, &running.lifecycle);
        let draining = || lifecycle.draining.clone();
        let state = Data::new(ApiState {
            db: db.clone(),
            callers: running.callers.clone(),
            origins,
            rate: UserRateLimiter::new(Rate::per_second(config.requests_per_second)),
            public_key: vapid.public().to_owned(),
            endpoints: endpoints.clone(),
            app_kinds: app_push.kinds(),
        });
        let rules =
            MessageRules { mention_above: config.mention_above.into(), max_age_s: config.ttl_s.into() };
        let reader = Reader {
            db: db.clone(),
            rules,
            delay: config.delay(),
            max_due: config.max_due,
            metrics: metrics.clone(),
        };
        if !app_push.kinds().is_empty() {
            lifecycle.tasks.spawn(takeback::run(db.clone(), metrics.clone(), draining()));
        }
        if let Some(expo) = app_push.expo.clone() {
            let receipts = ReceiptReader { db: db.clone(), expo, metrics: metrics.clone() };
            lifecycle.tasks.spawn(receipts.run(draining()));
        }
        let worker = start_worker(&config, db, &metrics, vapid, endpoints, app_push, rules)?;
        lifecycle.tasks.spawn(api::drop_full_buckets(state.clone(), draining()));
        lifecycle.tasks.spawn(reader.run(draining()));
        lifecycle.tasks.spawn(worker::run(worker, draining()));
        lifecycle.tasks.spawn(observer::run(db.clone(), metrics.clone(), draining()));
        companion::api::serve(listener, move || api::configure(state.clone()))
    })
    .await
}

fn start_worker(
    config: &Config,
    db: &DatabaseConnection,
    metrics: &Metrics,
    vapid: VapidKey,
    endpoints: EndpointRules,
    app_push: AppPush,
    rules: MessageRules,
) -> anyhow::Result<Arc<Worker>> {
    let client =
        outbound::build(USER_AGENT, config.timeout(), config.ca_file.as_deref(), config.allow_private);
    let redis = config.redis.client().map_err(Error::msg)?.named("tidings-push", &config.listen.to_string());
    Ok(Arc::new(Worker {
        db: db.clone(),
        web_push: WebPush {
            client: client.map_err(Error::msg)?,
            vapid,
            endpoints,
            ttl: Duration::from_secs(config.ttl_s.into()),
        },
        app_push,
        presence: PresenceLookup { reader: PresenceReader::new(redis) },
        rules,
        content: config.content,
        delay: config.delay(),
        online_recheck: config.online_recheck(),
        max_online_wait: config.delay() + config.online_wait(),
        timeout: config.timeout(),
        concurrency: usize::from(config.concurrency),
        metrics: metrics.clone(),
    }))
}

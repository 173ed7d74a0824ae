//! Builds the persistence service from its settings and runs it until it ends.
//! At shutdown public HTTP stops first, because its requests wait until ingestion has stored their messages. Then
//! ingestion writes the records that it has read and releases its leases. The listeners for gateways and operators stop
//! last.
//! Long because all parts are made here, in the order in which they need each other.

mod observe;
mod watched_files;

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use actix_server::{Server, ServerHandle};
use actix_web::{App, web::Data};
use anyhow::{Context, Error};
use sea_orm::DatabaseConnection;
use tidings_shared::{
    admin,
    auth::Verifier,
    config::problem,
    lifecycle::{DrainOutcome, Lifecycle},
    log::{
        Log, RedisClient,
        keys::{self, Partition},
        subscriber::{Event, Subscriber},
    },
    security_headers::forbid_sniffing,
    telemetry,
};
use tokio::net::TcpSocket;
use tokio::sync::Notify;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::authority::PostgresAuthority;
use crate::config::Config;
use crate::database::{self, PoolPurpose, outage};
use crate::epoch_cleanup;
use crate::erasure;
use crate::http;
use crate::http_server::{self, ServerSettings};
use crate::indexer::Indexer;
use crate::ingest::Ingest;
use crate::internal;
use crate::last_seen;
use crate::metrics::Metrics;

/// Deadline for requests that still run when the service drains. Requests that wait for `stored` have a longer time
/// limit, which would delay a restart while the database is unavailable.
const HTTP_SHUTDOWN_TIMEOUT_S: u64 = 10;
/// How long the shutdown waits for notices of changes that are still being retried.
const NOTICE_RETRY_DEADLINE: Duration = Duration::from_secs(3);
/// Deadline for the drain after its unready period. Must be shorter than the time after which a supervisor kills the
/// process, usually 30 seconds.
const DRAIN_DEADLINE: Duration = Duration::from_secs(25);
/// Number of connections of a listener that may wait to be accepted.
const ACCEPT_BACKLOG: u32 = 1024;

/// Runs the service until a signal ends it. An error at startup names the setting that caused it.
pub async fn run(config: Config) -> anyhow::Result<()> {
    let lifecycle = Lifecycle::default();
    // The name is new at each start. Otherwise a replica could mistake a lease of its previous process for its own.
    let node = config.common.node_name(config.listen);
    let replica = format!("{node}/{}", uuid::Uuid::now_v7());
    config.common.collector.start_traces("tidings-persistence", &replica).map_err(Error::msg)?;
    let metrics = Metrics::new();
    metrics.create_series(http::openapi::documented_answers());
    let connect = |purpose| database::make_pool(&config.database.database_url, config.lease_ms, purpose);
    let http_db = connect(PoolPurpose::Http { connections: config.database_connections }).await?;
    let accounts_db = connect(PoolPurpose::Accounts).await?;
    let readiness_db = connect(PoolPurpose::Readiness).await?;
    let writer_db = connect(PoolPurpose::Writer).await?;
    let authority_db = connect(PoolPurpose::Authority).await?;
    let background_db = connect(PoolPurpose::Background).await?;
    let redis = config.common.redis.client().map_err(Error::msg)?.named("tidings-persistence", &node);
    let verifier = start_verifier(&config, &metrics)?;
    let (secrets, internal_tls) = watched_files::start(&config, &verifier, &metrics)?;

    let authority = PostgresAuthority::new(authority_db.clone(), redis.clone());
    let limits = config.common.log_limits();
    let log = Log::start(redis.clone(), authority.clone(), limits);
    authority.attach_log(&log);

    // Binds the ports first, to report at once that a port is in use. Until a server listens, connections are refused
    // and clients try another node.
    let public = bind(config.listen, "--listen")?;
    let gateways = bind(config.internal_listen().map_err(Error::msg)?, "--internal-listen")?;
    let operators = bind(config.admin_listen().map_err(Error::msg)?, "--admin-listen")?;
    let operators = operators.listen(ACCEPT_BACKLOG).context("--admin-listen")?.into_std()?;
    let pools = vec![
        ("http", http_db.clone()),
        ("writer", writer_db.clone()),
        ("authority", authority_db.clone()),
        ("behind", background_db.clone()),
        ("accounts", accounts_db.clone()),
        ("readiness", readiness_db.clone()),
    ];
    let operators = serve_operators(operators, &lifecycle, &metrics, (pools, readiness_db), &log, &verifier)?;
    let operators_handle = operators.handle();
    let operators = tokio::spawn(operators);

    // This token counts as a running task until the real tasks are tracked. Without it, a drain during the start would
    // end at once.
    let starting = lifecycle.tasks.token();
    let unready = Duration::from_millis(config.common.unready_ms);
    let end = tokio::spawn({
        let lifecycle = lifecycle.clone();
        async move { lifecycle.run(unready + DRAIN_DEADLINE).await }
    });
    tokio::spawn(outage::watch(http_db.clone(), metrics.clone(), lifecycle.stopping.clone()));
    let migrated = tokio::select! {
        ready = database::wait_until_migrated(&http_db) => { ready?; true }
        () = lifecycle.draining.cancelled() => false,
    };
    if migrated {
        let erasure_requested = Arc::new(Notify::new());
        let state = Data::new(http::State::new(
            (http_db.clone(), accounts_db),
            verifier,
            log.clone(),
            config.http_limits(),
            config.common.origins().map_err(Error::msg)?,
            config.accounts.users,
            erasure_requested.clone(),
        ));
        let internal_state = internal::InternalState {
            db: authority_db,
            log: log.clone(),
            authority,
            unknown_users: config.accounts.users,
            http: state.clone(),
            secrets,
        };
        let gateways = gateways.listen(ACCEPT_BACKLOG).context("--internal-listen")?.into_std()?;
        let gateways = internal::serve(gateways, Data::new(internal_state), internal_tls)?;
        let gateways_handle = gateways.handle();
        let gateways = tokio::spawn(gateways);
        let (indexer_metrics, draining) = (metrics.clone(), lifecycle.draining.clone());
        let closing = closing_token(draining.clone(), unready);
        let public = public.listen(ACCEPT_BACKLOG).context("--listen")?.into_std()?;
        let notice_retries = state.notice_retries.clone();
        let public = serve_public(public, state, metrics.clone(), draining)?;
        let store_last_seen =
            last_seen::run(background_db.clone(), log.clone(), metrics.clone(), closing.clone());
        lifecycle.tasks.spawn(store_last_seen);
        let lease = Duration::from_millis(config.lease_ms);
        let clean_up =
            epoch_cleanup::run(background_db.clone(), replica.clone(), config.audit_days, closing.clone());
        lifecycle.tasks.spawn(clean_up);
        let ingest = Ingest::new(writer_db, log.clone(), redis.clone(), metrics, replica.clone(), lease);
        let _subscriber = subscribe_notices(&redis, &log, &ingest.wake_lease);
        lifecycle.tasks.spawn(erasure::run(http_db.clone(), log, erasure_requested, closing.clone()));
        let changed_rooms = ingest.changed_rooms.clone();
        let indexer = Indexer { db: background_db, changed_rooms, metrics: indexer_metrics, replica };
        lifecycle.tasks.spawn(indexer.run(closing.clone()));
        let serving = run_until_drained(
            lifecycle.draining.clone(),
            closing,
            public,
            gateways_handle,
            notice_retries,
            ingest,
        );
        lifecycle.tasks.spawn(serving);
        drop(starting);
        if end.await?? != DrainOutcome::Drained {
            // The drain did not finish in time. Returns at once, because stopping a listener waits for its requests.
            return Ok(());
        }
        gateways.await??;
    }
    operators_handle.stop(false).await;
    operators.await??;
    telemetry::stop_traces().await;
    Ok(())
}

/// Returns a token that is cancelled when `unready` has passed since the drain began. Until then the service still
/// answers requests, because load balancers need this time to see that the service is not ready.
fn closing_token(draining: CancellationToken, unready: Duration) -> CancellationToken {
    let (closing, begun) = (CancellationToken::new(), draining);
    let closed = closing.clone();
    tokio::spawn(async move {
        begun.cancelled().await;
        tokio::time::sleep(unready).await;
        closed.cancel();
    });
    closing
}

/// Runs public HTTP and ingestion. During the drain stops public HTTP, then ingestion, then the listener for gateways.
/// If one of them ends early, stops the whole service.
async fn run_until_drained(
    draining: CancellationToken,
    closing: CancellationToken,
    public: Server,
    gateways_handle: ServerHandle,
    notice_retries: TaskTracker,
    ingest: Arc<Ingest>,
) {
    let stop = CancellationToken::new();
    let public_handle = public.handle();
    let mut public = tokio::spawn(public);
    let mut ingest = tokio::spawn(ingest.run(stop.clone()));
    tokio::select! {
        () = closing.cancelled() => public_handle.stop(true).await,
        ended = &mut public => tracing::error!(?ended, "the public listener ended"),
        ended = &mut ingest => {
            tracing::error!(?ended, "ingestion ended");
            draining.cancel();
            gateways_handle.stop(false).await;
            return;
        }
    }
    draining.cancel();
    stop.cancel();
    if let Err(error) = ingest.await {
        tracing::error!(%error, "ingestion ended badly");
    }
    notice_retries.close();
    if tokio::time::timeout(NOTICE_RETRY_DEADLINE, notice_retries.wait()).await.is_err() {
        tracing::error!(changes = notice_retries.len(), "some changes did not reach the membership cache");
    }
    gateways_handle.stop(true).await;
}

fn serve_public(
    listener: TcpListener,
    state: Data<http::State>,
    metrics: Metrics,
    draining: CancellationToken,
) -> anyhow::Result<Server> {
    let settings =
        ServerSettings { name: "public", workers: None, shutdown_timeout_s: HTTP_SHUTDOWN_TIMEOUT_S };
    let prepare = http_server::limit_write_idle(http::STALLED_CONNECTION_TIMEOUT);
    let server = http_server::serve(settings, listener, prepare, move || {
        let (metrics, draining) = (metrics.clone(), draining.clone());
        App::new()
            .app_data(Data::new(metrics.clone()))
            .wrap(actix_web::middleware::from_fn(move |request, next| {
                observe::observe(metrics.clone(), draining.clone(), request, next)
            }))
            .wrap(forbid_sniffing())
            .configure(http::configure(state.clone()))
    })?;
    Ok(server)
}

/// Starts the verifier of tokens. Keys from a URL are fetched in the background.
fn start_verifier(config: &Config, metrics: &Metrics) -> anyhow::Result<Arc<Verifier>> {
    let fetches = metrics.key_fetches.clone();
    let fetched = move |good| fetches.with_label_values(&[if good { "good" } else { "failed" }]).inc();
    let settings =
        config.common.check_token_settings().map_err(problem::join_problems).map_err(anyhow::Error::msg)?;
    Ok(Arc::new(Verifier::start(settings, fetched)))
}

/// Serves health and metrics. `pools` are the pools to report, and `db` is the pool of the readiness check.
fn serve_operators(
    listener: TcpListener,
    lifecycle: &Lifecycle,
    metrics: &Metrics,
    (pools, db): (Vec<(&'static str, DatabaseConnection)>, DatabaseConnection),
    log: &Arc<Log>,
    verifier: &Arc<Verifier>,
) -> anyhow::Result<Server> {
    let (metrics, draining) = (metrics.clone(), lifecycle.draining.clone());
    let (log, map_log, verifier) = (log.clone(), log.clone(), verifier.clone());
    let ready = move || {
        let (db, log, draining) = (db.clone(), log.clone(), draining.clone());
        let keys_missing = verifier.missing().map(str::to_owned);
        async move {
            let mut missing = Vec::new();
            if draining.is_cancelled() {
                missing.push("draining".to_owned());
            }
            if !database::is_available(&db).await {
                missing.push("the database does not answer".to_owned());
            }
            // While one shard of a cluster is away, the rooms of the others are served.
            if Partition::all().all(|partition| log.current_session(partition).is_none()) {
                missing.push("no Redis session".to_owned());
            }
            missing.extend(keys_missing);
            missing
        }
    };
    let export = move |ready| {
        database::report_usage(&pools, &metrics);
        if let Some(map) = map_log.map_watch().current() {
            metrics.create_series_of_shards(&map);
        }
        metrics.export(ready)
    };
    Ok(admin::build_server(listener, export, ready)?)
}

/// Subscribes to the stored watermarks and to the notices of free partitions, until the returned subscriber is dropped.
/// Passes watermarks to waiting requests, and wakes the lease task when another replica has released partitions. A
/// missed watermark delays a request by at most a second, because waiting requests also read it every second.
pub(crate) fn subscribe_notices(redis: &RedisClient, log: &Arc<Log>, wake_lease: &Arc<Notify>) -> Subscriber {
    let (watermarks, wake_lease) = (log.watermarks().clone(), wake_lease.clone());
    let subscriber = Subscriber::start(log.map_watch().clone(), redis.clone(), move |event| {
        let Event::Messages(messages) = event else { return };
        for (channel, payload) in messages {
            if keys::is_leases_channel(channel) {
                wake_lease.notify_one();
            } else {
                watermarks.apply_notice(channel, payload);
            }
        }
    });
    for partition in Partition::all() {
        // The confirmation of the subscription is not needed.
        let _ = subscriber.subscribe(partition.stored());
    }
    let (log, subscriber_of_leases) = (log.clone(), subscriber.clone());
    tokio::spawn(async move {
        let _ = subscriber_of_leases.subscribe(keys::leases_channel(log.layout().await));
    });
    subscriber
}

fn bind(address: SocketAddr, setting: &str) -> anyhow::Result<TcpSocket> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    // Without SO_REUSEADDR, connections of the previous process would keep the port in use.
    socket.set_reuseaddr(true)?;
    socket.bind(address).with_context(|| format!("{setting}: cannot listen on {address}"))?;
    Ok(socket)
}

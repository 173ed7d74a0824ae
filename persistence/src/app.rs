//! Builds the service from its settings and runs it to its end.
//! The end: public HTTP stops first, since its senders wait for what they sent to be stored; then ingestion writes
//! what it has read and gives its leases back; the listeners of gateways and operators last.

pub(crate) mod database;
mod observe;

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use actix_http::{HttpService, Protocol};
use actix_server::{Server, ServerHandle};
use actix_service::{ServiceFactoryExt, fn_service, map_config};
use actix_web::{App, dev::AppConfig, web::Data};
use anyhow::{Context, Error};
use redis::Client;
use sea_orm::DatabaseConnection;
use tidings_shared::{
    admin,
    auth::Verifier,
    config::problem,
    lifecycle::{Ending, Lifecycle},
    log::{
        Log, LogLimits,
        keys::{self, Partition},
        stored::Notice,
        subscriber::{Event, Subscriber},
    },
    patience::Patient,
    telemetry,
};
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::Notify;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::authority::PostgresAuthority;
use crate::config::Config;
use crate::erasure::Erasures;
use crate::http;
use crate::indexer::Indexer;
use crate::ingest::Ingest;
use crate::internal;
use crate::metrics::Metrics;
use crate::presence;

/// Requests under way may take so long to be answered once the service drains: longer than a wait for stored
/// would make a restart wait for a database that is away.
const HTTP_SHUTDOWN_S: u64 = 10;
/// How long a connection may take to be shut down.
const HTTP_DISCONNECT_TIMEOUT: Duration = Duration::from_secs(1);
/// So long the membership cache is told again of changes that it could not be told of.
const TELLING_END: Duration = Duration::from_secs(3);
/// All of the end, behind the time in which it serves unready, must fit in what a supervisor gives, 30 s by custom.
const DRAIN: Duration = Duration::from_secs(25);
/// Connections that may wait to be taken.
const BACKLOG: u32 = 1024;

/// Runs the service until it is told to end.
///
/// # Errors
/// When it cannot start, told with the setting at fault.
pub async fn run(config: Config) -> anyhow::Result<()> {
    let lifecycle = Lifecycle::default();
    let replica = replica(&config);
    config.common.collector.start_traces("tidings-persistence", &replica).map_err(Error::msg)?;
    let metrics = Metrics::new();
    let serving = database::connect(&config, database::Use::Serving).await?;
    let writing = database::connect(&config, database::Use::Writing).await?;
    let asked = database::connect(&config, database::Use::Authority).await?;
    let behind = database::connect(&config, database::Use::Behind).await?;
    let redis = config.common.redis.client().map_err(Error::msg)?;
    let verifier = verifier(&config, &metrics)?;

    let authority = PostgresAuthority::new(asked.clone(), redis.clone());
    let limits = LogLimits { max_backlog_records: config.common.max_backlog_records };
    let log = Log::start(redis.clone(), authority.clone(), limits);
    authority.serve(&log);

    // Bound before anything is waited for: a port that is taken is told at once. Nobody is kept waiting: until there is
    // somebody to answer them, who comes is refused, and asks another.
    let public = bind(config.listen, "--listen")?;
    let gateways = bind(config.internal_listen().map_err(Error::msg)?, "--internal-listen")?;
    let operators = bind(config.admin_listen().map_err(Error::msg)?, "--admin-listen")?;
    let operators = operators.listen(BACKLOG)?.into_std()?;
    let pools = vec![
        ("http", serving.clone()),
        ("writer", writing.clone()),
        ("authority", asked.clone()),
        ("behind", behind.clone()),
    ];
    let operators = serve_operators(operators, &lifecycle, &metrics, pools, &log, &verifier)?;
    let operators_end = operators.handle();
    let operators = tokio::spawn(operators);

    // Until the work is tracked, this stands for it: an end in between must not overtake it.
    let starting = lifecycle.tasks.token();
    let unready = Duration::from_millis(config.common.unready_ms);
    let end = tokio::spawn({
        let lifecycle = lifecycle.clone();
        async move { lifecycle.run(unready + DRAIN).await }
    });
    let migrated = tokio::select! {
        ready = database::until_migrated(&serving) => { ready?; true }
        () = lifecycle.draining.cancelled() => false,
    };
    if migrated {
        let secret = config.common.internal_secret.clone();
        let state = internal::State::new(asked, log.clone(), authority, config.users, secret);
        let gateways = internal::serve(gateways.listen(BACKLOG)?.into_std()?, Data::new(state))?;
        let gateways_end = gateways.handle();
        let gateways = tokio::spawn(gateways);
        let (following, draining) = (metrics.clone(), lifecycle.draining.clone());
        let closing = closing(draining.clone(), unready);
        let public = public.listen(BACKLOG)?.into_std()?;
        let (public, telling) = serve_public(public, &config, &serving, &log, &metrics, verifier, &draining)?;
        let write_down = presence::write_down(behind.clone(), log.clone(), metrics.clone(), closing.clone());
        lifecycle.tasks.spawn(write_down);
        let ingest = Ingest::new(writing, log.clone(), redis.clone(), metrics, replica, config.lease());
        let _subscriber = follow(&redis, &log, &ingest.to_take);
        let erasures = Erasures::new(behind.clone(), log);
        lifecycle.tasks.spawn(erasures.look_after(closing.clone()));
        let indexer = Indexer::new(behind, ingest.changed.clone(), following);
        lifecycle.tasks.spawn(indexer.run(closing.clone()));
        let working = work(lifecycle.draining.clone(), closing, public, gateways_end, telling, ingest);
        lifecycle.tasks.spawn(working);
        drop(starting);
        if end.await?? != Ending::Drained {
            // At once: a listener that waits for its last answers would be waited for.
            return Ok(());
        }
        gateways.await??;
    }
    operators_end.stop(false).await;
    operators.await??;
    telemetry::stop_traces().await;
    Ok(())
}

/// Cancelled so long after the end has begun: until then it serves as ever, so that whoever sends requests here finds out
/// that it is not ready before they are refused.
fn closing(draining: CancellationToken, unready: Duration) -> CancellationToken {
    let (closing, begun) = (CancellationToken::new(), draining);
    let closed = closing.clone();
    tokio::spawn(async move {
        begun.cancelled().await;
        tokio::time::sleep(unready).await;
        closed.cancel();
    });
    closing
}

/// Public HTTP and ingestion, and their end in order, what gateways ask last. The end of one without need is the end
/// of all.
async fn work(
    draining: CancellationToken,
    closing: CancellationToken,
    public: Server,
    gateways_end: ServerHandle,
    telling: TaskTracker,
    ingest: Arc<Ingest>,
) {
    let stop = CancellationToken::new();
    let public_end = public.handle();
    let mut public = tokio::spawn(public);
    let mut ingest = tokio::spawn(ingest.run(stop.clone()));
    tokio::select! {
        () = closing.cancelled() => public_end.stop(true).await,
        ended = &mut public => tracing::error!(?ended, "the public listener ended"),
        ended = &mut ingest => {
            tracing::error!(?ended, "ingestion ended");
            draining.cancel();
            gateways_end.stop(false).await;
            return;
        }
    }
    draining.cancel();
    stop.cancel();
    if let Err(error) = ingest.await {
        tracing::error!(%error, "ingestion ended badly");
    }
    telling.close();
    if tokio::time::timeout(TELLING_END, telling.wait()).await.is_err() {
        tracing::error!(changes = telling.len(), "the membership cache was not told of all changes");
    }
    gateways_end.stop(true).await;
}

fn serve_public(
    listener: TcpListener,
    config: &Config,
    db: &DatabaseConnection,
    log: &Arc<Log>,
    metrics: &Metrics,
    verifier: Arc<Verifier>,
    draining: &CancellationToken,
) -> anyhow::Result<(Server, TaskTracker)> {
    let common = &config.common;
    let state = Data::new(http::State::new(
        db.clone(),
        verifier,
        log.clone(),
        config.http_limits(),
        common.origins().map_err(Error::msg)?,
        config.users,
    ));
    let (metrics, telling, draining) = (metrics.clone(), state.telling.clone(), draining.clone());
    // Not actix's own `HttpServer`: it has no bound on the time that a later head may take (see `Patient`).
    let builder = Server::build().disable_signals().shutdown_timeout(HTTP_SHUTDOWN_S);
    let stopping = builder.graceful_shutdown_signal();
    let server = builder.listen("public", listener, move || {
        let (metrics, draining, stopping) = (metrics.clone(), draining.clone(), stopping.clone());
        let app = App::new()
            .wrap(actix_web::middleware::from_fn(move |request, next| {
                observe::observe(metrics.clone(), draining.clone(), request, next)
            }))
            .configure(http::configure(state.clone()));
        let service = HttpService::build()
            .graceful_shutdown_signal(move || {
                let stopping = stopping.clone();
                async move { stopping.notified().await }
            })
            .keep_alive(http::KEEP_ALIVE)
            .client_request_timeout(http::REQUEST_TIMEOUT)
            .client_disconnect_timeout(HTTP_DISCONNECT_TIMEOUT)
            .finish(map_config(app, |_| AppConfig::default()));
        fn_service(|socket: TcpStream| async move {
            // A socket that is gone already tells so when it is read.
            let _ = socket.set_nodelay(true);
            let peer = socket.peer_addr().ok();
            Ok((Patient::new(socket, http::PATIENCE), Protocol::Http1, peer))
        })
        .and_then(service)
    })?;
    Ok((server.run(), telling))
}

/// Starts to check tokens; keys at a URL are fetched behind it.
fn verifier(config: &Config, metrics: &Metrics) -> anyhow::Result<Arc<Verifier>> {
    let fetches = metrics.key_fetches.clone();
    let fetched = move |good| fetches.with_label_values(&[if good { "good" } else { "failed" }]).inc();
    let settings = config.common.tokens().map_err(problem::told).map_err(anyhow::Error::msg)?;
    Ok(Arc::new(Verifier::start(settings, fetched)))
}

fn serve_operators(
    listener: TcpListener,
    lifecycle: &Lifecycle,
    metrics: &Metrics,
    pools: Vec<(&'static str, DatabaseConnection)>,
    log: &Arc<Log>,
    verifier: &Arc<Verifier>,
) -> anyhow::Result<Server> {
    let (metrics, draining) = (metrics.clone(), lifecycle.draining.clone());
    // The first is the one that people ask of.
    let (db, log, verifier) = (pools[0].1.clone(), log.clone(), verifier.clone());
    let ready = move || {
        let (db, log, draining) = (db.clone(), log.clone(), draining.clone());
        let keys_missing = verifier.missing().map(str::to_owned);
        async move {
            let mut missing = Vec::new();
            if draining.is_cancelled() {
                missing.push("draining".to_owned());
            }
            if !database::answers(&db).await {
                missing.push("the database does not answer".to_owned());
            }
            if log.current_session().is_none() {
                missing.push("no Redis session".to_owned());
            }
            missing.extend(keys_missing);
            missing
        }
    };
    Ok(admin::serve(listener, move |ready| metrics.export(&database::filled(&pools), ready), ready)?)
}

/// Brings the notices of all partitions to those who wait in this process, as long as the handle is kept. One that
/// is missed costs a second: watermarks are read while someone waits.
pub(crate) fn follow_watermarks(redis: &Client, log: &Arc<Log>) -> Subscriber {
    follow(redis, log, &Arc::default())
}

/// The same, and wakes who takes partitions when some were given back.
fn follow(redis: &Client, log: &Arc<Log>, to_take: &Arc<Notify>) -> Subscriber {
    let (watermarks, to_take) = (log.watermarks().clone(), to_take.clone());
    let subscriber = Subscriber::start(redis.clone(), move |event| {
        let Event::Message { channel, payload } = event else { return };
        if channel == keys::LEASES {
            to_take.notify_one();
        } else if let Some(partition) = Partition::of_stored_channel(&channel)
            && let Some(notice) = std::str::from_utf8(&payload).ok().and_then(Notice::parse)
        {
            watermarks.notice(partition, &notice);
        }
    });
    for channel in Partition::all().map(Partition::stored).chain([keys::LEASES.to_owned()]) {
        // Confirmations are not waited for.
        let _ = subscriber.subscribe(channel);
    }
    subscriber
}

fn bind(address: SocketAddr, setting: &str) -> anyhow::Result<TcpSocket> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    // As a listener has it: else a port is kept by the connections of the process before.
    socket.set_reuseaddr(true)?;
    socket.bind(address).with_context(|| format!("{setting} {address}"))?;
    Ok(socket)
}

/// Another name at each start: a lease of an earlier life is never taken for one's own.
fn replica(config: &Config) -> String {
    format!("{}/{}", config.listen, uuid::Uuid::now_v7())
}

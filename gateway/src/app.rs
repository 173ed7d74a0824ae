//! Builds a running gateway from its settings, and ends it.

use std::{
    net::{SocketAddr, TcpListener},
    num::NonZeroUsize,
    sync::{Arc, Mutex, PoisonError, atomic::Ordering},
    time::Duration,
};

use actix_web::{HttpResponse, web};
use anyhow::Context;
use governor::{Quota, RateLimiter};
use secrecy::ExposeSecret;
use tidings_shared::{
    admin,
    auth::Verifier,
    config::with_port_offset,
    error::{ErrorCode, Refusal},
    internal::InternalClient,
    lifecycle::Lifecycle,
    log::{self, LogLimits},
    origin::AllowedOrigins,
    protocol::{CloseCode, server::Limits},
};

use crate::{
    bus::{Bus, MAX_WORKERS},
    config::GatewayConfig,
    metrics::Metrics,
    problem,
    session::{ChatAcceptor, Gate},
    transport::{self, TransportConfig},
    worker::{self, Node, Worker},
};

/// Path of the WebSocket.
const WEBSOCKET_PATH: &str = "/v1/ws";
/// Longest frame of a client, reassembled.
const MAX_FRAME_BYTES: usize = 64 * 1024;
/// The operators' port lies this far above the public one.
const ADMIN_PORT_OFFSET: u16 = 10_000;
/// How often allowances that are full again are forgotten.
const FORGET_ALLOWANCES_EVERY: Duration = Duration::from_secs(30);

/// Runs a gateway until it is told to stop.
///
/// # Errors
/// When a listener cannot be bound or a setting is not usable.
pub async fn run(config: GatewayConfig, lifecycle: Lifecycle) -> anyhow::Result<()> {
    config.common.check().map_err(anyhow::Error::msg)?;
    let listener = bind(config.listen)?;
    let listen = listener.local_addr()?;
    let admin_listen = match config.common.admin_listen {
        Some(address) => address,
        None => with_port_offset(listen, ADMIN_PORT_OFFSET).map_err(anyhow::Error::msg)?,
    };
    let admin_listener = bind(admin_listen)?;
    let cores = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
    let workers = config.workers.unwrap_or(cores).clamp(1, MAX_WORKERS);

    let metrics = Metrics::new();
    let (queues, inboxes): (Vec<_>, Vec<_>) = (0..workers).map(|_| worker::queue()).unzip();
    let persistence =
        Arc::new(InternalClient::new(&config.persistence_url, config.common.internal_secret.clone())?);
    let client = log::client(config.common.redis_url.expose_secret()).context("--redis-url")?;
    let limits = LogLimits { max_backlog_records: config.common.max_backlog_records };
    let bus = Bus::start(client, persistence, limits, queues, metrics.clone());

    let quota = Quota::per_second(config.messages_per_second).allow_burst(config.messages_burst);
    let node = Arc::new(Node {
        bus,
        verifier: Verifier::hs256(&config.common.jwt_secret, config.common.jwt_leeway_s),
        allowance: RateLimiter::keyed(quota),
        metrics: metrics.clone(),
        name: config.node.clone().unwrap_or_else(|| listen.to_string()),
        heartbeat_ms: config.heartbeat_ms,
        limits: Limits {
            max_message_chars: config.common.max_message_chars,
            max_frame_bytes: MAX_FRAME_BYTES,
            messages_per_second: config.messages_per_second.get(),
        },
    });
    tokio::spawn(forget_allowances(node.clone()));
    let gate = Arc::new(Gate {
        origins: AllowedOrigins::parse(&config.common.allowed_origins),
        websocket: config.websocket,
        draining: false.into(),
    });

    let server = serve(listener, &config, workers, &node, &gate, inboxes)?;
    let counters = server.counters().clone();
    let (ready_node, ready_gate) = (node.clone(), gate.clone());
    let admin = admin::serve(
        admin_listener,
        move || metrics.export(&counters),
        move || {
            let (node, gate) = (ready_node.clone(), ready_gate.clone());
            async move {
                let mut missing = node.bus.missing().await;
                if gate.draining.load(Ordering::Relaxed) {
                    missing.push("draining".to_owned());
                }
                missing
            }
        },
    )?;
    let admin_handle = admin.handle();
    tokio::spawn(admin);
    tracing::info!(%listen, %admin_listen, workers, "gateway started");

    let drain = Duration::from_millis(config.drain_ms);
    let (stage, transport_gate) = (lifecycle.clone(), gate.clone());
    lifecycle.tasks.spawn(async move {
        stage.draining.cancelled().await;
        transport_gate.draining.store(true, Ordering::Relaxed);
        if let Err(error) = server.stop(CloseCode::ServiceRestart.code(), "the node is stopping", drain).await
        {
            tracing::error!(%error, "the listener failed");
        }
    });
    lifecycle.run(drain * 2).await?;
    admin_handle.stop(false).await;
    Ok(())
}

fn bind(address: SocketAddr) -> anyhow::Result<TcpListener> {
    let listener = TcpListener::bind(address).with_context(|| format!("cannot listen on {address}"))?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

fn serve(
    listener: TcpListener,
    config: &GatewayConfig,
    workers: usize,
    node: &Arc<Node>,
    gate: &Arc<Gate>,
    inboxes: Vec<worker::Inbox>,
) -> anyhow::Result<transport::Server> {
    let mut transport_config = TransportConfig::new(listener);
    transport_config.workers = workers;
    transport_config.websocket_path = Some(WEBSOCKET_PATH.to_owned());
    transport_config.max_message_bytes = MAX_FRAME_BYTES;
    transport_config.heartbeat = Duration::from_millis(config.heartbeat_ms);
    let inboxes: Arc<Mutex<Vec<_>>> = Arc::new(Mutex::new(inboxes.into_iter().map(Some).collect()));
    let (worker_node, worker_gate) = (node.clone(), gate.clone());
    let acceptor = move |index: usize| {
        let mut inboxes = inboxes.lock().unwrap_or_else(PoisonError::into_inner);
        let inbox = inboxes.get_mut(index).and_then(Option::take);
        // A worker that is started anew after a panic has no inbox, and would hold connections that hear nothing.
        let inbox = inbox.unwrap_or_else(|| {
            tracing::error!(index, "a worker was lost; the node ends, so that another takes over");
            std::process::abort()
        });
        ChatAcceptor { worker: Worker::start(index, worker_node.clone(), inbox), gate: worker_gate.clone() }
    };
    let websocket = gate.websocket;
    let routes = move |_: &std::rc::Rc<ChatAcceptor>, app: &mut web::ServiceConfig| {
        app.route("/v1/transport", web::get().to(move || transport_answer(websocket)));
        app.default_service(web::to(no_such_path));
    };
    Ok(transport::serve(transport_config, acceptor, routes)?)
}

/// Tells a browser whether WebSockets are served, since it cannot see why a handshake failed.
async fn transport_answer(websocket: bool) -> HttpResponse {
    HttpResponse::Ok()
        .insert_header(("access-control-allow-origin", "*"))
        .json(serde_json::json!({ "websocket": websocket }))
}

async fn no_such_path() -> HttpResponse {
    let refusal = Refusal::new(ErrorCode::NotFound, "there is nothing at this path");
    HttpResponse::NotFound().content_type("application/problem+json").body(problem::document(&refusal))
}

async fn forget_allowances(node: Arc<Node>) {
    loop {
        tokio::time::sleep(FORGET_ALLOWANCES_EVERY).await;
        node.allowance.retain_recent();
        node.allowance.shrink_to_fit();
    }
}

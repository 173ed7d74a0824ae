//! Builds a gateway from its settings, runs it, and shuts it down.

mod watched_files;

use std::{
    future::ready,
    net::{SocketAddr, TcpListener},
    num::NonZeroUsize,
    sync::{Arc, Mutex},
    time::Duration,
};

use actix_web::{HttpResponse, web};
use anyhow::Context;
use tidings_shared::{
    admin,
    auth::Verifier,
    config::{admin_address, problem as setting},
    error::{ErrorCode, RETRY_AFTER_MS, Refusal},
    internal::InternalClient,
    lifecycle::Lifecycle,
    protocol::server::Limits,
    receipts::Receipts,
    sabotage::{self, Sabotage},
    telemetry,
};
use tokio_util::sync::CancellationToken;

use crate::{
    advertised_address::advertised_address,
    bus::{Bus, MAX_WORKERS, NodeAddresses, NodeAnnouncement},
    config::{GatewayConfig, SocketIoSwitch, session_id_keys},
    drain,
    limits::RateLimits,
    lock::lock,
    metrics::{CachedCounters, Metrics, create_series, report_shards},
    presence::Presence,
    problem,
    session::{AdmissionControl, ChatAcceptor, poll},
    socket_io::Namespace,
    transport::{self, EngineConfig, SessionIdKeys, TransportConfig},
    worker::{self, LateDeliveryDedup, Node, TypingPublisher, Worker},
};

const WEBSOCKET_PATH: &str = "/v1/ws";
/// Maximum size of a WebSocket message from a client, in bytes, as the sum of its fragments.
const MAX_FRAME_BYTES: usize = 64 * 1024;
/// After the drain time, the shutdown may take this long to close the remaining connections, polls and HTTP requests,
/// and to remove the presence of this node's users.
const SHUTDOWN_EXTRA_TIME: Duration = Duration::from_secs(15);
/// Interval at which full rate limit buckets are removed. A full bucket limits nothing.
const FULL_BUCKET_REMOVAL_INTERVAL: Duration = Duration::from_secs(30);

/// Runs a gateway until its shutdown is complete. Fails if a setting is wrong, an address cannot be bound, or the
/// process cannot listen for signals.
pub async fn run(config: GatewayConfig, lifecycle: Lifecycle) -> anyhow::Result<()> {
    let listener = bind(config.listen, "--listen")?;
    let listen = listener.local_addr()?;
    let admin_listen = admin_address(listen, config.common.admin_listen).map_err(anyhow::Error::msg)?;
    let admin_listener = bind(admin_listen, "--admin-listen")?;
    let cores = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
    let workers = config.workers.map_or(cores, usize::from).clamp(1, MAX_WORKERS);

    let name = config.common.node_name(listen);
    config.common.collector.start_traces("tidings-gateway", &name).map_err(anyhow::Error::msg)?;
    let metrics = Metrics::new();
    create_series(&metrics);
    let (queues, inboxes): (Vec<_>, Vec<_>) = (0..workers).map(|_| worker::new_queue()).unzip();
    let secrets = config.common.internal_secrets().map_err(anyhow::Error::msg)?;
    let session_keys = SessionIdKeys::new(&session_id_keys(&secrets));
    let tls = config.internal_tls.load().map_err(anyhow::Error::msg)?.map(|(tls, _)| tls);
    let persistence = Arc::new(InternalClient::with_access(&config.persistence_url, secrets, tls)?);
    let client = config.common.redis.client().map_err(anyhow::Error::msg)?.named("tidings-gateway", &name);
    let redis = client.clone();
    let limits = config.common.log_limits();
    let connections_per_user = usize::try_from(config.connections_per_user.get()).unwrap_or(usize::MAX);
    let bus = Bus::start(client, persistence.clone(), limits, queues, connections_per_user, metrics.clone());

    let fetches = metrics.key_fetches.clone();
    let count_key_fetch =
        move |good| fetches.with_label_values(&[if good { "good" } else { "failed" }]).inc();
    let verifier = Arc::new(Verifier::start(
        config.common.check_token_settings().map_err(setting::join_problems).map_err(anyhow::Error::msg)?,
        count_key_fetch,
    ));
    watched_files::start(&config, &verifier, &persistence, &session_keys, &metrics);

    let node = Arc::new(Node {
        late_deliveries: LateDeliveryDedup::default(),
        receipts: Receipts::start(bus.log.clone()),
        typing: TypingPublisher::start(bus.log.clone(), metrics.clone()),
        presence: Presence::start(&bus, &metrics),
        bus,
        verifier,
        rate_limits: RateLimits::new(|limit| config.rate(limit)),
        abuse_per_minute: config.abuse_per_minute.get(),
        metrics: metrics.clone(),
        counters: CachedCounters::new(&metrics),
        name,
        heartbeat_ms: config.heartbeat_ms,
        limits: Limits {
            max_message_chars: config.common.max_message_chars,
            max_frame_bytes: MAX_FRAME_BYTES,
            messages_per_second: config.messages_per_second.get(),
        },
    });
    tokio::spawn(remove_full_buckets(node.clone()));
    tokio::spawn(worker::report_limits(node.clone()));
    tokio::spawn(worker::warn_of_missing_rights(node.clone()));
    let admission = Arc::new(AdmissionControl {
        origins: config.common.origins().map_err(anyhow::Error::msg)?,
        websocket: config.websocket,
        shutting_down: lifecycle.draining.clone(),
        draining: CancellationToken::new(),
        polls_must_end: CancellationToken::new(),
    });

    let server = serve(listener, &config, session_keys, workers, &node, &admission, inboxes)?;
    let counters = server.counters().clone();
    let announce =
        |instance| NodeAnnouncement::start(&node.bus, instance, advertised_address(&config, listen, &redis));
    let announcement = server.engine_instance().map(announce);
    let ready_announcement = announcement.clone();
    let (export_node, ready_node, draining) = (node.clone(), node.clone(), lifecycle.draining.clone());
    let admin = admin::build_server(
        admin_listener,
        move |ready| {
            report_shards(&export_node.bus.log, &metrics);
            metrics.export(&counters, ready)
        },
        move || {
            let (node, draining) = (ready_node.clone(), draining.clone());
            let announcement = ready_announcement.clone();
            async move {
                let mut missing = node.bus.unready_reasons().await;
                missing.extend(node.verifier.missing().map(str::to_owned));
                if announcement.is_some_and(|announcement| !announcement.is_announced()) {
                    missing.push("this node's address in Redis".to_owned());
                }
                if draining.is_cancelled() {
                    missing.push("draining".to_owned());
                }
                missing
            }
        },
    )?;
    let admin_handle = admin.handle();
    tokio::spawn(admin);
    tracing::info!(%listen, %admin_listen, workers, "gateway started");

    let unready_time = Duration::from_millis(config.common.unready_ms);
    let drain_time = Duration::from_millis(config.drain_ms);
    let draining = lifecycle.draining.clone();
    lifecycle.tasks.spawn(async move {
        draining.cancelled().await;
        let presence = &node.presence;
        drain::shut_down(unready_time, drain_time, &admission, server, presence, announcement.as_ref()).await;
    });
    lifecycle.run(unready_time + drain_time + SHUTDOWN_EXTRA_TIME).await?;
    admin_handle.stop(false).await;
    telemetry::stop_traces().await;
    Ok(())
}

fn bind(address: SocketAddr, setting: &str) -> anyhow::Result<TcpListener> {
    let listener =
        TcpListener::bind(address).with_context(|| format!("{setting}: cannot listen on {address}"))?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

fn serve(
    listener: TcpListener,
    config: &GatewayConfig,
    session_keys: SessionIdKeys,
    workers: usize,
    node: &Arc<Node>,
    admission: &Arc<AdmissionControl>,
    inboxes: Vec<worker::Inbox>,
) -> anyhow::Result<transport::Server> {
    let mut transport_config = TransportConfig::new(listener);
    transport_config.workers = workers;
    transport_config.websocket_path = Some(WEBSOCKET_PATH.to_owned());
    transport_config.max_message_bytes = MAX_FRAME_BYTES;
    transport_config.heartbeat = Duration::from_millis(config.heartbeat_ms);
    transport_config.deflate = config.deflate;
    transport_config.frame_rate = Some(config.frame_rate());
    transport_config.shutting_down = admission.shutting_down.clone();
    let engine = config.engine(MAX_FRAME_BYTES, session_keys);
    transport_config.engine =
        engine.map(|engine| EngineConfig { nodes: Some(NodeAddresses::new(&node.bus)), ..engine });
    if sabotage::is_active(Sabotage::Bounded) {
        transport_config.outbox_bytes = usize::MAX;
    }
    let inboxes: Arc<Mutex<Vec<_>>> = Arc::new(Mutex::new(inboxes.into_iter().map(Some).collect()));
    let (worker_node, worker_admission, namespaces) = (node.clone(), admission.clone(), config.namespaces());
    let dialect = config.dialect().map_err(anyhow::Error::msg)?;
    let recovers = config.socket_io_recovery == SocketIoSwitch::On;
    let acceptor = move |index: usize| {
        let inbox = lock(&inboxes).get_mut(index).and_then(Option::take);
        // A worker that actix restarts after a panic finds no inbox, so its connections would receive nothing.
        let inbox = inbox.unwrap_or_else(|| {
            tracing::error!(
                index,
                "a worker thread panicked; the node aborts, so that its clients connect to another node"
            );
            std::process::abort()
        });
        ChatAcceptor {
            worker: Worker::start(index, worker_node.clone(), inbox),
            admission: worker_admission.clone(),
            namespaces: namespaces
                .iter()
                .map(|name| Namespace::new(name, dialect.clone(), recovers))
                .collect(),
        }
    };
    let (admission, poll_workers) = (admission.clone(), Arc::<poll::PollWorkers>::default());
    let routes = move |acceptor: &std::rc::Rc<ChatAcceptor>, app: &mut web::ServiceConfig| {
        let admission = admission.clone();
        app.route("/v1/transport", web::get().to(move || ready(transport_response(&admission))));
        poll::configure(acceptor, &poll_workers, app);
        app.default_service(web::to(no_such_path));
    };
    Ok(transport::serve(transport_config, acceptor, routes)?)
}

/// Builds the response of `GET /v1/transport`: whether this node serves WebSockets. A client asks for it after a failed
/// handshake, because a browser does not tell scripts why the handshake failed.
fn transport_response(admission: &AdmissionControl) -> HttpResponse {
    let mut answer = serde_json::json!({ "websocket": admission.websocket });
    if admission.draining.is_cancelled() {
        answer["retry_after_ms"] = RETRY_AFTER_MS.into();
    }
    HttpResponse::Ok().insert_header(("access-control-allow-origin", "*")).json(answer)
}

async fn no_such_path() -> HttpResponse {
    problem::response(&Refusal::new(ErrorCode::NotFound, "this path does not exist"))
}

async fn remove_full_buckets(node: Arc<Node>) {
    loop {
        tokio::time::sleep(FULL_BUCKET_REMOVAL_INTERVAL).await;
        node.rate_limits.remove_full_buckets();
    }
}

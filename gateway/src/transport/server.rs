//! Listening, HTTP, and the orders to drain, close or drop all connections. Connects `actix_server` with workers and
//! with the handler of upgrades, which takes the sockets over. Bytes that were read behind the handshake are passed on
//! with the socket, so that no early frame is lost.

use std::{
    io,
    net::SocketAddr,
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use actix_http::{HttpService, Method, Protocol};
use actix_server::ServerHandle;
use actix_service::{ServiceFactoryExt as _, fn_service, map_config};
use actix_web::{
    App, HttpResponse,
    dev::AppConfig,
    http::ConnectionType,
    middleware::{Next, from_fn},
    web,
};
use tidings_shared::{security_headers::forbid_sniffing, write_idle_timeout::WriteIdleTimeout};
use tokio::{
    net::TcpStream,
    sync::watch,
    task::{JoinHandle, spawn_local},
    time::{sleep, timeout},
};

use super::{
    Acceptor, Counters, TransportConfig,
    drain::{DrainPlan, drain_worker},
    engine::{self, EngineWorker, EngineWorkers},
    handshake::{self, HandshakeOptions},
    refuse::to_http_response,
    upgrade::UpgradeHandler,
    worker::{Phase, TransportWorker, run_timers},
};

/// How long plain HTTP requests may take to end after the WebSockets are closed, in seconds.
const HTTP_STOP_SECONDS: u64 = 5;
/// How long a plain HTTP connection may take to be shut down.
const HTTP_DISCONNECT_TIMEOUT: Duration = Duration::from_secs(1);
/// A plain HTTP connection is cut off if nothing was written to it for this time. The time is long enough for the
/// keep-alive time, the arrival of a request and the longest poll together. A poll of Engine.IO may take a ping interval.
const HTTP_IDLE_TIMEOUT: Duration = Duration::from_secs(75);
/// Interval at which a stop checks whether all connections have closed.
const STOP_CHECK_INTERVAL: Duration = Duration::from_millis(20);

/// A running server. Dropping this value leaves the server running; see [`Server::stop`].
pub struct Server {
    address: SocketAddr,
    workers: usize,
    engine_instance: Option<u64>,
    counters: Arc<Counters>,
    orders: watch::Sender<WorkerOrder>,
    handle: ServerHandle,
    server_task: JoinHandle<io::Result<()>>,
}

impl Server {
    /// The address of the listener, with the port that the system has chosen if port 0 was bound.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    pub fn counters(&self) -> &Arc<Counters> {
        &self.counters
    }

    /// A random number that the ids of this server's Engine.IO sessions contain, and by which other nodes find this
    /// server: see [`NodeDirectory`](super::NodeDirectory). `None` if Engine.IO is not served.
    pub fn engine_instance(&self) -> Option<u64> {
        self.engine_instance
    }

    /// Refuses new WebSockets with 503, and tells each open WebSocket when to leave (see
    /// [`on_draining`](super::Session::on_draining)), spread evenly over `time`. Returns when all WebSockets have
    /// closed or `time` is over. Plain HTTP continues. The caller must call [`stop`](Self::stop) afterwards.
    pub async fn drain(&self, time: Duration) {
        self.orders.send_replace(WorkerOrder::Drain(Arc::new(DrainPlan::new(self.workers, time))));
        // `stop` closes the remaining connections.
        let _ = timeout(time, self.wait_until_all_closed()).await;
    }

    /// Returns when no connection is open or closing, and no tunnel is open.
    async fn wait_until_all_closed(&self) {
        while self.counters.open_sockets() > 0 {
            sleep(STOP_CHECK_INTERVAL).await;
        }
    }

    /// Closes every WebSocket with `code` and `reason` after its queued frames, and refuses new WebSockets with 503.
    /// After at most `wait`, drops the WebSockets that have not closed, and stops listening. Returns the listener's
    /// error, if the listener had failed before.
    pub async fn stop(self, code: u16, reason: &str, wait: Duration) -> io::Result<()> {
        self.orders.send_replace(WorkerOrder::Close(code, reason.to_owned()));
        if timeout(wait, self.wait_until_all_closed()).await.is_err() {
            self.orders.send_replace(WorkerOrder::Abort);
        }
        self.handle.stop(true).await;
        self.server_task.await.map_err(io::Error::other)?
    }
}

/// An order of the server to its workers.
#[derive(Debug, Clone, Default)]
enum WorkerOrder {
    #[default]
    Serve,
    /// Tell every connection when to leave, and open no more.
    Drain(Arc<DrainPlan>),
    /// Close every connection with this code and reason, and open no more.
    Close(u16, String),
    /// Drop all remaining connections.
    Abort,
}

/// Carries out the orders of the server on one worker.
async fn follow_orders(worker: Rc<TransportWorker>, mut orders: watch::Receiver<WorkerOrder>) {
    loop {
        let order = orders.borrow_and_update().clone();
        match order {
            WorkerOrder::Serve => {}
            WorkerOrder::Drain(plan) => {
                worker.stop_accepting();
                spawn_local(drain_worker(Rc::clone(&worker), plan));
            }
            WorkerOrder::Close(code, reason) => {
                if worker.stop_accepting() {
                    let open = worker.links().iter().filter(|link| link.phase.get() == Phase::Open).count();
                    worker.counters.drain_cut.add(open);
                }
                worker.links().iter().for_each(|link| link.close(code, &reason));
                worker.tunnels.end_within(Duration::ZERO);
            }
            WorkerOrder::Abort => {
                worker.stop_accepting();
                worker.links().iter().for_each(|link| link.abort());
            }
        }
        if orders.changed().await.is_err() {
            return;
        }
    }
}

/// Serves WebSockets and plain HTTP on one listener. On each worker's thread, `acceptor` is called first with the
/// number of the worker (from 0; a worker restarted after a panic gets a new number), then `routes` with that
/// worker's acceptor, so that both can share the thread's state. Must be called within a Tokio runtime.
pub fn serve<A, F, R>(config: TransportConfig, acceptor: F, routes: R) -> io::Result<Server>
where
    A: Acceptor,
    F: Fn(usize) -> A + Clone + Send + 'static,
    R: Fn(&Rc<A>, &mut web::ServiceConfig) + Clone + Send + 'static,
{
    let limits = config.worker_limits();
    let longest_poll = config.engine.as_ref().map_or(Duration::ZERO, |engine| engine.ping_interval);
    let idle_timeout = HTTP_IDLE_TIMEOUT.max(longest_poll + Duration::from_secs(30));
    let (address, workers) = (config.listener.local_addr()?, config.workers);
    socket2::SockRef::from(&config.listener).listen(config.backlog)?;
    let (orders, watch_orders) = watch::channel(WorkerOrder::Serve);
    let (counters, shutting_down) = (Arc::clone(&config.counters), config.shutting_down);
    let started_workers = Arc::new(AtomicUsize::new(0));
    let options = HandshakeOptions {
        path: config.websocket_path,
        subprotocol: config.subprotocol,
        deflate: config.deflate,
        is_engine: false,
    };
    let engine = config.engine.map(|engine| Arc::new(EngineWorkers::new(engine)));
    let engine_instance = engine.as_ref().map(|engine| engine.instance);

    let builder = actix_server::Server::build()
        .workers(workers)
        // actix does not count upgraded sockets; this limits plain HTTP connections only.
        .max_concurrent_connections(config.max_connections_per_worker)
        .shutdown_timeout(HTTP_STOP_SECONDS)
        .disable_signals();
    let stopping = builder.graceful_shutdown_signal();

    let worker_counters = Arc::clone(&counters);
    let server = builder
        .listen("tidings", config.listener, move || {
            let number = started_workers.fetch_add(1, Ordering::Relaxed);
            let acceptor = Rc::new(acceptor(number));
            let worker = Rc::new(TransportWorker::new(number, limits, worker_counters.add_worker()));
            spawn_local(run_timers(Rc::clone(&worker)));
            spawn_local(follow_orders(Rc::clone(&worker), watch_orders.clone()));
            let engine = engine.as_ref().map(|workers| EngineWorker::start(&worker, workers));

            let shutting_down = shutting_down.clone();
            let close_when_shutting_down = from_fn(move |request, next: Next<_>| {
                let shutting_down = shutting_down.clone();
                async move {
                    let mut answer = next.call(request).await?;
                    if shutting_down.is_cancelled() {
                        answer.response_mut().head_mut().set_connection_type(ConnectionType::Close);
                    }
                    Ok(answer)
                }
            });
            let app = App::new().wrap(close_when_shutting_down).wrap(forbid_sniffing()).configure(|app| {
                routes(&acceptor, app);
                if let Some(path) = &options.path {
                    app.route(path, web::to(not_a_websocket));
                }
                if let Some(engine) = &engine {
                    engine::configure(engine, &acceptor, app);
                }
            });
            let options = options.clone();
            let upgrade_handler = Rc::new(UpgradeHandler { acceptor, worker, options, engine });
            let stopping = stopping.clone();
            let http = HttpService::build()
                .graceful_shutdown_signal(move || {
                    let stopping = stopping.clone();
                    async move { stopping.notified().await }
                })
                .client_disconnect_timeout(HTTP_DISCONNECT_TIMEOUT)
                // Ends a connection that the client has half closed, so that a long poll ends when its caller
                // disconnects.
                .h1_allow_half_closed(false)
                .upgrade(fn_service(move |(request, framed)| {
                    let upgrade_handler = Rc::clone(&upgrade_handler);
                    async move {
                        upgrade_handler.handle_upgrade(request, framed).await;
                        Ok::<_, actix_http::Error>(())
                    }
                }))
                .finish(map_config(app, |_| AppConfig::default()));
            fn_service(move |socket: TcpStream| async move {
                // An error is ignored here, because a broken socket also fails when it is read.
                let _ = socket.set_nodelay(true);
                let peer = socket.peer_addr().ok();
                Ok((WriteIdleTimeout::new(socket, idle_timeout), Protocol::Http1, peer))
            })
            .and_then(http)
        })?
        .run();
    let handle = server.handle();
    let server_task = tokio::spawn(server);
    Ok(Server { address, workers, engine_instance, counters, orders, handle, server_task })
}

/// Answers a request for the WebSocket path without an upgrade.
async fn not_a_websocket(method: Method) -> HttpResponse {
    let is_get = method == Method::GET;
    let refusal = if is_get { handshake::upgrade_required() } else { handshake::method_not_allowed() };
    to_http_response(refusal)
}

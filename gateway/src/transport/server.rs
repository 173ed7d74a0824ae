//! Listening, HTTP, and the hand-over at the upgrade. Wires `actix_server` to workers and connection tasks.
//! What was read behind the handshake goes along with the socket, so nothing the peer sent early is lost.

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

use actix_codec::Framed;
use actix_http::{
    HttpService, Protocol, Request, StatusCode, h1,
    header::{self, HeaderValue},
};
use actix_server::ServerHandle;
use actix_service::{ServiceFactoryExt as _, fn_service, map_config};
use actix_web::{
    App, HttpResponse,
    dev::AppConfig,
    http::ConnectionType,
    middleware::{Next, from_fn},
    web,
};
use bytes::Bytes;
use tidings_shared::patience::Patient;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    sync::watch,
    task::{JoinHandle, spawn_local},
    time::{sleep, timeout},
};

use super::{
    Acceptor, Counters, Refusal, TransportConfig,
    drain::Drain,
    extension::Window,
    handshake::{self, Handshake, Terms},
    task::ConnectionTask,
    worker::{Order, Worker, keep_time, obey},
};

/// How long a refused peer may take to read the answer.
const REFUSAL_TIMEOUT: Duration = Duration::from_secs(5);
/// What those are told to wait, in seconds, who come to a node that stops: another one takes them.
const RETRY_AFTER: HeaderValue = HeaderValue::from_static("1");
/// How long plain HTTP requests may take to end once the WebSockets are closed, in seconds.
const HTTP_STOP_SECONDS: u64 = 5;
/// How long a plain HTTP connection may take to be shut down.
const HTTP_DISCONNECT_TIMEOUT: Duration = Duration::from_secs(1);
/// A plain HTTP connection on which nothing was answered for so long is cut off: longer than it may rest, and any poll
/// takes then, with the head and the body of its request.
const HTTP_PATIENCE: Duration = Duration::from_secs(75);
/// How often a stop looks whether the connections are gone.
const STOP_POLL: Duration = Duration::from_millis(20);

/// A running server. Dropping it leaves the server running; see [`Server::stop`].
pub struct Server {
    address: SocketAddr,
    workers: usize,
    counters: Arc<Counters>,
    orders: watch::Sender<Order>,
    handle: ServerHandle,
    running: JoinHandle<io::Result<()>>,
}

impl Server {
    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What it counts.
    pub fn counters(&self) -> &Arc<Counters> {
        &self.counters
    }

    /// Refuses new WebSockets with 503, tells each that is open when to leave (see [`Session::on_draining`]
    /// (super::Session::on_draining)), spread evenly over the time, and waits for all to be gone, or for the time to be
    /// up. Plain HTTP goes on. To be followed by [`stop`](Self::stop).
    pub async fn drain(&self, time: Duration) {
        self.orders.send_replace(Order::Drain(Arc::new(Drain::new(self.workers, time))));
        // Whoever is left is closed by the stop.
        let _ = timeout(time, self.gone()).await;
    }

    /// Waits until no WebSocket is open.
    async fn gone(&self) {
        while self.counters.connections() > 0 {
            sleep(STOP_POLL).await;
        }
    }

    /// Closes every WebSocket with `code` and `reason` (what is queued is sent first), refuses new ones with
    /// 503, waits up to `wait` for them to be gone, drops the rest, then stops listening and ends.
    ///
    /// # Errors
    /// What ended the listening, if it had failed before.
    pub async fn stop(self, code: u16, reason: &str, wait: Duration) -> io::Result<()> {
        self.orders.send_replace(Order::Close(code, reason.to_owned()));
        if timeout(wait, self.gone()).await.is_err() {
            self.orders.send_replace(Order::Abort);
        }
        self.handle.stop(true).await;
        self.finished().await
    }

    /// Waits until the server has ended by itself: only when it failed.
    ///
    /// # Errors
    /// What made it fail, a worker that could not be started for instance.
    pub async fn finished(self) -> io::Result<()> {
        self.running.await.map_err(io::Error::other)?
    }
}

/// Serves WebSockets and plain HTTP on one listener. On each worker's thread `acceptor` is called first with
/// the number of the worker (from 0; a worker restarted after a panic gets a new number), then `routes` with
/// that worker's acceptor, so that both can share the thread's state. Call it within a Tokio runtime.
///
/// # Errors
/// When the listener cannot be used.
pub fn serve<A, F, R>(config: TransportConfig, acceptor: F, routes: R) -> io::Result<Server>
where
    A: Acceptor,
    F: Fn(usize) -> A + Clone + Send + 'static,
    R: Fn(&Rc<A>, &mut web::ServiceConfig) + Clone + Send + 'static,
{
    let limits = config.limits();
    let (address, workers) = (config.listener.local_addr()?, config.workers);
    socket2::SockRef::from(&config.listener).listen(config.backlog)?;
    let (orders, watch_orders) = watch::channel(Order::Serve);
    let (counters, leaving) = (Arc::clone(&config.counters), config.leaving);
    let started = Arc::new(AtomicUsize::new(0));
    let terms =
        Terms { path: config.websocket_path, subprotocol: config.subprotocol, deflate: config.deflate };

    let builder = actix_server::Server::build()
        .workers(workers)
        // Upgraded sockets leave actix's count; this bounds plain HTTP connections only.
        .max_concurrent_connections(config.max_connections_per_worker)
        .shutdown_timeout(HTTP_STOP_SECONDS)
        .disable_signals();
    let stopping = builder.graceful_shutdown_signal();

    let worker_counters = Arc::clone(&counters);
    let server = builder
        .listen("tidings", config.listener, move || {
            let number = started.fetch_add(1, Ordering::Relaxed);
            let acceptor = Rc::new(acceptor(number));
            let worker = Rc::new(Worker::new(number, limits, worker_counters.add_worker()));
            spawn_local(keep_time(Rc::clone(&worker)));
            spawn_local(obey(Rc::clone(&worker), watch_orders.clone()));

            let leaving = leaving.clone();
            let end_connection = from_fn(move |request, next: Next<_>| {
                let leaving = leaving.clone();
                async move {
                    let mut answer = next.call(request).await?;
                    if leaving.is_cancelled() {
                        answer.response_mut().head_mut().set_connection_type(ConnectionType::Close);
                    }
                    Ok(answer)
                }
            });
            let app = App::new().wrap(end_connection).configure(|app| {
                routes(&acceptor, app);
                if let Some(path) = &terms.path {
                    app.route(path, web::to(not_a_websocket));
                }
            });
            let entrance = Rc::new(Entrance { acceptor, worker, terms: terms.clone() });
            let stopping = stopping.clone();
            let http = HttpService::build()
                .graceful_shutdown_signal(move || {
                    let stopping = stopping.clone();
                    async move { stopping.notified().await }
                })
                .client_disconnect_timeout(HTTP_DISCONNECT_TIMEOUT)
                // Who closes their side does not wait for an answer: a long poll ends with its caller.
                .h1_allow_half_closed(false)
                .upgrade(fn_service(move |(request, framed)| {
                    let entrance = Rc::clone(&entrance);
                    async move {
                        entrance.enter(request, framed).await;
                        Ok::<_, actix_http::Error>(())
                    }
                }))
                .finish(map_config(app, |_| AppConfig::default()));
            fn_service(|socket: TcpStream| async move {
                // A socket that is gone already tells so when it is read.
                let _ = socket.set_nodelay(true);
                let peer = socket.peer_addr().ok();
                Ok((Patient::new(socket, HTTP_PATIENCE), Protocol::Http1, peer))
            })
            .and_then(http)
        })?
        .run();
    let handle = server.handle();
    Ok(Server { address, workers, counters, orders, handle, running: tokio::spawn(server) })
}

/// The WebSocket path, asked for without wanting a WebSocket.
async fn not_a_websocket() -> HttpResponse {
    let refusal = handshake::upgrade_required();
    let mut answer = HttpResponse::build(refusal.status);
    for header in refusal.headers {
        answer.append_header(header);
    }
    answer.content_type(refusal.content_type).body(refusal.body)
}

/// Where upgrade requests of one worker come in.
struct Entrance<A> {
    acceptor: Rc<A>,
    worker: Rc<Worker>,
    terms: Terms,
}

/// Someone who gets a WebSocket.
struct Admitted<T> {
    ticket: T,
    answer: Bytes,
    window: Option<Window>,
}

impl<A: Acceptor> Entrance<A> {
    async fn enter(&self, request: Request, framed: Framed<Patient<TcpStream>, h1::Codec>) {
        let parts = framed.into_parts();
        // Only what is in them is kept: their 16 KB would otherwise wait for the acceptor.
        let (read, unsent) = (parts.read_buf.to_vec(), Bytes::copy_from_slice(&parts.write_buf));
        drop((parts.read_buf, parts.write_buf));
        let socket = parts.io.into_inner();
        match self.admit(request).await {
            Ok(admitted) => self.open(socket, read, unsent, admitted),
            Err(refusal) => refuse(socket, unsent, &refusal).await,
        }
    }

    async fn admit(&self, request: Request) -> Result<Admitted<A::Ticket>, Refusal> {
        let Handshake { request, answer, window } = handshake::check(request, &self.terms)?;
        // Before the wait: whoever cannot come in must not cost what it takes to find out who they are.
        self.refuse_unless_open()?;
        let ticket = self.acceptor.accept(request).await?;
        // After it: the worker may have become full, or been told to stop, meanwhile.
        self.refuse_unless_open()?;
        Ok(Admitted { ticket, answer, window })
    }

    /// Refuses while the worker stops, or holds as many connections as it may.
    fn refuse_unless_open(&self) -> Result<(), Refusal> {
        let refusal = |code, detail| Refusal::problem(StatusCode::SERVICE_UNAVAILABLE, code, detail);
        if self.worker.is_stopping() {
            return Err(refusal("unavailable", "this node is stopping; connect again")
                .header(header::RETRY_AFTER, RETRY_AFTER));
        }
        if !self.worker.has_room() {
            return Err(refusal("overloaded", "no more connections here, try another time"));
        }
        Ok(())
    }

    fn open(&self, socket: TcpStream, read: Vec<u8>, unsent: Bytes, admitted: Admitted<A::Ticket>) {
        let Admitted { ticket, answer, window } = admitted;
        let connection = self.worker.open();
        let link = Rc::clone(&connection.0);
        link.window.set(window);
        if !unsent.is_empty() {
            link.queue(unsent);
        }
        link.queue(answer);
        // The task is there before the session: should `open` panic, dropping the task cleans up.
        let mut task = ConnectionTask::new(socket, link, read);
        task.attach(self.acceptor.open(ticket, connection));
        spawn_local(task);
    }
}

/// Answers, then waits for the peer to close: closing first could destroy the answer on its way.
async fn refuse(mut socket: TcpStream, unsent: Bytes, refusal: &Refusal) {
    let farewell = async {
        socket.write_all(&unsent).await?;
        socket.write_all(&refusal.encode()).await?;
        socket.shutdown().await?;
        let mut rest = [0; 512];
        while socket.read(&mut rest).await? > 0 {}
        io::Result::Ok(())
    };
    // Whether the peer took the answer changes nothing for us.
    let _ = timeout(REFUSAL_TIMEOUT, farewell).await;
}

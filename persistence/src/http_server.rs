//! HTTP servers of this service, and of the programs beside it. actix's `HttpServer` is not used, because it cannot
//! wrap the sockets of connections. Those of clients need a `WriteIdleTimeout`: actix does not limit how long the head
//! of a second or later request on a connection may take, nor how long a client may not read its answer.

use std::fmt::Debug;
use std::future::{Ready, ready};
use std::io;
use std::net::TcpListener;
use std::time::Duration;

use actix_http::body::{BoxBody, MessageBody};
use actix_http::error::DispatchError;
use actix_http::{HttpService, Protocol, Request, Response};
use actix_server::Server;
use actix_service::{IntoServiceFactory, Service, ServiceFactory, ServiceFactoryExt, fn_service, map_config};
use actix_web::dev::AppConfig;
use tidings_shared::write_idle_timeout::WriteIdleTimeout;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

use crate::http::{KEEP_ALIVE, REQUEST_TIMEOUT};

/// How long a client may take to close its connection.
const DISCONNECT_TIMEOUT: Duration = Duration::from_secs(1);

/// Settings of a server.
#[derive(Clone, Copy, Debug)]
pub struct ServerSettings {
    /// The name of the listener in logs.
    pub name: &'static str,
    /// Number of threads. None: one for each core.
    pub workers: Option<usize>,
    /// Deadline for requests that still run when the server stops.
    pub shutdown_timeout_s: u64,
}

/// Prepares the sockets of clients: a connection on which nothing was written for `timeout` is closed. The timeout must
/// be longer than `KEEP_ALIVE`, and longer than reading a request and answering it may take.
pub fn limit_write_idle(
    timeout: Duration,
) -> impl Fn(TcpStream) -> Ready<io::Result<WriteIdleTimeout<TcpStream>>> + Clone + Send {
    move |socket| ready(Ok(WriteIdleTimeout::new(socket, timeout)))
}

/// Serves the application that `make_app` makes for each thread. `prepare` turns the socket of a new connection into
/// the stream that is read and written. The caller runs the server.
pub fn serve<P, R, T, F, I, S, B>(
    settings: ServerSettings,
    listener: TcpListener,
    prepare: P,
    make_app: F,
) -> io::Result<Server>
where
    P: Fn(TcpStream) -> R + Send + Clone + 'static,
    R: Future<Output = io::Result<T>> + 'static,
    T: AsyncRead + AsyncWrite + Unpin + 'static,
    F: Fn() -> I + Send + Clone + 'static,
    I: IntoServiceFactory<S, Request>,
    S: ServiceFactory<Request, Config = AppConfig> + 'static,
    S::Future: 'static,
    S::Error: Into<Response<BoxBody>> + 'static,
    S::InitError: Debug,
    S::Response: Into<Response<B>> + 'static,
    S::Service: 'static,
    <S::Service as Service<Request>>::Future: 'static,
    B: MessageBody + 'static,
{
    let ServerSettings { name, workers, shutdown_timeout_s } = settings;
    let mut builder = Server::build().disable_signals().shutdown_timeout(shutdown_timeout_s);
    if let Some(workers) = workers {
        builder = builder.workers(workers);
    }
    let stopping = builder.graceful_shutdown_signal();
    let server = builder.listen(name, listener, move || {
        let (prepare, stopping) = (prepare.clone(), stopping.clone());
        let app: S = make_app().into_factory();
        let service = HttpService::build()
            .graceful_shutdown_signal(move || {
                let stopping = stopping.clone();
                async move { stopping.notified().await }
            })
            .keep_alive(KEEP_ALIVE)
            .client_request_timeout(REQUEST_TIMEOUT)
            .client_disconnect_timeout(DISCONNECT_TIMEOUT)
            .finish(map_config::<S, S, Request, _, ()>(app, |()| AppConfig::default()));
        fn_service(move |socket: TcpStream| {
            // The error is ignored: if the socket is closed, the server's first read fails too.
            let _ = socket.set_nodelay(true);
            let peer = socket.peer_addr().ok();
            let prepared = prepare(socket);
            async move {
                match prepared.await {
                    Ok(stream) => Ok((stream, Protocol::Http1, peer)),
                    Err(error) => {
                        // Not a warning, because probes of load balancers open connections without TLS.
                        tracing::debug!(listener = name, ?peer, %error, "a connection could not be prepared");
                        Err(DispatchError::Io(error))
                    }
                }
            }
        })
        .and_then(service)
    })?;
    Ok(server.run())
}

//! The listener for gateways with TLS. A new connection gets the newest certificate and authorities. A connection without
//! TLS fails in the handshake.

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use actix_http::{HttpService, Protocol, error::DispatchError};
use actix_server::Server;
use actix_service::{ServiceFactoryExt, fn_service, map_config};
use actix_web::{App, dev::AppConfig, web::Data};
use arc_swap::ArcSwap;
use rustls::ServerConfig;
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;

use super::{InternalState, SHUTDOWN_TIMEOUT_S, WORKERS, configure};
use crate::http::{KEEP_ALIVE, REQUEST_TIMEOUT};

/// The present TLS configuration, which is replaced when its files change.
pub type TlsConfig = Arc<ArcSwap<ServerConfig>>;

/// How long a handshake may take. Gateways wait 4 s for an answer.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(3);
/// Maximum number of handshakes at the same time, because each costs CPU before the peer has proved anything.
const MAX_HANDSHAKES: usize = 256;
/// How long a closing connection waits for its peer.
const DISCONNECT_TIMEOUT: Duration = Duration::from_secs(1);

/// Builds the server on a bound listener.
pub(super) fn serve(
    listener: TcpListener,
    state: Data<InternalState>,
    tls: TlsConfig,
) -> std::io::Result<Server> {
    let builder = Server::build().disable_signals().workers(WORKERS).shutdown_timeout(SHUTDOWN_TIMEOUT_S);
    let stopping = builder.graceful_shutdown_signal();
    let handshakes = Arc::new(Semaphore::new(MAX_HANDSHAKES));
    let server = builder.listen("internal", listener, move || {
        let (state, tls, stopping) = (state.clone(), tls.clone(), stopping.clone());
        let handshakes = handshakes.clone();
        let app = App::new().configure(|app| configure(app, &state));
        let service = HttpService::build()
            .graceful_shutdown_signal(move || {
                let stopping = stopping.clone();
                async move { stopping.notified().await }
            })
            .keep_alive(KEEP_ALIVE)
            .client_request_timeout(REQUEST_TIMEOUT)
            .client_disconnect_timeout(DISCONNECT_TIMEOUT)
            .finish(map_config(app, |_| AppConfig::default()));
        fn_service(move |socket: TcpStream| {
            let acceptor = TlsAcceptor::from(tls.load_full());
            let permit = handshakes.clone().try_acquire_owned();
            async move {
                let Ok(_permit) = permit else {
                    return Err(refused(socket.peer_addr().ok(), "too many handshakes"));
                };
                // The error is ignored: if the socket is closed, the handshake fails too.
                let _ = socket.set_nodelay(true);
                let peer = socket.peer_addr().ok();
                match timeout(HANDSHAKE_TIMEOUT, acceptor.accept(socket)).await {
                    Ok(Ok(stream)) => Ok((stream, Protocol::Http1, peer)),
                    Ok(Err(error)) => Err(refused(peer, &error.to_string())),
                    Err(_) => Err(refused(peer, "the handshake took too long")),
                }
            }
        })
        .and_then(service)
    })?;
    Ok(server.run())
}

/// The error of a connection whose handshake failed. It is logged only in detail, because probes of load balancers also
/// open connections without TLS, and the gateway reports the cause on its side.
fn refused(peer: Option<SocketAddr>, cause: &str) -> DispatchError {
    tracing::debug!(?peer, cause, "a connection to the internal listener failed in the TLS handshake");
    DispatchError::Io(std::io::ErrorKind::ConnectionAborted.into())
}

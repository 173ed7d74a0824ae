//! The TLS handshake of the listener for gateways. A new connection gets the newest certificate and authorities. A
//! connection without TLS fails in the handshake.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use rustls::ServerConfig;
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tokio_rustls::{TlsAcceptor, server::TlsStream};

/// The present TLS configuration, which is replaced when its files change.
pub type TlsConfig = Arc<ArcSwap<ServerConfig>>;

/// How long a handshake may take. Gateways wait 4 s for an answer.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(3);
/// Maximum number of handshakes at the same time, because each costs CPU before the peer has proved anything.
pub(super) const MAX_HANDSHAKES: usize = 256;

/// Makes the handshake of a new connection. `permits` limits the simultaneous handshakes.
pub(super) async fn accept(
    socket: TcpStream,
    tls: Arc<ServerConfig>,
    permits: Arc<Semaphore>,
) -> io::Result<TlsStream<TcpStream>> {
    let _permit = permits.try_acquire().map_err(|_| io::Error::other("too many TLS handshakes"))?;
    timeout(HANDSHAKE_TIMEOUT, TlsAcceptor::from(tls).accept(socket)).await?
}

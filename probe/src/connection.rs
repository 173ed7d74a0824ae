//! Opens a connection in the three steps that the probe measures: look-up, TCP, TLS.

use std::{net::SocketAddr, sync::Arc};

use rustls::{ClientConfig, pki_types::ServerName};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpStream, lookup_host},
};
use tokio_rustls::TlsConnector;

use crate::{
    endpoint::Endpoint,
    step::{CERTIFICATE, StepFailure, TLS, UNRESOLVED},
};

/// A connection with or without TLS.
pub trait ByteStream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<S: AsyncRead + AsyncWrite + Unpin + Send> ByteStream for S {}

/// Looks up the addresses of a host.
pub async fn resolve(host: &str, port: u16) -> Result<Vec<SocketAddr>, StepFailure> {
    let found = lookup_host((host, port)).await.map(Iterator::collect::<Vec<_>>);
    match found {
        Ok(addresses) if addresses.is_empty() => {
            Err(StepFailure::new(UNRESOLVED, format!("{host} has no address")))
        }
        Ok(addresses) => Ok(addresses),
        Err(error) => Err(StepFailure::new(UNRESOLVED, format!("{host}: {error}"))),
    }
}

/// Connects to the first address that answers.
pub async fn connect(addresses: &[SocketAddr]) -> Result<TcpStream, StepFailure> {
    let stream = TcpStream::connect(addresses).await.map_err(|error| StepFailure::io(&error))?;
    // The option only saves time, so the error does not matter.
    let _ = stream.set_nodelay(true);
    Ok(stream)
}

/// The handshake of TLS.
pub async fn handshake(
    config: Arc<ClientConfig>,
    endpoint: &Endpoint,
    stream: TcpStream,
) -> Result<Box<dyn ByteStream>, StepFailure> {
    let name = ServerName::try_from(endpoint.host.clone()).map_err(|error| StepFailure::new(TLS, error))?;
    match TlsConnector::from(config).connect(name, stream).await {
        Ok(stream) => Ok(Box::new(stream)),
        Err(error) => {
            let cause = error.get_ref().and_then(|cause| cause.downcast_ref::<rustls::Error>());
            Err(match cause {
                Some(rustls::Error::InvalidCertificate(_)) => StepFailure::new(CERTIFICATE, error),
                Some(_) => StepFailure::new(TLS, error),
                None => StepFailure::io(&error),
            })
        }
    }
}

/// Looks up `host`, connects, and does the handshake of TLS if the endpoint has TLS.
pub async fn open(
    host: &str,
    config: Arc<ClientConfig>,
    endpoint: &Endpoint,
) -> Result<Box<dyn ByteStream>, StepFailure> {
    let stream = connect(&resolve(host, endpoint.port).await?).await?;
    if endpoint.tls { handshake(config, endpoint, stream).await } else { Ok(Box::new(stream)) }
}

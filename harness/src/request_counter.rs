//! A TCP proxy on 127.0.0.1 that counts the HTTP/1.1 requests to a server by path. It forwards all bytes unchanged.
//! It counts correctly only if clients write the head of a request in one write and do not pipeline requests.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Result;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

const CHUNK_BYTES: usize = 16 * 1024;

type Counts = Arc<Mutex<BTreeMap<String, u64>>>;

/// A running proxy. Dropping it stops accepting connections.
pub struct RequestCounter {
    port: u16,
    counts: Counts,
    accept_task: JoinHandle<()>,
}

impl RequestCounter {
    /// Starts a proxy in front of a port of 127.0.0.1.
    pub async fn start(target_port: u16) -> Result<RequestCounter> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let (port, counts) = (listener.local_addr()?.port(), Counts::default());
        let accept_task = tokio::spawn(accept_connections(listener, target_port, Arc::clone(&counts)));
        Ok(RequestCounter { port, counts, accept_task })
    }

    /// The URL of the proxy.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// The number of requests by path, without queries.
    #[must_use]
    pub fn counts(&self) -> BTreeMap<String, u64> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for RequestCounter {
    fn drop(&mut self) {
        self.accept_task.abort();
    }
}

async fn accept_connections(listener: TcpListener, target_port: u16, counts: Counts) {
    loop {
        if let Ok((client, _)) = listener.accept().await {
            tokio::spawn(forward_connection(client, target_port, Arc::clone(&counts)));
        }
    }
}

/// Forwards one connection until a side ends it.
async fn forward_connection(mut client: TcpStream, target_port: u16, counts: Counts) {
    let Ok(mut server) = TcpStream::connect((Ipv4Addr::LOCALHOST, target_port)).await else { return };
    // If this fails, the connection is only slower.
    let _ = (client.set_nodelay(true), server.set_nodelay(true));
    let ((client_in, mut client_out), (mut server_in, server_out)) = (client.split(), server.split());
    tokio::select! {
        () = forward_and_count(client_in, server_out, &counts) => {}
        _ = tokio::io::copy(&mut server_in, &mut client_out) => {}
    }
}

async fn forward_and_count(mut from: ReadHalf<'_>, mut to: WriteHalf<'_>, counts: &Counts) {
    let mut chunk = vec![0; CHUNK_BYTES];
    while let Ok(read @ 1..) = from.read(&mut chunk).await {
        if let Some(path) = request_path(&chunk[..read]) {
            *counts.lock().unwrap_or_else(PoisonError::into_inner).entry(path.to_owned()).or_default() += 1;
        }
        if to.write_all(&chunk[..read]).await.is_err() {
            break;
        }
    }
}

/// The path of the request that begins with these bytes; `None` if they are part of a body.
fn request_path(bytes: &[u8]) -> Option<&str> {
    let line = bytes.split(|byte| *byte == b'\r').next()?;
    let (method_and_path, _) = std::str::from_utf8(line).ok()?.split_once(" HTTP/1.1")?;
    let (_, path) = method_and_path.split_once(' ')?;
    path.split('?').next()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_beginning_of_request_has_path() {
        assert_eq!(request_path(b"POST /v1/roles?a=b HTTP/1.1\r\nhost: x\r\n\r\n{}"), Some("/v1/roles"));
        assert_eq!(request_path(b"GET / HTTP/1.1\r\n\r\n"), Some("/"));
        assert_eq!(request_path(br#"{"a": "POST /v1/roles"}"#), None);
    }
}

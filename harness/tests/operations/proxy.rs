//! The fault proxy: each fault behaves as its name says.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use tidings_harness::proxy::{LinkConditions, Proxy};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

const WAIT_TIMEOUT: Duration = Duration::from_secs(5);
const SILENCE_PERIOD: Duration = Duration::from_millis(300);

/// Starts a server that sends its name and then echoes its input; returns its port.
async fn start_echo_server(name: &'static [u8]) -> Result<u16> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let port = listener.local_addr()?.port();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let _ = stream.write_all(name).await;
                let (mut from, mut to) = stream.split();
                let _ = tokio::io::copy(&mut from, &mut to).await;
            });
        }
    });
    Ok(port)
}

async fn connect(proxy: &Proxy, name: &[u8]) -> Result<TcpStream> {
    let mut stream = TcpStream::connect(("127.0.0.1", proxy.port())).await?;
    ensure!(receive(&mut stream, name.len()).await? == name);
    Ok(stream)
}

async fn receive(stream: &mut TcpStream, bytes: usize) -> Result<Vec<u8>> {
    let mut received = vec![0; bytes];
    timeout(WAIT_TIMEOUT, stream.read_exact(&mut received)).await??;
    Ok(received)
}

async fn ensure_echo(stream: &mut TcpStream, bytes: &[u8]) -> Result<()> {
    stream.write_all(bytes).await?;
    ensure!(receive(stream, bytes.len()).await? == bytes);
    Ok(())
}

/// Whether neither bytes nor the end of the stream arrive.
async fn is_silent(stream: &mut TcpStream) -> bool {
    timeout(SILENCE_PERIOD, stream.read(&mut [0])).await.is_err()
}

#[tokio::test]
async fn cut_and_reset_end_connections_but_allow_new_ones() -> Result<()> {
    let proxy = Proxy::start(start_echo_server(b"one").await?).await?;
    let mut stream = connect(&proxy, b"one").await?;
    ensure_echo(&mut stream, &vec![7; 100_000]).await?;
    proxy.cut();
    ensure!(timeout(WAIT_TIMEOUT, stream.read(&mut [0])).await?? == 0);
    let mut stream = connect(&proxy, b"one").await?;
    proxy.reset();
    let end = timeout(WAIT_TIMEOUT, stream.read(&mut [0])).await?;
    ensure!(end.is_err_and(|error| error.kind() == std::io::ErrorKind::ConnectionReset));
    ensure_echo(&mut connect(&proxy, b"one").await?, b"x").await
}

#[tokio::test]
async fn held_bytes_are_delivered_after_heal() -> Result<()> {
    let proxy = Proxy::start(start_echo_server(b"one").await?).await?;
    let mut stream = connect(&proxy, b"one").await?;
    for conditions in [
        LinkConditions::BLACK_HOLE,
        LinkConditions { holds_up: true, ..LinkConditions::default() },
        LinkConditions { holds_down: true, ..LinkConditions::default() },
    ] {
        proxy.set(conditions);
        stream.write_all(b"held").await?;
        ensure!(is_silent(&mut stream).await, "{conditions:?}");
        proxy.heal();
        ensure!(receive(&mut stream, 4).await? == b"held");
    }
    proxy.set(LinkConditions { delay: Duration::from_millis(200), ..LinkConditions::default() });
    let begun = Instant::now();
    ensure_echo(&mut stream, b"late").await?;
    ensure!(begun.elapsed() >= Duration::from_millis(400), "the delay applies in each direction");
    Ok(())
}

#[tokio::test]
async fn half_open_connection_stays_open_on_client_side_only() -> Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let proxy = Proxy::start(listener.local_addr()?.port()).await?;
    let mut client = TcpStream::connect(("127.0.0.1", proxy.port())).await?;
    let (mut server, _) = listener.accept().await?;
    proxy.half_open();
    ensure!(timeout(WAIT_TIMEOUT, server.read(&mut [0])).await?? == 0, "the server's side is closed");
    client.write_all(b"anybody?").await?;
    ensure!(is_silent(&mut client).await);
    Ok(())
}

#[tokio::test]
async fn redirected_proxy_sends_only_new_connections_to_new_server() -> Result<()> {
    let (one, other) = (start_echo_server(b"one").await?, start_echo_server(b"other").await?);
    let proxy = Proxy::start(one).await?;
    let mut stream = connect(&proxy, b"one").await?;
    proxy.point_to(other);
    ensure_echo(&mut stream, b"still").await?;
    connect(&proxy, b"other").await?;
    proxy.set(LinkConditions { refuses: true, ..LinkConditions::default() });
    let mut refused = TcpStream::connect(("127.0.0.1", proxy.port())).await?;
    ensure!(!timeout(WAIT_TIMEOUT, refused.read(&mut [0])).await?.is_ok_and(|read| read > 0));
    Ok(())
}

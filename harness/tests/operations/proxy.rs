//! The proxy itself: each of its faults is what it says.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use tidings_harness::proxy::{Proxy, Weather};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

const SOON: Duration = Duration::from_secs(5);
const A_WHILE: Duration = Duration::from_millis(300);

/// A server that says its name and then repeats what it is told; its port.
async fn echo(name: &'static [u8]) -> Result<u16> {
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
    ensure!(hear(&mut stream, name.len()).await? == name);
    Ok(stream)
}

async fn hear(stream: &mut TcpStream, bytes: usize) -> Result<Vec<u8>> {
    let mut heard = vec![0; bytes];
    timeout(SOON, stream.read_exact(&mut heard)).await??;
    Ok(heard)
}

async fn says(stream: &mut TcpStream, what: &[u8]) -> Result<()> {
    stream.write_all(what).await?;
    ensure!(hear(stream, what.len()).await? == what);
    Ok(())
}

/// Nothing comes, neither bytes nor an end.
async fn silent(stream: &mut TcpStream) -> bool {
    timeout(A_WHILE, stream.read(&mut [0])).await.is_err()
}

#[tokio::test]
async fn a_cut_closes_a_reset_resets_and_new_connections_stand() -> Result<()> {
    let proxy = Proxy::start(echo(b"one").await?).await?;
    let mut stream = connect(&proxy, b"one").await?;
    says(&mut stream, &vec![7; 100_000]).await?;
    proxy.cut();
    ensure!(timeout(SOON, stream.read(&mut [0])).await?? == 0);
    let mut stream = connect(&proxy, b"one").await?;
    proxy.reset();
    let end = timeout(SOON, stream.read(&mut [0])).await?;
    ensure!(end.is_err_and(|error| error.kind() == std::io::ErrorKind::ConnectionReset));
    says(&mut connect(&proxy, b"one").await?, b"x").await
}

#[tokio::test]
async fn what_is_held_back_comes_when_the_weather_is_fair_again() -> Result<()> {
    let proxy = Proxy::start(echo(b"one").await?).await?;
    let mut stream = connect(&proxy, b"one").await?;
    for weather in [
        Weather::BLACK_HOLE,
        Weather { holds_up: true, ..Weather::default() },
        Weather { holds_down: true, ..Weather::default() },
    ] {
        proxy.set(weather);
        stream.write_all(b"held").await?;
        ensure!(silent(&mut stream).await, "{weather:?}");
        proxy.heal();
        ensure!(hear(&mut stream, 4).await? == b"held");
    }
    proxy.set(Weather { delay: Duration::from_millis(200), ..Weather::default() });
    let begun = Instant::now();
    says(&mut stream, b"late").await?;
    ensure!(begun.elapsed() >= Duration::from_millis(400), "once each way");
    Ok(())
}

#[tokio::test]
async fn a_half_open_connection_stands_for_one_side_only() -> Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let proxy = Proxy::start(listener.local_addr()?.port()).await?;
    let mut client = TcpStream::connect(("127.0.0.1", proxy.port())).await?;
    let (mut server, _) = listener.accept().await?;
    proxy.half_open();
    ensure!(timeout(SOON, server.read(&mut [0])).await?? == 0, "the server's side is closed");
    client.write_all(b"anybody?").await?;
    ensure!(silent(&mut client).await);
    Ok(())
}

#[tokio::test]
async fn another_server_behind_the_address_takes_new_connections_only() -> Result<()> {
    let (one, other) = (echo(b"one").await?, echo(b"other").await?);
    let proxy = Proxy::start(one).await?;
    let mut stream = connect(&proxy, b"one").await?;
    proxy.point_to(other);
    says(&mut stream, b"still").await?;
    connect(&proxy, b"other").await?;
    proxy.set(Weather { refuses: true, ..Weather::default() });
    let mut refused = TcpStream::connect(("127.0.0.1", proxy.port())).await?;
    ensure!(!timeout(SOON, refused.read(&mut [0])).await?.is_ok_and(|read| read > 0));
    Ok(())
}

//! Sessions of Engine.IO 4 as its protocol page describes them, against the example that echoes: heartbeats, close, and
//! the upgrade from long polling to WebSocket.

use std::time::Duration;

use crate::example_server::{
    self, ExampleServer, PING_INTERVAL, PING_TIMEOUT, ensure_gone, next, next_but_ping, until_closed,
};
use anyhow::{Result, bail, ensure};
use tidings_harness::engine_io::{EngineMessage, EnginePolling, EngineSocket};

async fn check(behaviour: impl AsyncFn(&ExampleServer) -> Result<()>) -> Result<()> {
    example_server::check("engineio_echo", "/engine.io/", behaviour).await
}

#[tokio::test]
async fn answered_pings_keep_a_polling_session() -> Result<()> {
    check(async |server| {
        let polling = EnginePolling::open(&server.base).await?;
        for _ in 0..3 {
            let polled = polling.get().await?;
            ensure!((polled.status, polled.body.as_str()) == (200, "2"), "{polled:?}");
            let posted = polling.post("3").await?;
            ensure!(posted.status == 200, "{posted:?}");
        }
        Ok(())
    })
    .await
}

#[tokio::test]
async fn silent_polling_session_is_closed() -> Result<()> {
    check(async |server| {
        let polling = EnginePolling::open(&server.base).await?;
        tokio::time::sleep(PING_INTERVAL + PING_TIMEOUT).await;
        ensure_gone(&polling).await
    })
    .await
}

#[tokio::test]
async fn answered_pings_keep_a_websocket() -> Result<()> {
    check(async |server| {
        let mut socket = server.socket().await?;
        for _ in 0..3 {
            let ping = next(&mut socket).await?;
            ensure!(ping.text() == "2", "{ping:?}");
            socket.send("3").await?;
        }
        Ok(())
    })
    .await
}

#[tokio::test]
async fn silent_websocket_is_closed() -> Result<()> {
    check(async |server| {
        let mut socket = server.socket().await?;
        let ping = next(&mut socket).await?;
        ensure!(ping.text() == "2", "{ping:?}");
        until_closed(&mut socket).await
    })
    .await
}

#[tokio::test]
async fn close_packet_ends_the_waiting_poll_with_noop() -> Result<()> {
    check(async |server| {
        let polling = EnginePolling::open(&server.base).await?;
        let closing = async {
            tokio::time::sleep(Duration::from_millis(50)).await;
            polling.post("1").await
        };
        let (polled, posted) = tokio::try_join!(polling.get(), closing)?;
        ensure!((polled.status, polled.body.as_str()) == (200, "6"), "{polled:?}");
        ensure!(posted.status == 200, "{posted:?}");
        ensure_gone(&polling).await
    })
    .await
}

#[tokio::test]
async fn close_packet_ends_the_websocket() -> Result<()> {
    check(async |server| {
        let mut socket = server.socket().await?;
        socket.send("1").await?;
        until_closed(&mut socket).await
    })
    .await
}

/// Opens the WebSocket of a session, and probes it.
async fn probed(polling: &EnginePolling) -> Result<EngineSocket> {
    let mut socket = EngineSocket::open(&polling.socket_url()).await?;
    socket.send("2probe").await?;
    let probe = next_but_ping(&mut socket).await?;
    ensure!(probe.text() == "3probe", "{probe:?}");
    Ok(socket)
}

async fn ensure_echo(socket: &mut EngineSocket, text: &str) -> Result<()> {
    socket.send(text).await?;
    loop {
        let echoed = next_but_ping(socket).await?;
        // The packet that would have ended a waiting poll may come on the WebSocket.
        if echoed.text() != "6" {
            ensure!(echoed.text() == text, "{echoed:?}");
            return Ok(());
        }
    }
}

#[tokio::test]
async fn upgrade_ends_polls_with_noop_and_moves_the_session() -> Result<()> {
    check(async |server| {
        let polling = EnginePolling::open(&server.base).await?;
        let mut socket = probed(&polling).await?;
        let polled = polling.get().await?;
        ensure!((polled.status, polled.body.as_str()) == (200, "6"), "{polled:?}");
        socket.send("5").await?;
        ensure_echo(&mut socket, "4hello").await?;
        ensure_gone(&polling).await?;
        ensure!(polling.post("4hello").await?.status == 400, "a poll of an upgraded session was accepted");
        ensure_echo(&mut socket, "4again").await
    })
    .await
}

#[tokio::test]
async fn packets_queued_before_the_upgrade_follow_on_the_websocket() -> Result<()> {
    check(async |server| {
        let polling = EnginePolling::open(&server.base).await?;
        ensure!(polling.post("4one\x1e4two\x1ebAQID").await?.status == 200);
        let mut socket = probed(&polling).await?;
        socket.send("5").await?;
        socket.send("4three").await?;
        let mut echoed = Vec::new();
        while echoed.len() < 4 {
            match next_but_ping(&mut socket).await? {
                EngineMessage::Text(packet) if packet == "6" => {}
                EngineMessage::Closed(closed) => bail!("{closed} after {echoed:?}"),
                packet => echoed.push(packet),
            }
        }
        let text = |text: &str| EngineMessage::Text(text.to_owned());
        let binary = EngineMessage::Binary(vec![1, 2, 3]);
        ensure!(echoed == [text("4one"), text("4two"), binary, text("4three")], "{echoed:?}");
        Ok(())
    })
    .await
}

#[tokio::test]
async fn second_websocket_of_a_session_is_closed() -> Result<()> {
    check(async |server| {
        let polling = EnginePolling::open(&server.base).await?;
        let mut socket = probed(&polling).await?;
        socket.send("5").await?;
        ensure_echo(&mut socket, "4hello").await?;
        // The handshake is refused, or the WebSocket is closed.
        if let Ok(mut second) = EngineSocket::open(&polling.socket_url()).await {
            until_closed(&mut second).await?;
        }
        ensure_echo(&mut socket, "4again").await
    })
    .await
}

#[tokio::test]
async fn failed_probe_leaves_the_polling_session_open() -> Result<()> {
    check(async |server| {
        let polling = EnginePolling::open(&server.base).await?;
        let mut socket = EngineSocket::open(&polling.socket_url()).await?;
        socket.send("4hello").await?;
        until_closed(&mut socket).await?;
        ensure!(polling.post("4polled").await?.status == 200);
        let polled = polling.get().await?;
        ensure!(polled.packets().any(|packet| packet == "4polled"), "{polled:?}");
        Ok(())
    })
    .await
}

#[tokio::test]
async fn unfinished_upgrade_closes_only_its_websocket() -> Result<()> {
    check(async |server| {
        let polling = EnginePolling::open(&server.base).await?;
        let mut socket = probed(&polling).await?;
        let answering = async {
            // Keeps the session alive while the upgrade is not finished.
            for _ in 0..8 {
                let polled = polling.get().await?;
                ensure!(polled.status == 200, "{polled:?}");
                if polled.packets().any(|packet| packet == "2") {
                    polling.post("3").await?;
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            anyhow::Ok(())
        };
        tokio::try_join!(until_closed(&mut socket), answering)?;
        ensure!(polling.post("4polled").await?.status == 200);
        Ok(())
    })
    .await
}

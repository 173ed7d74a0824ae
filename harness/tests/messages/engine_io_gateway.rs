//! Engine.IO on a gateway: the same sessions as those of the example, over several workers, with the gateway's path,
//! heartbeat and limits.

use std::time::Duration;

use anyhow::{Result, ensure};
use reqwest::Method;
use tidings_harness::engine_io::{EngineAnswer, EngineMessage, EnginePolling, EngineSocket};
use tidings_harness::{Stack, System, ports};
use tokio::time::timeout;

const WAIT_TIMEOUT: Duration = Duration::from_secs(20);
const SHORT_HEARTBEAT: Duration = Duration::from_millis(1_000);

async fn start_stack() -> Result<Stack> {
    Stack::builder().gateway_env("TIDINGS_SOCKET_IO", "on").start().await
}

fn base(stack: &impl System) -> String {
    format!("{}/socket.io/", stack.gateway_url(0))
}

/// The next packet that is not a ping, which is answered.
async fn next(socket: &mut EngineSocket) -> Result<EngineMessage> {
    loop {
        let message = timeout(WAIT_TIMEOUT, socket.next_answering_pings()).await?;
        if message.text() != "2" {
            return Ok(message);
        }
    }
}

#[tokio::test]
async fn handshake_contains_heartbeat_of_the_gateway() -> Result<()> {
    let stack = Stack::shared().await?;
    let polling = EnginePolling::open(&base(&stack)).await?;
    for name in ["pingInterval", "pingTimeout"] {
        ensure!(polling.handshake[name] == 25_000, "{}", polling.handshake);
    }
    ensure!(polling.handshake["maxPayload"].as_u64().is_some_and(|bytes| bytes >= 64 * 1024));
    ensure!(polling.handshake["upgrades"][0] == "websocket", "{}", polling.handshake);
    Ok(())
}

#[tokio::test]
async fn gateway_refuses_wrong_handshakes_with_codes() -> Result<()> {
    let stack = Stack::shared().await?;
    for (query, code) in [
        ("EIO=3&transport=polling", 5),
        ("EIO=4&transport=abc", 0),
        ("EIO=4&transport=polling&sid=abc", 1),
        ("EIO=4&transport=websocket", 3),
    ] {
        let answer = EngineAnswer::fetch(Method::GET, &format!("{}?{query}", base(&stack)), &[]).await?;
        ensure!((answer.status, answer.code()) == (400, Some(code)), "{query}: {answer:?}");
    }
    Ok(())
}

#[tokio::test]
async fn socket_io_is_off_by_default_and_its_path_configurable() -> Result<()> {
    let off = Stack::start().await?;
    let answer =
        EngineAnswer::fetch(Method::GET, &format!("{}?EIO=4&transport=polling", base(&off)), &[]).await?;
    ensure!(answer.status == 404, "{answer:?}");
    let builder = Stack::builder().gateway_env("TIDINGS_SOCKET_IO", "on");
    let stack = builder.gateway_env("TIDINGS_SOCKET_IO_PATH", "/chat/io/").start().await?;
    EnginePolling::open(&format!("{}/chat/io/", stack.gateway(0).url())).await?;
    let answer =
        EngineAnswer::fetch(Method::GET, &format!("{}?EIO=4&transport=polling", base(&stack)), &[]).await?;
    ensure!(answer.status == 404, "{answer:?}");
    Ok(())
}

/// The kernel spreads connections over the workers, so each request has a connection of its own.
#[tokio::test]
async fn session_is_reached_from_any_worker() -> Result<()> {
    let stack = Stack::builder().gateway_env("TIDINGS_SOCKET_IO", "on");
    let stack = stack.gateway_env("TIDINGS_WORKERS", 4).start().await?;
    for _ in 0..20 {
        let polling = EnginePolling::open(&base(&stack)).await?;
        for _ in 0..4 {
            // A pong without a ping is allowed, and needs no namespace.
            let answer = polling.on_own_connection().post("3").await?;
            ensure!((answer.status, answer.body.as_str()) == (200, "ok"), "{answer:?}");
        }
        let mut socket = EngineSocket::open(&polling.socket_url()).await?;
        socket.send("2probe").await?;
        let probe = next(&mut socket).await?;
        ensure!(probe.text() == "3probe", "{probe:?}");
        socket.send("5").await?;
        socket.send("40/nowhere,").await?;
        loop {
            let refused = next(&mut socket).await?;
            if refused.text() != "6" {
                ensure!(refused.text().starts_with("44/nowhere,"), "{refused:?}");
                break;
            }
        }
        ensure!(polling.on_own_connection().get().await?.status == 400, "a poll after the upgrade");
    }
    Ok(())
}

#[tokio::test]
async fn session_of_a_restarted_gateway_is_unknown() -> Result<()> {
    let stack = start_stack().await?;
    let polling = EnginePolling::open(&base(&stack)).await?;
    stack.gateway(0).kill();
    stack.gateway(0).restart().await?;
    let answer = polling.on_own_connection().get().await?;
    ensure!((answer.status, answer.code()) == (400, Some(1)), "{answer:?}");
    Ok(())
}

#[tokio::test]
async fn silent_sessions_end_and_answering_ones_stay() -> Result<()> {
    let stack = Stack::builder().gateway_env("TIDINGS_SOCKET_IO", "on");
    let stack = stack.gateway_env("TIDINGS_HEARTBEAT_MS", SHORT_HEARTBEAT.as_millis()).start().await?;
    let silent = EnginePolling::open(&base(&stack)).await?;
    let url = base(&stack).replacen("http", "ws", 1) + "?EIO=4&transport=websocket";
    let (mut mute, mut answering) = (EngineSocket::open(&url).await?, EngineSocket::open(&url).await?);
    let ended = async {
        loop {
            if let EngineMessage::Closed(closed) = mute.next().await {
                return closed;
            }
        }
    };
    let mut pings = 0;
    let counting = async {
        while pings < 4 {
            let message = answering.next_answering_pings().await;
            ensure!(!matches!(message, EngineMessage::Closed(_)), "{message:?}");
            pings += u32::from(message.text() == "2");
        }
        anyhow::Ok(())
    };
    let (_, counted) = timeout(WAIT_TIMEOUT, async { tokio::join!(ended, counting) }).await?;
    counted?;
    let answer = silent.get().await?;
    ensure!((answer.status, answer.code()) == (400, Some(1)), "{answer:?}");
    Ok(())
}

#[tokio::test]
async fn payload_above_announced_limit_is_refused() -> Result<()> {
    let stack = Stack::shared().await?;
    let polling = EnginePolling::open(&base(&stack)).await?;
    let limit = usize::try_from(polling.handshake["maxPayload"].as_u64().unwrap_or_default())?;
    match polling.post(&format!("4{}", "a".repeat(limit))).await {
        Ok(answer) => ensure!(answer.status == 413, "{answer:?}"),
        // The server may close the connection before it has read the whole body.
        Err(error) => ensure!(!ports::is_free(stack.gateway(0).port()), "{error:#}"),
    }
    Ok(())
}

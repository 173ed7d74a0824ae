//! Hostile handshakes with a gateway: unfinished or endless heads, and sockets that never send a token. Each test
//! states a memory bound; docs/SECURITY.md lists them.

use std::time::{Duration, Instant};

use crate::hostile::{
    DEADLINE_SLACK, KIB, MIB, MemoryWatch, WAIT_TIMEOUT, connect_and_send, is_refusal, read_until_closed,
    send_byte, status,
};
use anyhow::{Context, Result, ensure};
use tidings_harness::{
    Stack,
    raw::{RawSocket, frame, opcode},
};

/// The gateway waits this long for the head of a request, and again this long for a token.
const HANDSHAKE_DEADLINE: Duration = Duration::from_secs(5);
/// actix measures the deadline with a clock that it reads twice a second.
const CLOCK_TOLERANCE: Duration = Duration::from_secs(1);
/// An unfinished head of this many bytes is refused.
const REFUSED_HEAD_BYTES: usize = 128 * KIB as usize;

#[tokio::test]
async fn thousand_slow_heads_are_cut_off_while_others_are_served() -> Result<()> {
    const COUNT: usize = 1_000;
    // Per connection: buffers of 16 KiB, and a little more for its socket and timers.
    const MAX_GROWTH_BYTES: u64 = COUNT as u64 * 32 * KIB;
    let stack = Stack::start().await?;
    let (port, watch) = (stack.gateway(0).ports().public, MemoryWatch::begin(stack.gateway(0))?);
    let begun = Instant::now();
    let mut slow = connect_and_send(port, COUNT, b"GET /v1/ws HTTP/1.1\r\nHost: x\r\nX-Slow: ").await?;
    for _ in 0..3 {
        tokio::time::sleep(Duration::from_secs(1)).await;
        send_byte(&mut slow, b'a').await;
        stack.connect("alice").await?.ping().await?;
    }
    for stream in &mut slow {
        let answer = read_until_closed(stream, HANDSHAKE_DEADLINE + DEADLINE_SLACK)
            .await
            .context("a slow head was not cut off")?;
        ensure!(answer.is_empty() || status(&answer) == Some(408), "{answer}");
    }
    ensure!(
        begun.elapsed() + CLOCK_TOLERANCE >= HANDSHAKE_DEADLINE,
        "cut off too early: {:?}",
        begun.elapsed()
    );
    watch.ensure_growth_within(MAX_GROWTH_BYTES, "slow heads")?;
    stack.connect("alice").await?.ping().await?;
    Ok(())
}

#[tokio::test]
async fn oversized_heads_are_refused_and_hold_128_kib_at_most() -> Result<()> {
    const COUNT: usize = 100;
    // Per connection: up to 128 KiB of head. Its buffer doubles as it grows, and both buffers exist during the copy.
    const MAX_GROWTH_BYTES: u64 = COUNT as u64 * 400 * KIB;
    // If the gateway kept all these bytes, it would use five times the bound.
    const SENT_BYTES: usize = 2 * MIB as usize;
    let stack = Stack::start().await?;
    let (port, watch) = (stack.gateway(0).ports().public, MemoryWatch::begin(stack.gateway(0))?);
    let handshake = "GET /v1/ws HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                     Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
    let long = "a".repeat(SENT_BYTES);
    let bombs = [
        ("one header that never ends", format!("{handshake}X-Bomb: {long}")),
        ("headers that never end", format!("{handshake}{}", "X-Bomb: aaaaaaaa\r\n".repeat(SENT_BYTES / 18))),
        ("a thousand headers", format!("{handshake}{}\r\n", "X-Bomb: a\r\n".repeat(1_000))),
        ("an address that never ends", format!("GET /v1/ws?token={long}")),
        (
            "a long token in the query",
            format!("{}\r\n", handshake.replace("/v1/ws", &format!("/v1/ws?token={}", &long[..60_000]))),
        ),
        (
            "a long token in a header",
            format!("{handshake}Authorization: Bearer {}\r\n\r\n", &long[..100_000]),
        ),
        ("no HTTP", long.clone()),
    ];
    for (name, bomb) in bombs {
        for mut stream in connect_and_send(port, COUNT, bomb.as_bytes()).await? {
            let answer = read_until_closed(&mut stream, HANDSHAKE_DEADLINE + DEADLINE_SLACK)
                .await
                .with_context(|| name.to_owned())?;
            ensure!(is_refusal(&answer) && !answer.contains("aaaa"), "{name}: {answer}");
        }
        watch.ensure_growth_within(MAX_GROWTH_BYTES, name)?;
    }
    // A head with one byte less is not refused: the gateway holds it until the deadline.
    let started = format!("{handshake}X-Bomb: ");
    for (length, expected) in [(REFUSED_HEAD_BYTES, 431), (REFUSED_HEAD_BYTES - 1, 408)] {
        let head = format!("{started}{}", &long[..length - started.len()]);
        for mut stream in connect_and_send(port, COUNT, head.as_bytes()).await? {
            let answer = read_until_closed(&mut stream, HANDSHAKE_DEADLINE + DEADLINE_SLACK)
                .await
                .context("a large head was not cut off")?;
            ensure!(status(&answer) == Some(expected), "{length} bytes: {answer}");
        }
        watch.ensure_growth_within(MAX_GROWTH_BYTES, "heads of 128 KiB")?;
    }
    stack.connect("alice").await?.ping().await?;
    Ok(())
}

// Covers: 4408.
#[tokio::test]
async fn thousands_of_silent_sockets_are_closed_by_deadline() -> Result<()> {
    const COUNT: usize = 2_000;
    // All handshakes run at the same time, each with its buffers.
    const MAX_GROWTH_BYTES: u64 = 2 * COUNT as u64 * 32 * KIB;
    let stack = Stack::start().await?;
    let (port, watch) = (stack.gateway(0).ports().public, MemoryWatch::begin(stack.gateway(0))?);
    let mut silent = connect_and_send(port, COUNT, b"").await?;
    let mut upgraded = Vec::new();
    for _ in 0..COUNT {
        upgraded.push(RawSocket::open_with(port, "").await?);
    }
    stack.connect("alice").await?.ping().await?;
    for stream in &mut silent {
        read_until_closed(stream, HANDSHAKE_DEADLINE + DEADLINE_SLACK)
            .await
            .context("a silent socket was not closed")?;
    }
    for socket in &mut upgraded {
        let code = socket.until_close(HANDSHAKE_DEADLINE + DEADLINE_SLACK).await?;
        ensure!(code == Some(4408), "{code:?}");
    }
    watch.ensure_growth_within(MAX_GROWTH_BYTES, "sockets without a token")?;
    stack.connect("alice").await?.ping().await?;
    Ok(())
}

// Covers: 4408.
#[tokio::test]
async fn byte_by_byte_auth_frame_does_not_extend_deadline() -> Result<()> {
    let stack = Stack::start().await?;
    let token = format!(r#"{{"type":"auth","token":"{}"}}"#, stack.token("alice"));
    let slow = frame(0x80 | opcode::TEXT, token.as_bytes(), Some([1, 2, 3, 4]));
    let mut socket = RawSocket::open_with(stack.gateway(0).ports().public, "").await?;
    // At ten bytes a second, this frame takes three times the deadline for a token.
    ensure!(slow.len() > 150, "{}", slow.len());
    let closed = tokio::time::timeout(WAIT_TIMEOUT, async {
        for byte in &slow {
            if socket.send_bytes(&[*byte]).await.is_err() {
                break;
            }
            match socket.until_close(Duration::from_millis(100)).await {
                Ok(code) => return code,
                Err(_) => continue,
            }
        }
        None
    });
    let closed = closed.await?;
    ensure!(closed == Some(4408), "{closed:?}");
    Ok(())
}

#[tokio::test]
async fn unread_handshake_refusal_is_not_awaited() -> Result<()> {
    const COUNT: usize = 300;
    const MAX_GROWTH_BYTES: u64 = 16 * MIB;
    let stack = Stack::start().await?;
    let (port, watch) = (stack.gateway(0).ports().public, MemoryWatch::begin(stack.gateway(0))?);
    let handshake = "GET /v1/ws?token=nonsense HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                     Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    let refused = connect_and_send(port, COUNT, handshake.as_bytes()).await?;
    tokio::time::sleep(HANDSHAKE_DEADLINE + Duration::from_secs(2)).await;
    for mut stream in refused {
        let answer = read_until_closed(&mut stream, DEADLINE_SLACK)
            .await
            .context("the refused connection was not closed")?;
        ensure!(status(&answer) == Some(401), "{answer}");
    }
    watch.ensure_growth_within(MAX_GROWTH_BYTES, "refused handshakes")
}

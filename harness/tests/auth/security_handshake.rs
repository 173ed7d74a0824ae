//! Hostile beginnings of connections to a gateway: heads that are never finished or never end, and sockets that stay
//! without saying who they are. Each states what it may cost; docs/SECURITY.md has the table.

use std::time::{Duration, Instant};

use crate::hostile::{GRACE, KIB, MIB, PATIENCE, Watch, drip, having_sent, is_refusal, status, until_ended};
use anyhow::{Context, Result, ensure};
use tidings_harness::{
    Stack,
    raw::{RawSocket, frame, opcode},
};

/// How long a gateway waits for a head, and for a token.
const WITHIN: Duration = Duration::from_secs(5);
/// actix counts from a clock that it reads twice a second.
const COARSE: Duration = Duration::from_secs(1);
/// Bytes of a head that has not ended, from which on it is refused.
const LARGEST_HEAD: usize = 128 * KIB as usize;

#[tokio::test]
async fn a_thousand_heads_that_come_byte_by_byte_are_cut_off_while_others_are_served() -> Result<()> {
    const COUNT: usize = 1_000;
    // A connection's buffers are 16 KiB, its socket and timers a little more.
    const BOUND: u64 = COUNT as u64 * 32 * KIB;
    let stack = Stack::start().await?;
    let (port, watch) = (stack.gateway(0).ports().public, Watch::begin(stack.gateway(0))?);
    let begun = Instant::now();
    let mut slow = having_sent(port, COUNT, b"GET /v1/ws HTTP/1.1\r\nHost: x\r\nX-Slow: ").await?;
    for _ in 0..3 {
        tokio::time::sleep(Duration::from_secs(1)).await;
        drip(&mut slow, b'a').await;
        stack.connect("alice").await?.ping().await?;
    }
    for stream in &mut slow {
        let answer = until_ended(stream, WITHIN + GRACE).await.context("a slow head was waited for")?;
        ensure!(answer.is_empty() || status(&answer) == Some(408), "{answer}");
    }
    ensure!(begun.elapsed() + COARSE >= WITHIN, "cut off too early: {:?}", begun.elapsed());
    watch.stayed_within(BOUND, "slow heads")?;
    stack.connect("alice").await?.ping().await?;
    Ok(())
}

#[tokio::test]
async fn heads_that_are_too_large_are_refused_and_hold_no_more_than_128_kib_each() -> Result<()> {
    const COUNT: usize = 100;
    // Up to 128 KiB of head; the buffer doubles as it grows, and an old one lives while it is copied.
    const BOUND: u64 = COUNT as u64 * 400 * KIB;
    // Five times the bound, were it all kept.
    const SENT: usize = 2 * MIB as usize;
    let stack = Stack::start().await?;
    let (port, watch) = (stack.gateway(0).ports().public, Watch::begin(stack.gateway(0))?);
    let handshake = "GET /v1/ws HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                     Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
    let long = "a".repeat(SENT);
    let bombs = [
        ("one header that never ends", format!("{handshake}X-Bomb: {long}")),
        ("headers that never end", format!("{handshake}{}", "X-Bomb: aaaaaaaa\r\n".repeat(SENT / 18))),
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
        for mut stream in having_sent(port, COUNT, bomb.as_bytes()).await? {
            let answer = until_ended(&mut stream, WITHIN + GRACE).await.with_context(|| name.to_owned())?;
            ensure!(is_refusal(&answer) && !answer.contains("aaaa"), "{name}: {answer}");
        }
        watch.stayed_within(BOUND, name)?;
    }
    // One byte less is the most that can be held until the time for a head is over.
    let started = format!("{handshake}X-Bomb: ");
    for (length, expected) in [(LARGEST_HEAD, 431), (LARGEST_HEAD - 1, 408)] {
        let head = format!("{started}{}", &long[..length - started.len()]);
        for mut stream in having_sent(port, COUNT, head.as_bytes()).await? {
            let answer = until_ended(&mut stream, WITHIN + GRACE).await.context("a large head was kept")?;
            ensure!(status(&answer) == Some(expected), "{length} bytes: {answer}");
        }
        watch.stayed_within(BOUND, "heads of 128 KiB")?;
    }
    stack.connect("alice").await?.ping().await?;
    Ok(())
}

// Covers: 4408.
#[tokio::test]
async fn thousands_of_sockets_that_never_say_who_they_are_end_by_the_deadline() -> Result<()> {
    const COUNT: usize = 2_000;
    // What a handshake and its buffers take for a moment, all at once.
    const BOUND: u64 = 2 * COUNT as u64 * 32 * KIB;
    let stack = Stack::start().await?;
    let (port, watch) = (stack.gateway(0).ports().public, Watch::begin(stack.gateway(0))?);
    let mut silent = having_sent(port, COUNT, b"").await?;
    let mut upgraded = Vec::new();
    for _ in 0..COUNT {
        upgraded.push(RawSocket::open_with(port, "").await?);
    }
    stack.connect("alice").await?.ping().await?;
    for stream in &mut silent {
        until_ended(stream, WITHIN + GRACE).await.context("a silent socket was kept")?;
    }
    for socket in &mut upgraded {
        let code = socket.until_close(WITHIN + GRACE).await?;
        ensure!(code == Some(4408), "{code:?}");
    }
    watch.stayed_within(BOUND, "sockets without a token")?;
    stack.connect("alice").await?.ping().await?;
    Ok(())
}

// Covers: 4408.
#[tokio::test]
async fn a_first_frame_that_comes_byte_by_byte_does_not_put_off_the_deadline() -> Result<()> {
    let stack = Stack::start().await?;
    let token = format!(r#"{{"type":"auth","token":"{}"}}"#, stack.token("alice"));
    let slow = frame(0x80 | opcode::TEXT, token.as_bytes(), Some([1, 2, 3, 4]));
    let mut socket = RawSocket::open_with(stack.gateway(0).ports().public, "").await?;
    // At ten a second it takes three times as long as a token may.
    ensure!(slow.len() > 150, "{}", slow.len());
    let closed = tokio::time::timeout(PATIENCE, async {
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
async fn who_never_reads_the_refusal_of_a_handshake_is_not_waited_for() -> Result<()> {
    const COUNT: usize = 300;
    const BOUND: u64 = 16 * MIB;
    let stack = Stack::start().await?;
    let (port, watch) = (stack.gateway(0).ports().public, Watch::begin(stack.gateway(0))?);
    let handshake = "GET /v1/ws?token=nonsense HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                     Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    let refused = having_sent(port, COUNT, handshake.as_bytes()).await?;
    tokio::time::sleep(WITHIN + Duration::from_secs(2)).await;
    for mut stream in refused {
        let answer = until_ended(&mut stream, GRACE).await.context("kept")?;
        ensure!(status(&answer) == Some(401), "{answer}");
    }
    watch.stayed_within(BOUND, "refused handshakes")
}

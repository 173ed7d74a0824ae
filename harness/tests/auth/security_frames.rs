//! Hostile frames to a gateway: sent slowly, deeply nested, compressed, or not UTF-8. Each test states a memory bound;
//! docs/SECURITY.md lists them.

use std::time::Duration;

use crate::hostile::{KIB, MIB, MemoryWatch, WAIT_TIMEOUT};
use anyhow::{Context, Result, ensure};
use futures_util::future::try_join_all;
use serde_json::Value;
use tidings_harness::{
    Stack,
    deflate::{COMPRESSED, OFFER, deflated},
    raw::{RawSocket, frame, opcode},
};

const MASK: Option<[u8; 4]> = Some([1, 2, 3, 4]);
const FINAL_TEXT: u8 = 0x80 | opcode::TEXT;

/// Opens `count` connections of 20 users, because one user may have at most 100.
async fn open_sockets(stack: &Stack, count: usize, headers: &str) -> Result<Vec<RawSocket>> {
    let mut sockets = Vec::new();
    for number in 0..count {
        let token = stack.token(&format!("user{}", number % 20));
        let headers = format!("Authorization: Bearer {token}\r\n{headers}");
        let mut socket = RawSocket::open_with(stack.gateway(0).ports().public, &headers).await?;
        ensure!(next_answer(&mut socket).await?["type"] == "connected");
        sockets.push(socket);
    }
    Ok(sockets)
}

/// The next JSON frame.
async fn next_answer(socket: &mut RawSocket) -> Result<Value> {
    loop {
        let frame =
            tokio::time::timeout(WAIT_TIMEOUT, socket.next()).await??.context("the connection ended")?;
        match frame.opcode {
            opcode::TEXT => return Ok(serde_json::from_str(frame.text())?),
            opcode::CLOSE => anyhow::bail!("closed with {:?}", frame.close_code()),
            _ => {}
        }
    }
}

#[tokio::test]
async fn byte_by_byte_frame_memory_is_bounded_by_frame_limit() -> Result<()> {
    const COUNT: usize = 300;
    // Per connection: a message of up to 64 KiB. Its buffer doubles as it grows, and both buffers exist during the
    // copy.
    const MAX_GROWTH_BYTES: u64 = COUNT as u64 * 256 * KIB;
    let stack = Stack::start().await?;
    let mut slow = open_sockets(&stack, COUNT, "").await?;
    let watch = MemoryWatch::begin(stack.gateway(0))?;
    let long = format!(r#"{{"type":"ping","ref":"r","x":"{}"}}"#, "a".repeat(60_000));
    let bytes = frame(FINAL_TEXT, long.as_bytes(), MASK);
    let (most, rest) = bytes.split_at(bytes.len() - 20);
    for socket in &mut slow {
        socket.send_bytes(most).await?;
    }
    for byte in &rest[..19] {
        for socket in &mut slow {
            socket.send_bytes(&[*byte]).await?;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    stack.connect("alice").await?.ping().await?;
    for socket in &mut slow {
        socket.send_bytes(&rest[19..]).await?;
        let pong = next_answer(socket).await?;
        ensure!(pong["type"] == "pong" && pong["ref"] == "r", "{pong}");
    }
    watch.ensure_growth_within(MAX_GROWTH_BYTES, "slow frames")
}

#[tokio::test]
async fn endless_fragments_are_refused_at_frame_limit() -> Result<()> {
    const COUNT: usize = 100;
    const MAX_GROWTH_BYTES: u64 = COUNT as u64 * 256 * KIB;
    let stack = Stack::start().await?;
    let mut endless = open_sockets(&stack, COUNT, "").await?;
    let watch = MemoryWatch::begin(stack.gateway(0))?;
    let begin = frame(opcode::TEXT, &[b'a'; 1_000], MASK);
    let more = frame(opcode::CONTINUATION, &[b'a'; 1_000], MASK).repeat(70);
    for socket in &mut endless {
        socket.send_bytes(&begin).await?;
        // The server may close the connection before all fragments are sent.
        let _ = socket.send_bytes(&more).await;
    }
    for socket in &mut endless {
        let code = socket.until_close(WAIT_TIMEOUT).await?;
        ensure!(code == Some(1009), "{code:?}");
    }
    watch.ensure_growth_within(MAX_GROWTH_BYTES, "endless fragments")
}

// Covers: bad_request.
#[tokio::test]
async fn huge_ref_and_deep_json_get_short_error_and_free_memory() -> Result<()> {
    const COUNT: usize = 20;
    const FRAMES: usize = 50;
    // Each thread reads one frame at a time, so the memory does not grow with the number of frames.
    const MAX_GROWTH_BYTES: u64 = 32 * MIB;
    let stack = Stack::start().await?;
    let mut hostile = open_sockets(&stack, COUNT, "").await?;
    let watch = MemoryWatch::begin(stack.gateway(0))?;
    let huge = format!(r#"{{"type":"ping","ref":"{}"}}"#, "r".repeat(65_000));
    let lists =
        format!(r#"{{"type":"signal","room":"a","data":{}{}}}"#, "[".repeat(32_000), "]".repeat(32_000));
    let objects = format!(
        r#"{{"type":"message:send","room":"a","client_id":"c","content":"x","metadata":{}"#,
        r#"{"a":"#.repeat(12_000)
    );
    let quotes = "\"".repeat(65_000);
    let texts = [huge, lists, objects, quotes];
    let attacks = hostile.iter_mut().enumerate().map(async |(number, socket)| {
        for text in texts.iter().cycle().skip(number).take(FRAMES) {
            socket.send(opcode::TEXT, text.as_bytes()).await?;
            let error = next_answer(socket).await?;
            ensure!(error["type"] == "error" && error.get("ref").is_none(), "{error}");
            ensure!(
                ["bad_request", "too_large", "rate_limited"].iter().any(|code| error["code"] == *code),
                "{error}"
            );
            ensure!(error.to_string().len() < 1_000, "{error}");
        }
        Ok(())
    });
    try_join_all(attacks).await?;
    watch.ensure_growth_within(MAX_GROWTH_BYTES, "huge refs and deep JSON")?;
    stack.connect("alice").await?.ping().await?;
    Ok(())
}

// Covers: 1007.
#[tokio::test]
async fn invalid_utf8_is_refused_at_every_split() -> Result<()> {
    let stack = Stack::start().await?;
    let port = stack.gateway(0).ports().public;
    let broken: [&[u8]; 9] = [
        b"\xff",
        b"\xc0\x80",
        b"\xe0\x80\x80",
        b"\xed\xa0\x80",
        b"\xf0\x80\x80\x80",
        b"\xf4\x90\x80\x80",
        b"\xe2\x82",
        b"\xf0\x9f\x99",
        b"\x80",
    ];
    for broken in broken {
        let text = [br#"{"ref":""#, broken, br#""}"#].concat();
        for cut in 8..=8 + broken.len() {
            // The text is sent as two frames, and then as one frame in two packets.
            let fragments =
                [frame(opcode::TEXT, &text[..cut], MASK), frame(0x80, &text[cut..], MASK)].concat();
            let whole = frame(FINAL_TEXT, &text, MASK);
            for (bytes, at) in [(&fragments, 6 + cut), (&whole, 6 + cut)] {
                let mut socket = RawSocket::open(port, &stack.token("alice")).await?;
                socket.send_bytes(&bytes[..at]).await?;
                tokio::time::sleep(Duration::from_millis(2)).await;
                // The server may already have closed after the first part.
                let _ = socket.send_bytes(&bytes[at..]).await;
                let code = socket.until_close(WAIT_TIMEOUT).await?;
                ensure!(code == Some(1007), "{broken:?} cut at {cut}: {code:?}");
            }
        }
    }
    stack.connect("alice").await?.ping().await?;
    Ok(())
}

// Covers: 1009.
#[tokio::test]
async fn concurrent_bombs_cost_one_inflater_per_thread() -> Result<()> {
    const COUNT: usize = 100;
    // Per connection: the received frames (up to 64 KiB, not inflated). Per thread: an inflater of 64 KiB.
    const MAX_GROWTH_BYTES: u64 = COUNT as u64 * 256 * KIB;
    let stack = Stack::start().await?;
    let mut bombers = open_sockets(&stack, COUNT, &format!("Sec-WebSocket-Extensions: {OFFER}\r\n")).await?;
    let watch = MemoryWatch::begin(stack.gateway(0))?;
    let bomb = frame(FINAL_TEXT | COMPRESSED, &deflated(&vec![b' '; 48 * 1024 * 1024]), MASK);
    ensure!(bomb.len() < 64 * 1024, "{}", bomb.len());
    let attacks = bombers.iter_mut().map(async |socket| {
        socket.send_bytes(&bomb).await?;
        let code = socket.until_close(WAIT_TIMEOUT).await?;
        ensure!(code == Some(1009), "{code:?}");
        Ok(())
    });
    try_join_all(attacks).await?;
    watch.ensure_growth_within(MAX_GROWTH_BYTES, "bombs")?;
    stack.connect("alice").await?.ping().await?;
    Ok(())
}

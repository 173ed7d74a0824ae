//! Hostile HTTP requests to persistence and to a gateway: unfinished heads on new and on used connections, endless
//! heads, and deep JSON. Each test states a memory bound; docs/SECURITY.md lists them.

use std::time::{Duration, Instant};

use crate::hostile::{
    DEADLINE_SLACK, KIB, MIB, MemoryWatch, connect_and_send, is_refusal, read_until_closed, send_byte, status,
};
use anyhow::{Context, Result, ensure};
use serde_json::json;
use tidings_harness::Stack;
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;

/// Persistence's deadline for the head of the first request of a connection.
const FIRST_HEAD_DEADLINE: Duration = Duration::from_secs(60);
/// A gateway closes a connection on which it has sent no answer for this time.
const GATEWAY_IDLE_TIMEOUT: Duration = Duration::from_secs(75);
/// Persistence closes a connection on which it has sent no answer for this time.
const PERSISTENCE_IDLE_TIMEOUT: Duration = Duration::from_secs(140);

/// An unfinished head of this many bytes is refused.
const REFUSED_HEAD_BYTES: usize = 128 * KIB as usize;

const UNFINISHED_HEAD: &[u8] = b"GET /v1/transport HTTP/1.1\r\nHost: x\r\nX-Slow: ";

/// Reads one answer, up to the end that `content-length` gives.
async fn read_answer(stream: &mut TcpStream) -> Result<()> {
    let mut text = String::new();
    loop {
        let mut bytes = [0; 4096];
        let count = tokio::time::timeout(DEADLINE_SLACK, stream.read(&mut bytes)).await??;
        ensure!(count > 0, "closed without an answer");
        text.push_str(&String::from_utf8_lossy(&bytes[..count]));
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
        let length: usize = length.context("no length")?.parse()?;
        if body.len() >= length {
            return Ok(());
        }
    }
}

/// Sends one byte every five seconds on each connection. The server must close all of them by `after`, plus a
/// tolerance.
async fn expect_cut_off(mut slow: Vec<TcpStream>, after: Duration, what: &str) -> Result<()> {
    let begun = Instant::now();
    while begun.elapsed() + Duration::from_secs(5) < after {
        tokio::time::sleep(Duration::from_secs(5)).await;
        send_byte(&mut slow, b'a').await;
    }
    for stream in &mut slow {
        let end = (after + DEADLINE_SLACK).saturating_sub(begun.elapsed());
        let answer =
            read_until_closed(stream, end).await.with_context(|| format!("{what} was not cut off"))?;
        ensure!(answer.is_empty() || status(&answer) == Some(408), "{what}: {answer}");
    }
    Ok(())
}

/// Opens connections that get one answer and then send the beginning of a second request.
async fn connections_with_second_request(port: u16, path: &str, count: usize) -> Result<Vec<TcpStream>> {
    let first = format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n");
    let mut streams = connect_and_send(port, count, first.as_bytes()).await?;
    for stream in &mut streams {
        read_answer(stream).await?;
    }
    for byte in UNFINISHED_HEAD {
        send_byte(&mut streams, *byte).await;
    }
    Ok(streams)
}

#[tokio::test]
async fn unfinished_heads_are_cut_off_on_new_and_used_connections() -> Result<()> {
    const COUNT: usize = 500;
    const LARGE_HEADS: usize = 50;
    // Per connection: buffers of 16 KiB, and a little more for its socket and timers. Per large head: 400 KiB, as in
    // the next test.
    const MAX_GROWTH_BYTES: u64 = 2 * COUNT as u64 * 32 * KIB + LARGE_HEADS as u64 * 400 * KIB;
    let stack = Stack::start().await?;
    let (gateway, persistence) = (stack.gateway(0), stack.persistence(0));
    let watches = [MemoryWatch::begin(gateway)?, MemoryWatch::begin(persistence)?];
    let (at_gateway, at_persistence) = (gateway.ports().public, persistence.ports().public);
    let new = connect_and_send(at_persistence, COUNT, UNFINISHED_HEAD).await?;
    // Slightly less than the refused size, because more bytes follow.
    let large = [UNFINISHED_HEAD, &vec![b'a'; REFUSED_HEAD_BYTES - 1_000]].concat();
    let large = connect_and_send(at_persistence, LARGE_HEADS, &large).await?;
    let used = connections_with_second_request(at_persistence, "/v1/nothing", COUNT).await?;
    let used_at_gateway = connections_with_second_request(at_gateway, "/v1/transport", COUNT).await?;
    let others = async {
        let room = stack.http("alice").new_room(&[]).await?;
        stack.http("alice").messages(&room, "").await?.expect(200);
        stack.connect("alice").await?.ping().await?;
        Ok(())
    };
    tokio::try_join!(
        expect_cut_off(new, FIRST_HEAD_DEADLINE, "a first head"),
        expect_cut_off(large, FIRST_HEAD_DEADLINE, "a large first head"),
        expect_cut_off(used, PERSISTENCE_IDLE_TIMEOUT, "a later head"),
        expect_cut_off(used_at_gateway, GATEWAY_IDLE_TIMEOUT, "a later head at a gateway"),
        others,
    )?;
    watches.iter().try_for_each(|watch| watch.ensure_growth_within(MAX_GROWTH_BYTES, "slow heads"))
}

#[tokio::test]
async fn oversized_heads_are_refused_and_hold_128_kib_at_most() -> Result<()> {
    const COUNT: usize = 100;
    // Per connection: up to 128 KiB of head. Its buffer doubles as it grows, and both buffers exist during the copy.
    const MAX_GROWTH_BYTES: u64 = COUNT as u64 * 400 * KIB;
    // If persistence kept all these bytes, it would use five times the bound.
    const SENT_BYTES: usize = 2 * MIB as usize;
    let stack = Stack::start().await?;
    let (port, watch) = (stack.persistence(0).ports().public, MemoryWatch::begin(stack.persistence(0))?);
    let long = "a".repeat(SENT_BYTES);
    let head = "GET /v1/me/rooms HTTP/1.1\r\nHost: x\r\n";
    let bombs = [
        ("one header that never ends", format!("{head}X-Bomb: {long}")),
        ("headers that never end", format!("{head}{}", "X-Bomb: aaaaaaaa\r\n".repeat(SENT_BYTES / 18))),
        ("a thousand headers", format!("{head}{}\r\n", "X-Bomb: a\r\n".repeat(1_000))),
        ("an address that never ends", format!("GET /v1/rooms?query={long}")),
        (
            "a long token",
            format!("{head}Connection: close\r\nAuthorization: Bearer {}\r\n\r\n", &long[..100_000]),
        ),
        ("no HTTP", long.clone()),
    ];
    for (name, bomb) in bombs {
        for mut stream in connect_and_send(port, COUNT, bomb.as_bytes()).await? {
            let answer =
                read_until_closed(&mut stream, DEADLINE_SLACK).await.with_context(|| name.to_owned())?;
            ensure!(is_refusal(&answer) && !answer.contains("aaaa"), "{name}: {answer}");
        }
        watch.ensure_growth_within(MAX_GROWTH_BYTES, name)?;
    }
    // The server reads exactly these bytes, so no reset can discard the answer. The first test covers smaller heads.
    let started = format!("{head}X-Bomb: ");
    let largest = format!("{started}{}", &long[..REFUSED_HEAD_BYTES - started.len()]);
    for mut stream in connect_and_send(port, COUNT, largest.as_bytes()).await? {
        let answer = read_until_closed(&mut stream, DEADLINE_SLACK)
            .await
            .context("a head of 128 KiB was not refused")?;
        ensure!(status(&answer) == Some(431), "{answer}");
    }
    watch.ensure_growth_within(MAX_GROWTH_BYTES, "heads of 128 KiB")?;
    stack.http("alice").new_room(&[]).await?;
    Ok(())
}

// Covers: bad_request, too_large.
#[tokio::test]
async fn deep_and_large_bodies_get_short_refusal() -> Result<()> {
    // Per request in progress: a body of up to 256 KiB, and its reader.
    const MAX_GROWTH_BYTES: u64 = 32 * MIB;
    let stack = Stack::start().await?;
    let alice = stack.http("alice");
    let room = alice.new_room(&[]).await?;
    let watches = [MemoryWatch::begin(stack.gateway(0))?, MemoryWatch::begin(stack.persistence(0))?];
    let deep = format!("{}{}", "[".repeat(30_000), "]".repeat(30_000));
    let objects = r#"{"a":"#.repeat(10_000);
    let (poll, rooms) =
        (format!("{}/v1/poll", stack.gateway(0).url()), format!("{}/v1/rooms", stack.persistence(0).url()));
    let messages = format!("{rooms}/{room}/messages");
    let anywhere = [deep.clone(), objects.clone(), format!(r#"{{"a":{objects}"#), "a".repeat(300 * 1024)];
    let mut attacks: Vec<(&str, String)> = Vec::new();
    for place in [&poll, &rooms, &messages] {
        attacks.extend(anywhere.iter().map(|body| (place.as_str(), body.clone())));
    }
    attacks.extend([
        (poll.as_str(), format!(r#"{{"cursors":{deep}}}"#)),
        (&poll, format!(r#"{{"commands":{objects}"#)),
        (&poll, format!(r#"{{"commands":[{{"type":"ping","ref":{deep}}}]}}"#)),
        (&rooms, format!(r#"{{"kind":"private","metadata":{deep}}}"#)),
        (&rooms, format!(r#"{{"kind":"private","members":{deep}}}"#)),
        (&messages, format!(r#"{{"client_id":"c","content":"x","metadata":{deep}}}"#)),
        (&messages, format!(r#"{{"client_id":"c","content":"x","metadata":{objects}"#)),
        (&messages, format!(r#"{{"client_id":{deep},"content":"x"}}"#)),
    ]);
    let client = tidings_harness::http::client();
    for (place, body) in &attacks {
        for _ in 0..5 {
            let request = client.post(*place).bearer_auth(stack.token("alice")).body(body.clone());
            let answer = request.send().await?;
            let (status, text) = (answer.status().as_u16(), answer.text().await?);
            // A poll with a refused command has the status 200, and the refusal in its body.
            let refused = matches!(status, 400 | 413 | 429) || *place == poll && text.contains("bad_request");
            ensure!(refused && text.len() < 1_000, "{place} {}: {status} {text}", &body[..20]);
        }
    }
    watches
        .iter()
        .try_for_each(|watch| watch.ensure_growth_within(MAX_GROWTH_BYTES, "deep and large bodies"))?;
    let answer =
        alice.post(&format!("/rooms/{room}/messages"), json!({"client_id": "c", "content": "x"})).await?;
    answer.expect(201);
    Ok(())
}

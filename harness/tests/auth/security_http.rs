//! Hostile requests to persistence's HTTP and to a gateway's: heads that are never finished, on new connections and on
//! those that were answered before, heads that never end, and JSON that is deep. Each states what it may cost;
//! docs/SECURITY.md has the table.

use std::time::{Duration, Instant};

use crate::hostile::{GRACE, KIB, MIB, Watch, drip, having_sent, is_refusal, status, until_ended};
use anyhow::{Context, Result, ensure};
use serde_json::json;
use tidings_harness::Stack;
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;

/// How long persistence waits for the head of a connection's first request.
const FIRST_HEAD: Duration = Duration::from_secs(60);
/// After so long without an answer a gateway and persistence cut a connection off.
const GATEWAY_PATIENCE: Duration = Duration::from_secs(75);
const PERSISTENCE_PATIENCE: Duration = Duration::from_secs(140);

/// Bytes of a head that has not ended, from which on it is refused.
const LARGEST_HEAD: usize = 128 * KIB as usize;

const HALF: &[u8] = b"GET /v1/transport HTTP/1.1\r\nHost: x\r\nX-Slow: ";

/// Reads an answer, whose body is known by its length.
async fn answered(stream: &mut TcpStream) -> Result<()> {
    let mut said = String::new();
    loop {
        let mut bytes = [0; 4096];
        let count = tokio::time::timeout(GRACE, stream.read(&mut bytes)).await??;
        ensure!(count > 0, "closed without an answer");
        said.push_str(&String::from_utf8_lossy(&bytes[..count]));
        let Some((head, body)) = said.split_once("\r\n\r\n") else { continue };
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
        let length: usize = length.context("no length")?.parse()?;
        if body.len() >= length {
            return Ok(());
        }
    }
}

/// Half a request on each connection, then a byte every ten seconds: all are cut off between these two moments.
async fn are_cut_off(mut slow: Vec<TcpStream>, after: Duration, what: &str) -> Result<()> {
    let begun = Instant::now();
    while begun.elapsed() + Duration::from_secs(5) < after {
        tokio::time::sleep(Duration::from_secs(5)).await;
        drip(&mut slow, b'a').await;
    }
    for stream in &mut slow {
        let end = (after + GRACE).saturating_sub(begun.elapsed());
        let answer = until_ended(stream, end).await.with_context(|| format!("{what} was waited for"))?;
        ensure!(answer.is_empty() || status(&answer) == Some(408), "{what}: {answer}");
    }
    Ok(())
}

/// Connections that were answered once and then began another request.
async fn answered_before(port: u16, path: &str, count: usize) -> Result<Vec<TcpStream>> {
    let first = format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n");
    let mut streams = having_sent(port, count, first.as_bytes()).await?;
    for stream in &mut streams {
        answered(stream).await?;
    }
    for byte in HALF {
        drip(&mut streams, *byte).await;
    }
    Ok(streams)
}

#[tokio::test]
async fn heads_that_are_never_finished_are_cut_off_on_new_connections_and_on_used_ones() -> Result<()> {
    const COUNT: usize = 500;
    const LARGE: usize = 50;
    // A connection's buffers are 16 KiB, its socket and timers a little more; large heads as below.
    const BOUND: u64 = 2 * COUNT as u64 * 32 * KIB + LARGE as u64 * 400 * KIB;
    let stack = Stack::start().await?;
    let (gateway, persistence) = (stack.gateway(0), stack.persistence(0));
    let watches = [Watch::begin(gateway)?, Watch::begin(persistence)?];
    let (at_gateway, at_persistence) = (gateway.ports().public, persistence.ports().public);
    let new = having_sent(at_persistence, COUNT, HALF).await?;
    // Some bytes short of what is refused, for those that follow.
    let large = [HALF, &vec![b'a'; LARGEST_HEAD - 1_000]].concat();
    let large = having_sent(at_persistence, LARGE, &large).await?;
    let used = answered_before(at_persistence, "/v1/nothing", COUNT).await?;
    let used_at_gateway = answered_before(at_gateway, "/v1/transport", COUNT).await?;
    let others = async {
        let room = stack.http("alice").new_room(&[]).await?;
        stack.http("alice").messages(&room, "").await?.expect(200);
        stack.connect("alice").await?.ping().await?;
        Ok(())
    };
    tokio::try_join!(
        are_cut_off(new, FIRST_HEAD, "a first head"),
        are_cut_off(large, FIRST_HEAD, "a large first head"),
        are_cut_off(used, PERSISTENCE_PATIENCE, "a later head"),
        are_cut_off(used_at_gateway, GATEWAY_PATIENCE, "a later head at a gateway"),
        others,
    )?;
    watches.iter().try_for_each(|watch| watch.stayed_within(BOUND, "slow heads"))
}

#[tokio::test]
async fn heads_that_are_too_large_are_refused_and_hold_no_more_than_128_kib_each() -> Result<()> {
    const COUNT: usize = 100;
    // Up to 128 KiB of head; the buffer doubles as it grows, and an old one lives while it is copied.
    const BOUND: u64 = COUNT as u64 * 400 * KIB;
    // Five times the bound, were it all kept.
    const SENT: usize = 2 * MIB as usize;
    let stack = Stack::start().await?;
    let (port, watch) = (stack.persistence(0).ports().public, Watch::begin(stack.persistence(0))?);
    let long = "a".repeat(SENT);
    let head = "GET /v1/me/rooms HTTP/1.1\r\nHost: x\r\n";
    let bombs = [
        ("one header that never ends", format!("{head}X-Bomb: {long}")),
        ("headers that never end", format!("{head}{}", "X-Bomb: aaaaaaaa\r\n".repeat(SENT / 18))),
        ("a thousand headers", format!("{head}{}\r\n", "X-Bomb: a\r\n".repeat(1_000))),
        ("an address that never ends", format!("GET /v1/rooms?query={long}")),
        (
            "a long token",
            format!("{head}Connection: close\r\nAuthorization: Bearer {}\r\n\r\n", &long[..100_000]),
        ),
        ("no HTTP", long.clone()),
    ];
    for (name, bomb) in bombs {
        for mut stream in having_sent(port, COUNT, bomb.as_bytes()).await? {
            let answer = until_ended(&mut stream, GRACE).await.with_context(|| name.to_owned())?;
            ensure!(is_refusal(&answer) && !answer.contains("aaaa"), "{name}: {answer}");
        }
        watch.stayed_within(BOUND, name)?;
    }
    // Read to its last byte, so that the answer cannot be lost. What a little less costs the first test here sees.
    let started = format!("{head}X-Bomb: ");
    let largest = format!("{started}{}", &long[..LARGEST_HEAD - started.len()]);
    for mut stream in having_sent(port, COUNT, largest.as_bytes()).await? {
        let answer = until_ended(&mut stream, GRACE).await.context("a head of 128 KiB was kept")?;
        ensure!(status(&answer) == Some(431), "{answer}");
    }
    watch.stayed_within(BOUND, "heads of 128 KiB")?;
    stack.http("alice").new_room(&[]).await?;
    Ok(())
}

// Covers: bad_request, too_large.
#[tokio::test]
async fn deep_and_large_bodies_are_refused_in_few_words() -> Result<()> {
    // Up to 256 KiB of body for each request under way, and what reads it.
    const BOUND: u64 = 32 * MIB;
    let stack = Stack::start().await?;
    let alice = stack.http("alice");
    let room = alice.new_room(&[]).await?;
    let watches = [Watch::begin(stack.gateway(0))?, Watch::begin(stack.persistence(0))?];
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
            // A poll answers each of its commands.
            let refused = matches!(status, 400 | 413 | 429) || *place == poll && text.contains("bad_request");
            ensure!(refused && text.len() < 1_000, "{place} {}: {status} {text}", &body[..20]);
        }
    }
    watches.iter().try_for_each(|watch| watch.stayed_within(BOUND, "deep and large bodies"))?;
    let answer =
        alice.post(&format!("/rooms/{room}/messages"), json!({"client_id": "c", "content": "x"})).await?;
    answer.expect(201);
    Ok(())
}

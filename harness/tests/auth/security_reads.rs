//! Hostile readers of persistence: they ask for large pages and do not read them, or read a little and close. The tests
//! watch the memory of the node and count the pages that it makes; docs/SECURITY.md lists the bounds.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use futures_util::future::join_all;
use tidings_harness::Stack;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

use crate::hostile::{MIB, MemoryWatch, WAIT_TIMEOUT};

const CLIENTS: usize = 48;
const RECEIVE_BUFFER_BYTES: u32 = 4096;
/// Requests of one connection, whose answers together are larger than what the kernel buffers.
const REQUESTS: usize = 8;
const ATTACK_TIME: Duration = Duration::from_secs(8);

/// Creates a room of mallory and bob with 200 messages of 10 KB, and returns its path and a request for all of them.
async fn large_room(stack: &Stack) -> Result<(String, String)> {
    let room = stack.http("mallory").new_room(&["bob"]).await?;
    let sql = format!(
        "INSERT INTO messages (room_id, seq, id, sender_id, client_id, kind, content, at, last_seq) \
         SELECT '{room}', n, gen_random_uuid(), 'mallory', 'c' || n, 'text', repeat(md5(n::text), 320), now(), n \
         FROM generate_series(1, 200) n; UPDATE rooms SET head_seq = 200 WHERE id = '{room}'"
    );
    stack.database().query(&sql).await?;
    let request = format!(
        "GET /v1/rooms/{room}/messages?limit=200 HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {}\r\n\r\n",
        stack.token("mallory")
    );
    Ok((format!("/rooms/{room}"), request))
}

/// The number of pages of messages that the node has answered.
async fn answered_pages(stack: &Stack) -> Result<f64> {
    let series =
        r#"tidings_persistence_http_requests_total{route="/v1/rooms/{room}/messages",status="200"} "#;
    let metrics = stack.persistence(0).metrics().await?;
    let value = metrics.lines().find_map(|line| line.strip_prefix(series)).unwrap_or("0");
    Ok(value.parse()?)
}

#[tokio::test]
async fn unread_pages_cost_little_memory_and_own_slots_only() -> Result<()> {
    const MAX_GROWTH_BYTES: u64 = 64 * MIB;
    let stack = Stack::builder().gateways(0).start().await?;
    let (path, request) = large_room(&stack).await?;
    let (mallory, bob) = (stack.http("mallory"), stack.http("bob"));
    bob.get(&path).await?.expect(200);
    let watch = MemoryWatch::begin(stack.persistence(0))?;
    let address = SocketAddr::from(([127, 0, 0, 1], stack.persistence(0).ports().public));
    let mut unread = Vec::new();
    for _ in 0..CLIENTS {
        let socket = TcpSocket::new_v4()?;
        socket.set_recv_buffer_size(RECEIVE_BUFFER_BYTES)?;
        let mut stream = socket.connect(address).await?;
        stream.write_all(request.repeat(REQUESTS).as_bytes()).await?;
        unread.push(stream);
    }
    let begun = Instant::now();
    loop {
        let answer = mallory.get(&path).await?;
        if answer.status == 429 {
            ensure!(answer.code() == "rate_limited", "{}", answer.body);
            ensure!(answer.body["retry_after_ms"].as_u64() > Some(0), "{}", answer.body);
            break;
        }
        answer.expect(200);
        ensure!(begun.elapsed() < WAIT_TIMEOUT, "the answers that nobody reads take no slots");
    }
    // Another user's reads have slots of their own, also for large pages.
    bob.get(&path).await?.expect(200);
    bob.get(&format!("{path}/messages?limit=200")).await?.expect(200);
    watch.ensure_growth_within(MAX_GROWTH_BYTES, "pages that are not read")?;
    drop(unread);
    let begun = Instant::now();
    while mallory.get(&path).await?.status != 200 {
        ensure!(begun.elapsed() < WAIT_TIMEOUT, "the slots stay taken");
    }
    Ok(())
}

#[tokio::test]
async fn aborted_pages_take_tokens_of_their_user() -> Result<()> {
    // The default rate: 200 tokens, and 50 each second. A page of 1 MiB takes nine.
    let stack = Stack::builder().gateways(0).persistence_env("TIDINGS_READS_PER_SECOND", 50).start().await?;
    let (path, request) = large_room(&stack).await?;
    let port = stack.persistence(0).ports().public;
    let begun = Instant::now();
    join_all((0..CLIENTS).map(async |_| {
        while begun.elapsed() < ATTACK_TIME {
            let abort = async {
                let mut stream = TcpStream::connect(("127.0.0.1", port)).await?;
                stream.write_all(request.as_bytes()).await?;
                stream.read_exact(&mut [0; 200]).await
            };
            // An error means that the server closed the connection, which the test allows.
            let _ = abort.await;
        }
    }))
    .await;
    let (answered, elapsed) = (answered_pages(&stack).await?, begun.elapsed());
    // Another user has tokens and slots of their own.
    stack.http("bob").get(&path).await?.expect(200);
    // A few pages are free: those that run, and those whose tokens do not come in time.
    let limit = (200.0 + 50.0 * elapsed.as_secs_f64()) / 9.0 + 4.0 * (1.0 + elapsed.as_secs_f64() / 3.0);
    ensure!(answered > 10.0 && answered < limit, "{answered} pages in {elapsed:?}, at most {limit} allowed");
    Ok(())
}

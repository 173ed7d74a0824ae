//! Hostile readers of persistence: they ask for large pages and do not read them, or read a little and close. The tests
//! watch the memory of the node and the time of another user's reads; docs/SECURITY.md lists the bounds.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use tidings_harness::{Http, Stack};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

use crate::hostile::{MIB, MemoryWatch, WAIT_TIMEOUT};

const CLIENTS: usize = 48;
const RECEIVE_BUFFER_BYTES: u32 = 4096;
/// Requests of one connection, whose answers together are larger than what the kernel buffers.
const REQUESTS: usize = 8;
/// The most that another user's read may take beside the attack, also if it takes less than a tenth of this in quiet.
const SLOW_READ: Duration = Duration::from_millis(250);

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

/// The median time of a user's reads of a path, one after the other.
async fn median_time(user: &Http, path: &str) -> Result<Duration> {
    let mut times = Vec::new();
    for _ in 0..31 {
        let begun = Instant::now();
        user.get(path).await?.expect(200);
        times.push(begun.elapsed());
    }
    times.sort_unstable();
    Ok(times[times.len() / 2])
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
async fn aborted_pages_of_one_user_do_not_slow_another() -> Result<()> {
    // The default rate.
    let stack = Stack::builder().gateways(0).persistence_env("TIDINGS_READS_PER_SECOND", 50).start().await?;
    let (path, request) = large_room(&stack).await?;
    let bob = stack.http("bob");
    let quiet = median_time(&bob, &path).await?;
    let port = stack.persistence(0).ports().public;
    let loops: Vec<_> = (0..CLIENTS)
        .map(|_| {
            let request = request.clone();
            tokio::spawn(async move {
                loop {
                    let abort = async {
                        let mut stream = TcpStream::connect(("127.0.0.1", port)).await?;
                        stream.write_all(request.as_bytes()).await?;
                        stream.read_exact(&mut [0; 200]).await
                    };
                    // An error means that the server closed the connection, which is no matter here.
                    let _ = abort.await;
                }
            })
        })
        .collect();
    // The burst of the rate is used up in this time.
    tokio::time::sleep(Duration::from_secs(3)).await;
    let beside = median_time(&bob, &path).await;
    loops.iter().for_each(tokio::task::JoinHandle::abort);
    let beside = beside?;
    eprintln!("reads of another user: {quiet:?} in quiet, {beside:?} beside the attack");
    ensure!(beside <= (10 * quiet).max(SLOW_READ), "{quiet:?} in quiet, {beside:?} beside the attack");
    Ok(())
}

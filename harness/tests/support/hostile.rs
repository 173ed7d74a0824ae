//! Hostile clients: hundreds of sockets that send arbitrary bytes, and a watch on the memory that they cost a node.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use futures_util::{StreamExt, TryStreamExt, stream};
use tidings_harness::{Node, memory::resident};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

/// Longer than any step here takes on a busy machine.
pub const WAIT_TIMEOUT: Duration = Duration::from_secs(60);
/// Slack for deadlines that tests assert, because the test machine may be busy.
pub const DEADLINE_SLACK: Duration = Duration::from_secs(20);
pub const KIB: u64 = 1024;
pub const MIB: u64 = 1024 * KIB;
const MAX_CONCURRENT_CONNECTS: usize = 64;
const SAMPLE_INTERVAL: Duration = Duration::from_millis(20);

/// Samples the resident memory of a node from its creation on.
pub struct MemoryWatch {
    before: u64,
    peak: Arc<AtomicU64>,
    sampling: JoinHandle<()>,
}

impl MemoryWatch {
    pub fn begin(node: &Node) -> Result<MemoryWatch> {
        let pid = node.pid().context("the node has ended")?;
        let before = resident(pid)?;
        let peak = Arc::new(AtomicU64::new(before));
        let sampling = tokio::spawn({
            let peak = peak.clone();
            async move {
                while let Ok(now) = resident(pid) {
                    peak.fetch_max(now, Ordering::Relaxed);
                    tokio::time::sleep(SAMPLE_INTERVAL).await;
                }
            }
        });
        Ok(MemoryWatch { before, peak, sampling })
    }

    /// Fails if the node ever held more than `bound` bytes above its value at the beginning, or if it has ended.
    pub fn ensure_growth_within(&self, bound: u64, what: &str) -> Result<()> {
        ensure!(!self.sampling.is_finished(), "{what}: the node has ended");
        let grown = self.peak.load(Ordering::Relaxed) - self.before;
        eprintln!("{what}: at most {} KiB more, allowed {} KiB", grown / KIB, bound / KIB);
        ensure!(
            grown <= bound,
            "{what}: the node held {} KiB more, allowed {} KiB",
            grown / KIB,
            bound / KIB
        );
        Ok(())
    }
}

impl Drop for MemoryWatch {
    fn drop(&mut self) {
        self.sampling.abort();
    }
}

/// Opens `count` connections and sends these bytes on each. The server may already have closed some of them.
pub async fn connect_and_send(port: u16, count: usize, bytes: &[u8]) -> Result<Vec<TcpStream>> {
    let opening = (0..count).map(|_| async {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).await?;
        stream.set_nodelay(true)?;
        let _ = stream.write_all(bytes).await;
        anyhow::Ok(stream)
    });
    stream::iter(opening).buffer_unordered(MAX_CONCURRENT_CONNECTS).try_collect().await
}

/// Sends one more byte on each connection.
pub async fn send_byte(streams: &mut [TcpStream], byte: u8) {
    for stream in streams {
        // A write to a closed connection may fail; a later read shows the close.
        let _ = stream.write_all(&[byte]).await;
    }
}

/// Reads until the server ends the connection. `None` if the server does not end it within this time.
pub async fn read_until_closed(stream: &mut TcpStream, within: Duration) -> Option<String> {
    let mut received = Vec::new();
    let reading = async {
        let mut bytes = [0; 4096];
        while let Ok(count @ 1..) = stream.read(&mut bytes).await {
            received.extend_from_slice(&bytes[..count]);
        }
    };
    tokio::time::timeout(within, reading).await.ok()?;
    Some(String::from_utf8_lossy(&received).into_owned())
}

/// Whether the server refused the request itself. At the deadline for a head it answers 408, which is no refusal. An
/// empty answer counts as a refusal: if the client sent more than the server read, the reset may discard the answer.
pub fn is_refusal(answer: &str) -> bool {
    answer.is_empty() || status(answer).is_some_and(|status| (400..500).contains(&status) && status != 408)
}

/// The status of an answer, if there is one.
pub fn status(answer: &str) -> Option<u16> {
    answer.strip_prefix("HTTP/1.1 ")?.get(..3)?.parse().ok()
}

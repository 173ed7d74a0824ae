//! What hostile clients do: sockets by the hundred that send what they like, and what that costs a node in memory.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use futures_util::{StreamExt, TryStreamExt, stream};
use tidings_harness::{Node, memory::resident};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

/// Longer than anything here takes on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(60);
/// What a test machine's load may add to a moment that is asserted.
pub const GRACE: Duration = Duration::from_secs(20);
pub const KIB: u64 = 1024;
pub const MIB: u64 = 1024 * KIB;
const CONNECTING: usize = 64;
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// Watches the resident memory of a node from now on.
pub struct Watch {
    before: u64,
    peak: Arc<AtomicU64>,
    looking: JoinHandle<()>,
}

impl Watch {
    pub fn begin(node: &Node) -> Result<Watch> {
        let pid = node.pid().context("the node has ended")?;
        let before = resident(pid)?;
        let peak = Arc::new(AtomicU64::new(before));
        let looking = tokio::spawn({
            let peak = peak.clone();
            async move {
                while let Ok(now) = resident(pid) {
                    peak.fetch_max(now, Ordering::Relaxed);
                    tokio::time::sleep(LOOK_EVERY).await;
                }
            }
        });
        Ok(Watch { before, peak, looking })
    }

    /// Fails when the node ever held so many bytes more than at the beginning, or has ended.
    pub fn stayed_within(&self, bound: u64, what: &str) -> Result<()> {
        ensure!(!self.looking.is_finished(), "{what}: the node has ended");
        let grown = self.peak.load(Ordering::Relaxed) - self.before;
        eprintln!("{what}: {} KiB more at most, of {} KiB", grown / KIB, bound / KIB);
        ensure!(grown <= bound, "{what}: the node held {} KiB more, over {} KiB", grown / KIB, bound / KIB);
        Ok(())
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.looking.abort();
    }
}

/// So many connections, each of which has sent these bytes; the server may have cut them off meanwhile.
pub async fn having_sent(port: u16, count: usize, bytes: &[u8]) -> Result<Vec<TcpStream>> {
    let opening = (0..count).map(|_| async {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).await?;
        stream.set_nodelay(true)?;
        let _ = stream.write_all(bytes).await;
        anyhow::Ok(stream)
    });
    stream::iter(opening).buffer_unordered(CONNECTING).try_collect().await
}

/// Sends one more byte on each.
pub async fn drip(streams: &mut [TcpStream], byte: u8) {
    for stream in streams {
        // Who was cut off already is found by reading.
        let _ = stream.write_all(&[byte]).await;
    }
}

/// What comes until the server ends the connection, at most within this time; `None`: it did not.
pub async fn until_ended(stream: &mut TcpStream, within: Duration) -> Option<String> {
    let mut said = Vec::new();
    let reading = async {
        let mut bytes = [0; 4096];
        while let Ok(count @ 1..) = stream.read(&mut bytes).await {
            said.extend_from_slice(&bytes[..count]);
        }
    };
    tokio::time::timeout(within, reading).await.ok()?;
    Some(String::from_utf8_lossy(&said).into_owned())
}

/// Whether a server itself refused what it was sent, and did not only wait until the time for a head was over (408).
/// With more sent than it read, the answer may be lost with the connection: so none is a refusal too.
pub fn is_refusal(answer: &str) -> bool {
    answer.is_empty() || status(answer).is_some_and(|status| (400..500).contains(&status) && status != 408)
}

/// The status of an answer, when there was one.
pub fn status(answer: &str) -> Option<u16> {
    answer.strip_prefix("HTTP/1.1 ")?.get(..3)?.parse().ok()
}

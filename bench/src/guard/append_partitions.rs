//! Counts the instructions of Redis per appended message: when one call appends the messages of all partitions, and
//! when each partition needs a call of its own, as in a Redis Cluster (docs/decisions/0055-epochs-of-shards.md). The
//! counts have no expected numbers. The Lua texts are read when this runs, so a changed text needs no build.

use std::fmt::Write;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Client, Value};
use tidings_harness::redis::Redis;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use super::callgrind::CallgrindControl;

mod script;

use script::{AppendCall, PARTITIONS, Variant};

/// Messages that one worker sends at a time, each to a room of another partition.
const ROUND_SIZES: [usize; 4] = [1, 4, 16, 64];
const COUNTED_MESSAGES: usize = 256;
/// Connections that receive all published records, like two gateways.
const SUBSCRIBERS: usize = 2;
/// Redis runs some tens of times slower than usual.
const TIMEOUT: Duration = Duration::from_secs(60);
/// How long the instructions of an idle Redis are counted.
const IDLE_TIME: Duration = Duration::from_secs(3);
const WINDOW_S: i64 = 600;

/// Starts a Redis, counts all variants, and returns a table of instructions per message. Callgrind writes its files
/// into `folder`.
///
/// # Errors
/// When Redis fails or appends fewer messages than it should, or counting fails.
pub async fn report(folder: &Path) -> Result<String> {
    let counts = CallgrindControl::new(folder);
    let redis = Redis::start_under(&counts.launcher()).await?;
    for _ in 0..SUBSCRIBERS {
        subscribe(redis.port()).await?;
    }
    let config = AsyncConnectionConfig::new()
        .set_connection_timeout(Some(TIMEOUT))
        .set_response_timeout(Some(TIMEOUT));
    let connection = Client::open(redis.url())?.get_multiplexed_async_connection_with_config(&config).await?;
    let mut counter = Counter { redis, counts, connection, idle_per_second: 0.0, sent: 0 };
    counter.write_rooms().await?;
    counter.count_idle().await?;
    let mut table = format!("{:>44}", "messages of a round:");
    for size in ROUND_SIZES {
        write!(table, "{size:>10}")?;
    }
    for variant in Variant::ALL {
        let sha: String = redis::cmd("SCRIPT")
            .arg("LOAD")
            .arg(variant.text()?)
            .query_async(&mut counter.connection)
            .await?;
        write!(table, "\n{:>44}", variant.name())?;
        for size in ROUND_SIZES {
            let instructions = counter.count(variant, &sha, size).await;
            let instructions =
                instructions.with_context(|| format!("{}, {size} messages", variant.name()))?;
            write!(table, "{instructions:>10}")?;
        }
    }
    table.push('\n');
    Ok(table)
}

/// Subscribes to the channels of all rooms on a new connection, and discards what arrives.
async fn subscribe(port: u16) -> Result<()> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await?;
    let channels: Vec<String> = Variant::room_keys().collect();
    stream.write_all(format!("SUBSCRIBE {}\r\n", channels.join(" ")).as_bytes()).await?;
    tokio::spawn(async move { tokio::io::copy(&mut stream, &mut tokio::io::sink()).await });
    Ok(())
}

/// A Redis under callgrind, with what has been sent to it.
struct Counter {
    redis: Redis,
    counts: CallgrindControl,
    connection: MultiplexedConnection,
    /// Instructions per second of periodic work. They are subtracted, because counting stretches the time.
    idle_per_second: f64,
    /// Number of messages that were sent, of all variants.
    sent: usize,
}

impl Counter {
    /// Writes what exists before an append: the rooms, and the windows of client ids of this time and the next.
    async fn write_rooms(&mut self) -> Result<()> {
        let window = chrono::Utc::now().timestamp() / WINDOW_S;
        let mut pipe = redis::pipe();
        for key in Variant::room_keys() {
            pipe.cmd("HSET").arg(key).arg(&["seq", "0", "epoch", "1", "bases", "1:0", "archived", "0"]);
            pipe.arg(&["kind", "private", "members", "2"]).ignore();
        }
        for partition in 0..PARTITIONS {
            pipe.cmd("SET").arg(format!("{{{partition:02}}}:epoch")).arg("1").ignore();
            for window in [window - 1, window, window + 1] {
                let earlier = (window - 1).to_string();
                pipe.cmd("HSET").arg(format!("{{{partition:02}}}:sent:{window}"));
                pipe.arg(&["last", "0-0", "bytes", "0", "earlier", &earlier, "new_from", "1 0"]).ignore();
            }
        }
        let () = pipe.query_async(&mut self.connection).await?;
        Ok(())
    }

    async fn count_idle(&mut self) -> Result<()> {
        tokio::time::sleep(IDLE_TIME).await;
        self.counts.reset(self.pid()?).await?;
        let begun = Instant::now();
        tokio::time::sleep(IDLE_TIME).await;
        let instructions = self.counts.read_and_reset(self.pid()?).await?;
        self.idle_per_second = instructions as f64 / begun.elapsed().as_secs_f64();
        Ok(())
    }

    /// Instructions per message, without those of an idle Redis.
    async fn count(&mut self, variant: Variant, sha: &str, size: usize) -> Result<u64> {
        // The expiry of a room is renewed after 30 s. These renewals are left out of the count.
        let now_s = chrono::Utc::now().timestamp();
        let mut pipe = redis::pipe();
        for key in Variant::room_keys() {
            pipe.cmd("HSET").arg(key).arg("touched_at").arg(now_s).ignore();
        }
        let () = pipe.query_async(&mut self.connection).await?;
        self.send(variant, sha, size, PARTITIONS).await?;
        self.counts.reset(self.pid()?).await?;
        let begun = Instant::now();
        self.send(variant, sha, size, COUNTED_MESSAGES).await?;
        let instructions = self.counts.read_and_reset(self.pid()?).await?;
        let idle = self.idle_per_second * begun.elapsed().as_secs_f64();
        Ok(((instructions as f64 - idle) / COUNTED_MESSAGES as f64) as u64)
    }

    /// Sends messages in rounds of `size`, and checks that each is appended.
    async fn send(&mut self, variant: Variant, sha: &str, size: usize, messages: usize) -> Result<()> {
        for _ in 0..messages / size {
            let numbers: Vec<usize> = (self.sent..self.sent + size).collect();
            self.sent += size;
            let mut pipe = redis::pipe();
            let calls = if variant == Variant::OneCall { size } else { 1 };
            for numbers in numbers.chunks(calls) {
                pipe.add_command(AppendCall { variant, sha, numbers }.command());
            }
            let answers: Vec<Value> = pipe.query_async(&mut self.connection).await?;
            for answer in &answers {
                ensure!(script::is_appended(answer, calls), "not appended: {answer:?}");
            }
        }
        Ok(())
    }

    fn pid(&self) -> Result<u32> {
        self.redis.pid().context("Redis has ended")
    }
}

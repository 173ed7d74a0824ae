//! Requests over HTTP/1.1 keep-alive at a fixed rate. Latencies count from when a request was due, so if a slow answer
//! delays the next requests, the delay counts. Uses threads and blocking sockets, because tokio's timers have a
//! resolution of a millisecond, which is about as long as the measured latencies.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, ensure};
use hdrhistogram::Histogram;
use memchr::memmem;

/// Limit of the connections. With several, one slow answer does not delay all requests.
const MAX_CONNECTIONS: usize = 8;
/// Timeout of an answer.
const WAIT_TIMEOUT: Duration = Duration::from_secs(10);
const MAX_HEAD_BYTES: usize = 8 * 1024;

/// An empty histogram of microseconds, up to a minute, with three significant digits.
///
/// # Errors
/// Never, with these bounds.
pub fn histogram() -> Result<Histogram<u64>> {
    Ok(Histogram::new_with_bounds(1, 60_000_000, 3)?)
}

/// Requests every path, at `rate` requests per second. Returns the latencies in µs from when each request was due.
///
/// # Errors
/// When the status of an answer is not 200, or no answer comes.
pub fn request_all(node: SocketAddr, token: &str, paths: &[String], rate: f64) -> Result<Histogram<u64>> {
    let (next, all) = (AtomicUsize::new(0), Mutex::new(histogram()?));
    let mut connections = Vec::new();
    for _ in 0..MAX_CONNECTIONS.min(paths.len()) {
        connections.push(Connection::open(node, token)?);
    }
    let begun = Instant::now();
    thread::scope(|scope| {
        let workers: Vec<_> = connections
            .into_iter()
            .map(|mut connection| {
                let (next, all) = (&next, &all);
                scope.spawn(move || -> Result<()> {
                    let mut took = histogram()?;
                    loop {
                        let number = next.fetch_add(1, Ordering::Relaxed);
                        let Some(path) = paths.get(number) else { break };
                        let due = begun + Duration::from_secs_f64(number as f64 / rate);
                        thread::sleep(due.saturating_duration_since(Instant::now()));
                        connection.get(path)?;
                        took.saturating_record(u64::try_from(due.elapsed().as_micros())?.max(1));
                    }
                    Ok(all.lock().map_err(|_| anyhow!("another connection failed"))?.add(&took)?)
                })
            })
            .collect();
        for worker in workers {
            worker.join().map_err(|_| anyhow!("a connection's thread panicked"))??;
        }
        anyhow::Ok(())
    })?;
    all.into_inner().map_err(|_| anyhow!("a connection failed"))
}

struct Connection {
    stream: TcpStream,
    headers: String,
    read: Vec<u8>,
}

impl Connection {
    fn open(node: SocketAddr, token: &str) -> Result<Connection> {
        let stream = TcpStream::connect(node).with_context(|| format!("connect to {node}"))?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(WAIT_TIMEOUT))?;
        let headers = format!(" HTTP/1.1\r\nHost: {node}\r\nAuthorization: Bearer {token}\r\n\r\n");
        Ok(Connection { stream, headers, read: Vec::with_capacity(64 * 1024) })
    }

    /// Requests a path. Returns the length of the body in bytes.
    fn get(&mut self, path: &str) -> Result<usize> {
        self.stream.write_all(format!("GET {path}{}", self.headers).as_bytes())?;
        self.read.clear();
        let mut chunk = [0; 32 * 1024];
        let (end, length) = loop {
            let count = self.stream.read(&mut chunk).with_context(|| format!("no answer to {path}"))?;
            ensure!(count > 0, "closed instead of answering {path}");
            self.read.extend_from_slice(&chunk[..count]);
            if let Some(end) = memmem::find(&self.read, b"\r\n\r\n") {
                break (
                    end + 4,
                    content_length(&self.read[..end]).with_context(|| format!("the answer to {path}"))?,
                );
            }
            ensure!(self.read.len() < MAX_HEAD_BYTES, "the answer to {path} has no end of headers");
        };
        while self.read.len() < end + length {
            let count = self.stream.read(&mut chunk)?;
            ensure!(count > 0, "closed within the answer to {path}");
            self.read.extend_from_slice(&chunk[..count]);
        }
        ensure!(self.read.len() == end + length, "more than the answer to {path} came");
        Ok(length)
    }
}

/// The length of the body in bytes, from the head of an answer. Any status but 200 is an error.
fn content_length(head: &[u8]) -> Result<usize> {
    let head = std::str::from_utf8(head)?;
    ensure!(head.starts_with("HTTP/1.1 200 "), "{head}");
    let named = head.lines().skip(1).filter_map(|line| line.split_once(':'));
    let mut lengths = named.filter(|(name, _)| name.eq_ignore_ascii_case("content-length"));
    Ok(lengths.next().context("no content-length")?.1.trim().parse()?)
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    /// A server that answers no request before `pause` has passed since its start.
    fn slow_server(pause: Duration) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        thread::spawn(move || {
            let begun = Instant::now();
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                thread::spawn(move || {
                    let mut chunk = [0; 1024];
                    while stream.read(&mut chunk).is_ok_and(|count| count > 0) {
                        thread::sleep(pause.saturating_sub(begun.elapsed()));
                        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}").unwrap();
                    }
                });
            }
        });
        address
    }

    #[test]
    fn requests_due_during_a_server_pause_count_as_slow() {
        let paths = vec!["/".to_owned(); 100];
        let took = request_all(slow_server(Duration::from_millis(500)), "t", &paths, 200.0).unwrap();
        assert_eq!(took.len(), 100);
        // All eight connections waited half a second for their first answer, and the other requests became due in this
        // time.
        let slow = took.iter_recorded().filter(|step| step.value_iterated_to() > 100_000);
        let slow: u64 = slow.map(|step| step.count_since_last_iteration()).sum();
        assert!(slow >= 70, "{slow}");
    }

    #[test]
    fn only_status_200_with_a_length_is_an_answer() {
        assert_eq!(content_length(b"HTTP/1.1 200 OK\r\ncontent-LENGTH: 17\r\nDate: x").unwrap(), 17);
        assert!(content_length(b"HTTP/1.1 404 Not Found\r\nContent-Length: 17").is_err());
        assert!(content_length(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked").is_err());
    }
}

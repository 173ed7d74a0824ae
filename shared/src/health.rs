//! The health check of a program, for images without a shell: the subcommand `health` requests `/readyz` (or
//! `/healthz`) at the operators' port that the same settings name.

use std::{
    io::{ErrorKind, Read, Write},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream},
    process::ExitCode,
    time::{Duration, Instant},
};

use clap::Args;

/// Longest answer that is read.
const MAX_ANSWER_BYTES: usize = 64 * 1024;

/// Arguments of the health check.
#[derive(Debug, Clone, Copy, Args)]
pub struct HealthProbe {
    /// Ask whether it is alive, not whether it is ready
    #[arg(long)]
    pub live: bool,
    /// How long the answer may take, milliseconds
    #[arg(long, default_value_t = 2_000, value_name = "MILLISECONDS", value_parser = clap::value_parser!(u64).range(1..=60_000))]
    pub timeout_ms: u64,
}

impl HealthProbe {
    /// The answer of the service at an operators' address, if it is healthy.
    ///
    /// # Errors
    /// The status and the answer otherwise, or why there is no answer.
    pub fn check(self, admin: SocketAddr) -> Result<String, String> {
        let path = if self.live { "/healthz" } else { "/readyz" };
        let admin = reachable(admin);
        let answer = get(admin, path, Duration::from_millis(self.timeout_ms));
        let answer = answer.map_err(|error| format!("http://{admin}{path}: {error}"))?;
        let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
        let status = head.split_whitespace().nth(1).unwrap_or_default();
        let body = body.trim().to_owned();
        if status == "200" { Ok(body) } else { Err(format!("http://{admin}{path}: {status} {body}")) }
    }

    /// Runs the check and prints the answer; to standard error if the service is not healthy.
    #[must_use]
    pub fn run(self, admin: SocketAddr) -> ExitCode {
        match self.check(admin) {
            Ok(answer) => {
                println!("{answer}");
                ExitCode::SUCCESS
            }
            Err(problem) => {
                eprintln!("{problem}");
                ExitCode::FAILURE
            }
        }
    }
}

/// The address to connect to: loopback if the service listens on all addresses.
fn reachable(mut admin: SocketAddr) -> SocketAddr {
    match admin.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => admin.set_ip(Ipv4Addr::LOCALHOST.into()),
        IpAddr::V6(ip) if ip.is_unspecified() => admin.set_ip(Ipv6Addr::LOCALHOST.into()),
        _ => {}
    }
    admin
}

fn get(admin: SocketAddr, path: &str, timeout: Duration) -> std::io::Result<String> {
    let deadline = Instant::now() + timeout;
    // A socket refuses a timeout of zero, so this is an error here.
    let left = || match deadline.saturating_duration_since(Instant::now()) {
        Duration::ZERO => Err(std::io::Error::from(ErrorKind::TimedOut)),
        left => Ok(Some(left)),
    };
    let mut stream = TcpStream::connect_timeout(&admin, timeout)?;
    stream.set_write_timeout(left()?)?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {admin}\r\nConnection: close\r\n\r\n")?;
    let (mut answer, mut part) = (Vec::new(), [0; 1024]);
    while answer.len() < MAX_ANSWER_BYTES {
        stream.set_read_timeout(left()?)?;
        match stream.read(&mut part)? {
            0 => break,
            length => answer.extend_from_slice(&part[..length]),
        }
    }
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A listener that gives one answer.
    fn answering(answer: &'static str) -> SocketAddr {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut head = Vec::new();
            // Reads the whole head: closing a socket with unread bytes resets the connection.
            while !head.ends_with(b"\r\n\r\n") {
                let mut byte = [0];
                stream.read_exact(&mut byte).unwrap();
                head.extend(byte);
            }
            stream.write_all(answer.as_bytes()).unwrap();
        });
        address
    }

    #[test]
    fn only_status_200_is_healthy_and_the_answer_is_returned() {
        let probe = HealthProbe { live: false, timeout_ms: 2_000 };
        assert_eq!(probe.check(answering("HTTP/1.1 200 OK\r\n\r\nready\n")), Ok("ready".to_owned()));
        let told = probe.check(answering("HTTP/1.1 503 No\r\n\r\nnot ready: draining\n")).unwrap_err();
        assert!(told.ends_with("/readyz: 503 not ready: draining"), "{told}");
        assert!(probe.check(answering("")).is_err());
        assert!(probe.check("127.0.0.1:1".parse().unwrap()).is_err());
    }

    #[test]
    fn slow_answer_times_out() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            while stream.write_all(b"H").is_ok() {
                std::thread::sleep(Duration::from_millis(50));
            }
        });
        let begun = Instant::now();
        assert!(HealthProbe { live: false, timeout_ms: 500 }.check(address).is_err());
        assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
    }

    #[test]
    fn unspecified_address_is_replaced_by_loopback() {
        assert_eq!(reachable("0.0.0.0:5".parse().unwrap()).to_string(), "127.0.0.1:5");
        assert_eq!(reachable("[::]:5".parse().unwrap()).to_string(), "[::1]:5");
        assert_eq!(reachable("10.1.2.3:5".parse().unwrap()).to_string(), "10.1.2.3:5");
    }
}

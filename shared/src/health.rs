//! A program that asks its own kind how it is, for images without a shell: `health` asks `/readyz` (or `/healthz`) of the
//! operators' port that the same settings name.

use std::{
    io::{ErrorKind, Read, Write},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream},
    process::ExitCode,
    time::{Duration, Instant},
};

use clap::Args;

/// Most of an answer that is read.
const MAX_ANSWER_BYTES: usize = 64 * 1024;

/// How to ask.
#[derive(Debug, Clone, Copy, Args)]
pub struct Asking {
    /// Ask whether it is alive, not whether it is ready
    #[arg(long)]
    pub live: bool,
    /// How long the answer may take, milliseconds
    #[arg(long, default_value_t = 2_000, value_name = "MILLISECONDS", value_parser = clap::value_parser!(u64).range(1..=60_000))]
    pub timeout_ms: u64,
}

impl Asking {
    /// What the service behind an operators' address says when all is well.
    ///
    /// # Errors
    /// What it says otherwise, or that it says nothing.
    pub fn ask(self, admin: SocketAddr) -> Result<String, String> {
        let path = if self.live { "/healthz" } else { "/readyz" };
        let admin = reachable(admin);
        let answer = get(admin, path, Duration::from_millis(self.timeout_ms));
        let answer = answer.map_err(|error| format!("http://{admin}{path}: {error}"))?;
        let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
        let status = head.split_whitespace().nth(1).unwrap_or_default();
        let said = body.trim().to_owned();
        if status == "200" { Ok(said) } else { Err(format!("http://{admin}{path}: {status} {said}")) }
    }

    /// Asks, and prints the answer: to standard error when all is not well.
    #[must_use]
    pub fn tell(self, admin: SocketAddr) -> ExitCode {
        match self.ask(admin) {
            Ok(said) => {
                println!("{said}");
                ExitCode::SUCCESS
            }
            Err(told) => {
                eprintln!("{told}");
                ExitCode::FAILURE
            }
        }
    }
}

/// Who listens on all addresses is asked on the machine's own.
fn reachable(mut admin: SocketAddr) -> SocketAddr {
    match admin.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => admin.set_ip(Ipv4Addr::LOCALHOST.into()),
        IpAddr::V6(ip) if ip.is_unspecified() => admin.set_ip(Ipv6Addr::LOCALHOST.into()),
        _ => {}
    }
    admin
}

fn get(admin: SocketAddr, path: &str, patience: Duration) -> std::io::Result<String> {
    let until = Instant::now() + patience;
    // No time left is no timeout, to a socket.
    let left = || match until.saturating_duration_since(Instant::now()) {
        Duration::ZERO => Err(std::io::Error::from(ErrorKind::TimedOut)),
        left => Ok(Some(left)),
    };
    let mut stream = TcpStream::connect_timeout(&admin, patience)?;
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
            // All of it: who closes what still holds something to be read, resets.
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
    fn only_200_is_well_and_what_was_said_is_told() {
        let asking = Asking { live: false, timeout_ms: 2_000 };
        assert_eq!(asking.ask(answering("HTTP/1.1 200 OK\r\n\r\nready\n")), Ok("ready".to_owned()));
        let told = asking.ask(answering("HTTP/1.1 503 No\r\n\r\nnot ready: draining\n")).unwrap_err();
        assert!(told.ends_with("/readyz: 503 not ready: draining"), "{told}");
        assert!(asking.ask(answering("")).is_err());
        assert!(asking.ask("127.0.0.1:1".parse().unwrap()).is_err());
    }

    #[test]
    fn an_answer_that_comes_drop_by_drop_is_given_up_in_time() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            while stream.write_all(b"H").is_ok() {
                std::thread::sleep(Duration::from_millis(50));
            }
        });
        let begun = Instant::now();
        assert!(Asking { live: false, timeout_ms: 500 }.ask(address).is_err());
        assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
    }

    #[test]
    fn who_listens_everywhere_is_asked_here() {
        assert_eq!(reachable("0.0.0.0:5".parse().unwrap()).to_string(), "127.0.0.1:5");
        assert_eq!(reachable("[::]:5".parse().unwrap()).to_string(), "[::1]:5");
        assert_eq!(reachable("10.1.2.3:5".parse().unwrap()).to_string(), "10.1.2.3:5");
    }
}

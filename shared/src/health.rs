//! The subcommand `health` of a program, for container images without a shell. It requests `/readyz` or `/healthz` from
//! the operators' listener, whose address it reads from the settings of the service.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    process::ExitCode,
    time::Duration,
};

use clap::Args;
use reqwest::StatusCode;

use crate::http_client::{self, innermost_cause};

const MAX_ANSWER_BYTES: usize = 64 * 1024;

/// Arguments of the health check.
#[derive(Debug, Clone, Copy, Args)]
pub struct HealthProbe {
    /// Ask whether the service is alive, not whether it is ready
    #[arg(long)]
    pub live: bool,
    /// How long the answer may take, milliseconds
    #[arg(long, default_value_t = 2_000, value_name = "MILLISECONDS", value_parser = clap::value_parser!(u64).range(1..=60_000))]
    pub timeout_ms: u64,
}

impl HealthProbe {
    /// Sends a request to the operators' listener at `admin`, and returns its answer if the status is 200. The error
    /// contains the other status and the answer, or why there is no answer.
    pub async fn check(self, admin: SocketAddr) -> Result<String, String> {
        let path = if self.live { "/healthz" } else { "/readyz" };
        let url = format!("http://{}{path}", address_to_connect(admin));
        match get(&url, Duration::from_millis(self.timeout_ms)).await {
            Ok((StatusCode::OK, body)) => Ok(body),
            Ok((status, body)) => Err(format!("{url}: {} {body}", status.as_u16())),
            Err(error) => Err(format!("{url}: {error}")),
        }
    }

    /// Runs the check, and prints the answer to standard output, or the error to standard error.
    pub async fn run(self, admin: SocketAddr) -> ExitCode {
        match self.check(admin).await {
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

/// The address to connect to: `admin`, but on the loopback interface if the service listens on all interfaces.
fn address_to_connect(mut admin: SocketAddr) -> SocketAddr {
    match admin.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => admin.set_ip(Ipv4Addr::LOCALHOST.into()),
        IpAddr::V6(ip) if ip.is_unspecified() => admin.set_ip(Ipv6Addr::LOCALHOST.into()),
        _ => {}
    }
    admin
}

async fn get(url: &str, timeout: Duration) -> Result<(StatusCode, String), String> {
    let client = http_client::builder().timeout(timeout).build().map_err(innermost_cause)?;
    let answer = client.get(url).send().await.map_err(innermost_cause)?;
    let status = answer.status();
    let body = http_client::read_body(answer, MAX_ANSWER_BYTES).await?;
    Ok((status, String::from_utf8_lossy(&body).trim().to_owned()))
}

#[cfg(test)]
mod tests {
    use std::{
        io::{Read, Write},
        time::Instant,
    };

    use super::*;

    /// Starts a listener that gives one answer, and returns its address.
    fn start_listener(answer: &'static str) -> SocketAddr {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut head = Vec::new();
            // The whole head is read, because closing a socket with unread bytes resets the connection.
            while !head.ends_with(b"\r\n\r\n") {
                let mut byte = [0];
                stream.read_exact(&mut byte).unwrap();
                head.extend(byte);
            }
            stream.write_all(answer.as_bytes()).unwrap();
        });
        address
    }

    #[tokio::test]
    async fn only_status_200_is_healthy_and_the_answer_is_returned() {
        let probe = HealthProbe { live: false, timeout_ms: 2_000 };
        assert_eq!(
            probe.check(start_listener("HTTP/1.1 200 OK\r\n\r\nready\n")).await,
            Ok("ready".to_owned())
        );
        let error =
            probe.check(start_listener("HTTP/1.1 503 No\r\n\r\nnot ready: draining\n")).await.unwrap_err();
        assert!(error.ends_with("/readyz: 503 not ready: draining"), "{error}");
        assert!(probe.check(start_listener("")).await.is_err());
        assert!(probe.check("127.0.0.1:1".parse().unwrap()).await.is_err());
    }

    #[tokio::test]
    async fn slow_answer_times_out() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n");
            while stream.write_all(b"H").is_ok() {
                std::thread::sleep(Duration::from_millis(50));
            }
        });
        let begun = Instant::now();
        assert!(HealthProbe { live: false, timeout_ms: 500 }.check(address).await.is_err());
        assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
    }

    #[test]
    fn unspecified_address_is_replaced_by_loopback() {
        assert_eq!(address_to_connect("0.0.0.0:5".parse().unwrap()).to_string(), "127.0.0.1:5");
        assert_eq!(address_to_connect("[::]:5".parse().unwrap()).to_string(), "[::1]:5");
        assert_eq!(address_to_connect("10.1.2.3:5".parse().unwrap()).to_string(), "10.1.2.3:5");
    }
}

//! A real Alertmanager with the shipped routes, and the receiver of its pages: it records what would wake somebody.

use std::collections::BTreeSet;
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::{Context, Result};
use nix::sys::signal::Signal;
use serde_json::Value;
use tidings_harness::{Stack, daemon::Daemon, http, ports};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::Instant;

use crate::prometheus::{Prometheus, shipped_folder};

const READY_TIMEOUT: Duration = Duration::from_secs(30);
/// The name of Debian's program.
const PROGRAM: &str = "prometheus-alertmanager";

/// One notification of the receiver `page`.
#[derive(Clone)]
pub struct Page {
    pub at: Instant,
    group: String,
    pub resolved: bool,
    pub alerts: BTreeSet<String>,
}

/// The running Alertmanager. Dropping the value ends it.
pub struct Pages {
    _alertmanager: Daemon,
    received: Arc<Mutex<Vec<Page>>>,
}

impl Pages {
    /// Starts the receiver and Alertmanager, and makes Prometheus send alerts to it.
    ///
    /// # Errors
    /// When the program is missing or does not become ready.
    pub async fn start(stack: &Stack, prometheus: &Prometheus) -> Result<Pages> {
        let received = Arc::default();
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let webhook = listener.local_addr()?;
        tokio::spawn(receive(listener, Arc::clone(&received)));

        let routes = shipped_folder().with_file_name("alertmanager").join("routes.yml");
        let mut configuration = std::fs::read_to_string(routes)? + "receivers:\n";
        for silent in ["ticket", "watchdog", "nobody"] {
            configuration += &format!("  - name: {silent}\n");
        }
        configuration += &format!("  - name: page\n    webhook_configs:\n      - url: http://{webhook}/\n");
        let (file, storage) = (stack.folder().join("alertmanager.yml"), stack.folder().join("alerts"));
        std::fs::write(&file, configuration)?;
        let place = format!("127.0.0.1:{}", ports::free()?);
        let listen = format!("--web.listen-address={place}");
        let log = stack.folder().join("alertmanager.log");
        let daemon = Daemon::new(PROGRAM, log, Signal::SIGKILL, move || {
            let mut command = Command::new(PROGRAM);
            command.arg(format!("--config.file={}", file.display())).arg(&listen);
            command.arg(format!("--storage.path={}", storage.display())).arg("--cluster.listen-address=");
            command
        });
        daemon.start().with_context(|| format!("{PROGRAM}: ./dev test installs Debian's package"))?;
        let (url, client) = (format!("http://{place}/-/ready"), http::client());
        let ready = || async { client.get(&url).send().await.is_ok_and(|answer| answer.status() == 200) };
        daemon.until_ready(READY_TIMEOUT, ready).await?;
        prometheus.send_alerts_to(&place)?;
        Ok(Pages { _alertmanager: daemon, received })
    }

    /// What was received so far.
    pub fn received(&self) -> Vec<Page> {
        self.received.lock().unwrap().clone()
    }

    /// How often somebody was woken. A notification of a group that is open updates its page and wakes nobody.
    pub fn incidents(&self) -> usize {
        self.open_groups().0
    }

    /// Whether Alertmanager has notified the receiver of the end of every page.
    pub fn none_is_open(&self) -> bool {
        self.open_groups().1.is_empty()
    }

    /// The number of groups that were opened, and those that are open now.
    fn open_groups(&self) -> (usize, BTreeSet<String>) {
        let (mut opened, mut open) = (0, BTreeSet::new());
        for page in self.received() {
            if page.resolved {
                open.remove(&page.group);
            } else if open.insert(page.group) {
                opened += 1;
            }
        }
        (opened, open)
    }
}

async fn receive(listener: TcpListener, received: Arc<Mutex<Vec<Page>>>) {
    while let Ok((stream, _)) = listener.accept().await {
        let received = received.clone();
        tokio::spawn(async move {
            if let Ok(page) = read_page(stream).await {
                received.lock().unwrap().push(page);
            }
        });
    }
}

/// Reads one request. The answer closes the connection, so each notification has its own.
async fn read_page(mut stream: TcpStream) -> Result<Page> {
    let mut read = Vec::new();
    let body = loop {
        stream.read_buf(&mut read).await?;
        let text = String::from_utf8_lossy(&read);
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        let length = head.lines().find_map(|line| line.strip_prefix("Content-Length: "));
        let length: usize = length.context("no length")?.parse()?;
        if body.len() >= length {
            break body.to_owned();
        }
    };
    stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n").await?;
    let body: Value = serde_json::from_str(&body)?;
    let alerts = body["alerts"].as_array().into_iter().flatten();
    let names = alerts.filter_map(|alert| alert["labels"]["alertname"].as_str().map(ToOwned::to_owned));
    Ok(Page {
        at: Instant::now(),
        group: body["groupKey"].to_string(),
        resolved: body["status"] == "resolved",
        alerts: names.collect(),
    })
}

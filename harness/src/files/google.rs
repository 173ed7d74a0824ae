//! A bucket as that of Google Cloud Storage: versitygw without authentication, because the XML API of Google has the
//! requests of S3 (<https://cloud.google.com/storage/docs/interoperability>). HAProxy is in front of it: it demands the
//! token that Google would demand, and removes it, because versitygw would take it for a signature.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};
use nix::sys::signal::Signal;

use super::S3Server;
use super::s3::{BUCKET, PREFIX};
use crate::daemon::Daemon;
use crate::{Stack, ports};

const READY_TIMEOUT: Duration = Duration::from_secs(30);
const TOKEN: &str = "a-token-of-the-tests";

/// A running server with one bucket.
pub struct GoogleServer {
    server: S3Server,
    front: Daemon,
    port: u16,
}

impl GoogleServer {
    /// Starts a server with an empty bucket, in the folder of a stack.
    ///
    /// # Errors
    /// When a program is missing, or it is not ready in 30 s.
    pub async fn start(stack: &Stack) -> Result<GoogleServer> {
        let server = S3Server::start_public(stack).await?;
        let (port, file) = (ports::free()?, stack.folder().join("google.cfg"));
        let configuration = format!(
            "defaults\n  mode http\n  timeout connect 5s\n  timeout client 60s\n  timeout server 60s\n\
             frontend google\n  bind 127.0.0.1:{port}\n\
             \x20 http-request deny deny_status 401 unless {{ req.hdr(authorization) -m str \"Bearer {TOKEN}\" }}\n\
             \x20 http-request del-header authorization\n  default_backend bucket\n\
             backend bucket\n  server bucket {}\n",
            server.url().trim_start_matches("http://")
        );
        std::fs::write(&file, configuration)?;
        let front = Daemon::new("google", stack.folder().join("google.log"), Signal::SIGKILL, move || {
            let mut command = Command::new("haproxy");
            command.args(["-db", "-f"]).arg(&file);
            command
        });
        front.start().context("HAProxy, which Debian has as the package haproxy")?;
        let client = crate::http::client_within(Duration::from_secs(2));
        let url = format!("http://127.0.0.1:{port}/");
        front.until_ready(READY_TIMEOUT, || async { client.get(&url).send().await.is_ok() }).await?;
        Ok(GoogleServer { server, front, port })
    }

    pub(super) fn server(&self) -> &S3Server {
        &self.server
    }

    pub(super) fn stop(&self) {
        self.front.kill();
        self.server.kill();
    }

    pub(super) async fn start_again(&self) -> Result<()> {
        self.server.start_again().await?;
        self.front.start()?;
        self.front.until_ready(READY_TIMEOUT, || async { !ports::is_free(self.port) }).await
    }

    pub(super) fn settings(&self) -> Vec<(&'static str, String)> {
        vec![
            ("TIDINGS_FILES_BUCKET", format!("gs://{BUCKET}/{PREFIX}")),
            ("GOOGLE_BASE_URL", format!("http://127.0.0.1:{}", self.port)),
            ("GOOGLE_BEARER_TOKEN", TOKEN.to_owned()),
        ]
    }

    pub(super) fn folder(&self) -> PathBuf {
        self.server.folder()
    }
}

//! One upload. Its requests go to the replicas in turn, which may be killed or paused meanwhile. Now and then the
//! client cuts a request itself. It resumes at the offset that the service reports, and checks that this offset never
//! goes back.

use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use rand::Rng;
use rand::rngs::StdRng;
use reqwest::Method;
use serde_json::Value;
use tokio::time::{sleep, timeout};

use crate::files::{FileUser, Reply};

/// How long a client waits for an answer before it closes the connection.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);
const RETRY_PAUSE: Duration = Duration::from_millis(200);
/// Limit of the uploads that a client begins for one file. The service may remove an upload that takes too long.
const MAX_BEGINNINGS: usize = 20;

/// A client that uploads one file at a time.
pub(super) struct Uploader {
    pub replicas: Vec<FileUser>,
    pub rng: StdRng,
    /// Answers by which the service reported an internal error.
    pub internal_errors: Vec<String>,
}

/// A request of an upload.
enum UploadRequest<'a> {
    Create { room: &'a str, content: &'a [u8] },
    Offset { upload: &'a str },
    Append { upload: &'a str, offset: u64, chunk: &'a [u8] },
    Complete { path: &'a str },
}

/// How an upload ended.
enum UploadEnd {
    Complete(Value),
    /// The client stopped at the requested offset.
    Stopped,
    /// The service does not know the upload any more.
    Gone,
}

impl Uploader {
    /// Uploads a file, and returns its object. With `stop_at` the client sends only bytes up to about this offset, and
    /// returns `None`.
    ///
    /// # Errors
    /// When the service breaks a guarantee.
    pub async fn upload(
        &mut self,
        room: &str,
        content: &[u8],
        stop_at: Option<u64>,
    ) -> Result<Option<Value>> {
        for _ in 0..MAX_BEGINNINGS {
            let created = self.ask(&UploadRequest::Create { room, content }).await;
            ensure!(created.status == 201, "an upload was refused: {}", describe(&created));
            let created = created.json();
            let id = created["id"].as_str().context("a file without an id")?;
            let upload = created["upload"]["url"].as_str().context("an upload without an address")?;
            let path = format!("/v1/rooms/{room}/files/{id}/complete");
            match self
                .send(upload, &path, content, stop_at)
                .await
                .with_context(|| format!("upload of {id}"))?
            {
                UploadEnd::Complete(file) => {
                    ensure!(file["size"] == content.len() && file["attachment"]["file"] == id, "{file}");
                    return Ok(Some(file));
                }
                UploadEnd::Stopped => return Ok(None),
                UploadEnd::Gone => {}
            }
        }
        bail!("{MAX_BEGINNINGS} uploads of one file were removed");
    }

    async fn send(
        &mut self,
        upload: &str,
        complete: &str,
        content: &[u8],
        stop_at: Option<u64>,
    ) -> Result<UploadEnd> {
        let mut reported = 0;
        loop {
            let reply = self.ask(&UploadRequest::Offset { upload }).await;
            if reply.status == 404 {
                return Ok(UploadEnd::Gone);
            }
            check_offset(&reply, &mut reported, content.len())?;
            if stop_at.is_some_and(|end| reported >= end) {
                return Ok(UploadEnd::Stopped);
            }
            let rest = &content[usize::try_from(reported)?..];
            if !rest.is_empty() {
                self.append(upload, &mut reported, rest, content.len()).await?;
                continue;
            }
            let reply = self.ask(&UploadRequest::Complete { path: complete }).await;
            match reply.status {
                200 => return Ok(UploadEnd::Complete(reply.json())),
                404 => return Ok(UploadEnd::Gone),
                // A request that was cut still holds the lock.
                409 => sleep(RETRY_PAUSE).await,
                // Only right bytes were sent, so a wrong checksum is a defect too.
                _ => bail!("a complete upload was refused: {}", describe(&reply)),
            }
        }
    }

    /// Sends the rest of the bytes, or a part of them, or cuts the connection within them.
    async fn append(&mut self, upload: &str, reported: &mut u64, rest: &[u8], size: usize) -> Result<()> {
        let way = self.rng.random_range(0..4);
        let part = &rest[..self.rng.random_range(1..=rest.len())];
        if way == 0 {
            let replica = self.rng.random_range(0..self.replicas.len());
            let cut = self.replicas[replica].begin_append(upload, *reported, part);
            // The connection is closed when this is dropped. A failure is a cut too.
            let _ = timeout(ANSWER_TIMEOUT, cut).await;
            return Ok(());
        }
        let chunk = if way == 1 { part } else { rest };
        let reply = self.ask(&UploadRequest::Append { upload, offset: *reported, chunk }).await;
        match reply.status {
            204 => {
                let end = *reported + chunk.len() as u64;
                check_offset(&reply, reported, size)?;
                ensure!(*reported == end, "a chunk up to {end} was stored up to {reported}");
            }
            // The caller asks for the offset.
            400 | 404 | 409 => sleep(RETRY_PAUSE).await,
            _ => bail!("a chunk was refused: {}", describe(&reply)),
        }
        Ok(())
    }

    /// Sends a request to the replicas in turn until one gives a final answer.
    async fn ask(&mut self, request: &UploadRequest<'_>) -> Reply {
        loop {
            self.replicas.rotate_left(1);
            match timeout(ANSWER_TIMEOUT, request.send(&self.replicas[0])).await {
                Ok(Ok(reply)) if !is_temporary(reply.status) => return reply,
                Ok(Ok(reply)) if reply.status >= 500 && reply.status != 503 => {
                    self.internal_errors.push(format!("files: {}", describe(&reply)));
                }
                _ => {}
            }
            sleep(RETRY_PAUSE).await;
        }
    }
}

impl UploadRequest<'_> {
    async fn send(&self, user: &FileUser) -> Result<Reply> {
        match *self {
            Self::Create { room, content } => {
                user.create(room, "shared.bin", "application/octet-stream", content).await
            }
            Self::Offset { upload } => user.send(user.request(Method::HEAD, upload)).await,
            Self::Append { upload, offset, chunk } => user.append(upload, offset, chunk.to_vec()).await,
            Self::Complete { path } => user.post(path).await,
        }
    }
}

/// Checks that the offset in an answer is not below an offset that was reported before, and keeps it.
fn check_offset(reply: &Reply, reported: &mut u64, size: usize) -> Result<()> {
    let offset = reply.offset().with_context(|| format!("no offset: {}", describe(reply)))?;
    ensure!(offset >= *reported, "the offset went back from {reported} to {offset}");
    ensure!(offset <= size as u64, "the offset {offset} is above the size {size}");
    *reported = offset;
    Ok(())
}

/// Whether the same request may succeed later.
pub(super) fn is_temporary(status: u16) -> bool {
    matches!(status, 408 | 429 | 500..=599)
}

pub(super) fn describe(reply: &Reply) -> String {
    format!("{} {}", reply.status, String::from_utf8_lossy(&reply.bytes))
}

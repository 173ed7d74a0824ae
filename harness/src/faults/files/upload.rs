//! One upload. Its requests go to the replicas in turn, which may be killed or paused meanwhile. Now and then the
//! client aborts a request. It then sends what the service lacks, and checks that the service keeps received bytes.

mod offset;
mod parts;

use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use rand::rngs::StdRng;
use reqwest::Method;
use serde_json::Value;
use tokio::time::{sleep, timeout};

use super::content::Content;
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
    Create { room: &'a str, content: &'a Content },
    Get { path: &'a str },
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
    /// Uploads a file, and returns its object. With `stop_at` the client sends only about this many bytes, and returns
    /// `None`.
    ///
    /// # Errors
    /// When the service breaks a guarantee.
    pub async fn upload(
        &mut self,
        room: &str,
        content: &Content,
        stop_at: Option<u64>,
    ) -> Result<Option<Value>> {
        for _ in 0..MAX_BEGINNINGS {
            let created = self.ask(&UploadRequest::Create { room, content }).await;
            ensure!(created.status == 201, "an upload was refused: {}", describe(&created));
            let created = created.json();
            let id = created["id"].as_str().context("a file without an id")?;
            let path = format!("/v1/rooms/{room}/files/{id}");
            let end = match created["upload"]["url"].as_str() {
                Some(upload) => self.send_by_offset(upload, &path, content, stop_at).await,
                None => self.send_in_parts(&path, content, stop_at).await,
            };
            match end.with_context(|| format!("upload of {id}"))? {
                UploadEnd::Complete(file) => return Ok(Some(file)),
                UploadEnd::Stopped => return Ok(None),
                UploadEnd::Gone => {}
            }
        }
        bail!("{MAX_BEGINNINGS} uploads of one file were removed");
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
                user.create(room, content.name, content.media_type, &content.upload).await
            }
            Self::Get { path } => user.get(path).await,
            Self::Offset { upload } => user.send(user.request(Method::HEAD, upload)).await,
            Self::Append { upload, offset, chunk } => user.append(upload, offset, chunk.to_vec()).await,
            Self::Complete { path } => user.post(&format!("{path}/complete")).await,
        }
    }
}

/// Whether the same request may succeed later.
pub(super) fn is_temporary(status: u16) -> bool {
    matches!(status, 408 | 429 | 500..=599)
}

pub(super) fn describe(reply: &Reply) -> String {
    format!("{} {}", reply.status, String::from_utf8_lossy(&reply.bytes))
}

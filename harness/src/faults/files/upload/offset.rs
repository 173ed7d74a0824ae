//! An upload by offset, which the service itself receives.

use anyhow::{Context, Result, bail, ensure};
use rand::Rng;
use tokio::time::{sleep, timeout};

use super::{ANSWER_TIMEOUT, RETRY_PAUSE, UploadEnd, UploadRequest, Uploader, describe};
use crate::faults::files::content::Content;
use crate::files::Reply;

/// How often an upload may begin again at 0.
const MAX_RESTARTS: usize = 20;

impl Uploader {
    /// Sends the bytes from the reported offset on, and completes the upload. Checks that the offset never goes back.
    pub(super) async fn send_by_offset(
        &mut self,
        upload: &str,
        path: &str,
        content: &Content,
        stop_at: Option<u64>,
    ) -> Result<UploadEnd> {
        let (content, is_image) = (&content.upload, content.image().is_some());
        let (mut reported, mut restarts) = (0, 0);
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
            let reply = self.ask(&UploadRequest::Complete { path }).await;
            match reply.status {
                200 => return Ok(UploadEnd::Complete(reply.json())),
                404 => return Ok(UploadEnd::Gone),
                // A request that was cut still holds the lock.
                409 => sleep(RETRY_PAUSE).await,
                // It follows from the shorter image below.
                400 if is_image && reply.reason() == "checksum" && restarts < MAX_RESTARTS => restarts += 1,
                // Only right bytes were sent, so a wrong checksum is a defect too.
                _ => bail!("a complete upload was refused: {}", describe(&reply)),
            }
            // A replica that was killed after it had removed the metadata leaves a shorter image. The bytes after it do
            // not match, and the upload begins again at 0.
            if is_image {
                reported = 0;
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
}

/// Checks that the offset in an answer is not below an offset that was reported before, and keeps it.
fn check_offset(reply: &Reply, reported: &mut u64, size: usize) -> Result<()> {
    let offset = reply.offset().with_context(|| format!("no offset: {}", describe(reply)))?;
    ensure!(offset >= *reported, "the offset went back from {reported} to {offset}");
    ensure!(offset <= size as u64, "the offset {offset} is above the size {size}");
    *reported = offset;
    Ok(())
}

//! An upload in parts, which go to presigned URLs of a bucket.

use std::ops::Range;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use rand::Rng;
use serde_json::Value;
use tokio::time::{sleep, timeout};

use super::{ANSWER_TIMEOUT, RETRY_PAUSE, UploadEnd, UploadRequest, Uploader, describe, is_temporary};
use crate::faults::files::content::Content;
use crate::files::bytes_of;

/// When a client cuts a part that it sends.
const CUT_MS: Range<u64> = 0..20;

impl Uploader {
    /// Sends the parts that the bucket lacks, in any order, and completes the upload. Checks that a part that was
    /// received stays received.
    pub(super) async fn send_in_parts(
        &mut self,
        path: &str,
        content: &Content,
        stop_at: Option<u64>,
    ) -> Result<UploadEnd> {
        let (content, mut received) = (&content.upload, 0);
        loop {
            let reply = self.ask(&UploadRequest::Get { path }).await;
            match reply.status {
                200 => {}
                404 => return Ok(UploadEnd::Gone),
                // Another request has begun the upload again.
                409 => {
                    sleep(RETRY_PAUSE).await;
                    continue;
                }
                _ => bail!("an upload is not shown: {}", describe(&reply)),
            }
            let file = reply.json();
            if file["state"] == "uploading" {
                let reported = file["upload"]["received_bytes"].as_u64().context("no received bytes")?;
                ensure!(reported >= received, "received bytes went back from {received} to {reported}");
                received = reported;
                if stop_at.is_some_and(|end| received >= end) {
                    return Ok(UploadEnd::Stopped);
                }
                let parts = file["upload"]["parts"].as_array().context("no parts")?;
                if !parts.is_empty() {
                    let part = &parts[self.rng.random_range(0..parts.len())];
                    received += self.put_part(part, content).await?;
                    continue;
                }
                ensure!(received == content.len() as u64, "{received} bytes are all: {file}");
            }
            let reply = self.ask(&UploadRequest::Complete { path }).await;
            match reply.status {
                200 => return Ok(UploadEnd::Complete(reply.json())),
                404 => return Ok(UploadEnd::Gone),
                // A request that was cut is still completing it.
                409 => sleep(RETRY_PAUSE).await,
                // Only right bytes were sent, so a wrong checksum is a defect too.
                _ => bail!("a complete upload was refused: {}", describe(&reply)),
            }
        }
    }

    /// Sends a part, or cuts the connection within it. Returns the number of bytes that the bucket has received for sure.
    async fn put_part(&mut self, part: &Value, content: &[u8]) -> Result<u64> {
        let bytes = bytes_of(part, content)?;
        let (size, is_cut) = (bytes.len() as u64, self.rng.random_ratio(1, 4));
        let within =
            if is_cut { Duration::from_millis(self.rng.random_range(CUT_MS)) } else { ANSWER_TIMEOUT };
        // The connection is closed when this is dropped.
        let reply = timeout(within, self.replicas[0].put_part(part, bytes)).await;
        match reply {
            Ok(Ok(reply)) if reply.status == 200 => return Ok(size),
            // The upload may have ended, or its server breaks.
            Ok(Ok(reply)) if reply.status != 404 && !is_temporary(reply.status) => {
                bail!("a part was refused: {}", describe(&reply));
            }
            _ => sleep(RETRY_PAUSE).await,
        }
        Ok(0)
    }
}

//! Prepares uploaded images: removes their metadata and makes their previews. Both need memory in proportion to the
//! image, so few of them run at the same time, and each holds its slot until its thread has ended. If a preview takes
//! too long, the file gets none. Its thread runs on, because a decoder cannot be stopped, and the result is dropped.

use std::io;
use std::time::Duration;

use bytes::Bytes;
use image::ImageFormat;
use image::metadata::Orientation;
use tidings_shared::request_slots::SlotGuard;
use tidings_shared::sabotage::{self, Sabotage};
use tokio::time::timeout;

use crate::decoding_budget::Decoding;
use crate::folder::blocking;
use crate::metadata;
use crate::preview::{self, NoPreview, Preview};

/// How long the completion of an upload waits for its preview. Most need less than a second.
const PREVIEW_TIMEOUT: Duration = Duration::from_secs(10);

/// An image that is being completed.
pub struct PreparedImage {
    format: ImageFormat,
    /// The content that is stored.
    pub content: Bytes,
    /// Whether the content differs from the upload.
    pub is_changed: bool,
    orientation: Orientation,
    extra_bytes: u64,
    slot: SlotGuard,
}

/// The results of making previews, as labels of the metric.
pub const PREVIEW_RESULTS: [&str; 5] = ["made", "too_large", "undecodable", "timeout", "over_budget"];

impl PreparedImage {
    /// Removes the metadata of an uploaded image, unless `keep_metadata` is set. None if it is not an image of this
    /// format, although its first bytes look like it.
    pub async fn prepare(
        format: ImageFormat,
        upload: Bytes,
        keep_metadata: bool,
        slot: SlotGuard,
    ) -> io::Result<Option<Self>> {
        // The thread has the slot too, because it runs on if the request ends.
        let stripping = blocking(move || {
            let stripped = metadata::strip(format, &upload);
            Ok(stripped.map(|stripped| (stripped, upload, slot)))
        });
        let Some((stripped, upload, slot)) = stripping.await? else { return Ok(None) };
        let keep_metadata = keep_metadata || sabotage::is_active(Sabotage::Metadata);
        let is_changed = !keep_metadata && stripped.content != upload;
        let content = if is_changed { stripped.content.into() } else { upload };
        let (orientation, extra_bytes) = (stripped.orientation, stripped.extra_bytes);
        Ok(Some(Self { format, content, is_changed, orientation, extra_bytes, slot }))
    }

    /// Makes the preview. The error is one of [`PREVIEW_RESULTS`].
    pub async fn preview(self, decoding: Decoding) -> Result<Preview, &'static str> {
        let making = tokio::task::spawn_blocking(move || {
            // Also counts a decoder that panics, or that runs on after the timeout.
            let _decoding = decoding;
            let made = preview::make(self.format, &self.content, self.orientation, self.extra_bytes);
            // The memory of the image is free before another one gets the slot.
            drop(self.content);
            drop(self.slot);
            made
        });
        match timeout(PREVIEW_TIMEOUT, making).await {
            Ok(Ok(Ok(_))) if sabotage::is_active(Sabotage::Preview) => Err("timeout"),
            Ok(Ok(Ok(preview))) => Ok(preview),
            Ok(Ok(Err(NoPreview::TooLarge))) => Err("too_large"),
            // A decoder that panics ends its own thread only.
            Ok(Ok(Err(NoPreview::Undecodable)) | Err(_)) => Err("undecodable"),
            Err(_) => Err("timeout"),
        }
    }
}

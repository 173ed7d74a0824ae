//! Removes the metadata of an image before its upload is completed, and stores its preview.

use std::time::{Duration, Instant};

use image::ImageFormat;
use tidings_persistence::http::problem::Problem;
use tidings_shared::ids::UserId;

use super::{ApiState, changed_elsewhere};
use crate::file::{ImageDetails, StoredFile};
use crate::folder::blocking;
use crate::images::PreparedImage;
use crate::storage::Derived;
use crate::upload_file::UploadFile;

/// How long a completion waits for a free slot of the images.
const IMAGE_SLOT_TIMEOUT: Duration = Duration::from_secs(20);

/// The result of storing an image.
pub struct StoredImage {
    /// Holds the lock of the content file. None for an object of a bucket.
    pub upload: Option<UploadFile>,
    pub content_size: u64,
    /// Whether the content is [`Derived::Clean`].
    pub is_cleaned: bool,
    pub details: Option<ImageDetails>,
}

/// Reads an uploaded image and removes its metadata in memory. `etag` is that of the inspected object in a bucket. None if
/// only the first bytes look like an image.
pub async fn prepare(
    state: &ApiState,
    user: &UserId,
    file: &StoredFile,
    etag: Option<&str>,
    format: ImageFormat,
) -> Result<Option<PreparedImage>, Problem> {
    let slot = state.image_slots.acquire_within(user, "images", IMAGE_SLOT_TIMEOUT).await?;
    let policy = &state.policy;
    let reading = state.storage.read_all(&file.id, etag, policy.max_image_bytes).await;
    // Another request may have removed the file after its inspection, or completed it again.
    let upload = reading.map_err(|error| state.storage_failed(&error))?.ok_or_else(changed_elsewhere)?;
    let preparing = PreparedImage::prepare(format, upload, policy.keep_metadata, slot).await;
    preparing.map_err(|error| state.storage_failed(&error))
}

/// Stores an image without its metadata, and its preview if one can be made. In a folder the content file is replaced.
/// In a bucket the image becomes a [`Derived::Clean`] object, because other completions may be reading the upload.
pub async fn store(
    state: &ApiState,
    file: &StoredFile,
    mut upload: Option<UploadFile>,
    image: PreparedImage,
) -> Result<StoredImage, Problem> {
    let (content, is_changed) = (image.content.clone(), image.is_changed);
    let content_size = content.len() as u64;
    let is_cleaned = is_changed && upload.is_none();
    let details = store_preview(state, file, image).await?;
    // The upload is replaced last, because a replica that ends between this and the row leaves a shorter upload.
    if is_cleaned {
        let storing = state.storage.put(&file.id, Derived::Clean, content).await;
        storing.map_err(|error| state.storage_failed(&error))?;
    } else if let Some(mut file) = upload.take_if(|_| is_changed) {
        let replacing = blocking(move || file.replace(&content).map(|()| file));
        upload = Some(replacing.await.map_err(|error| state.storage_failed(&error))?);
    }
    Ok(StoredImage { upload, content_size, is_cleaned, details })
}

/// Makes and stores the preview of an image. None if it cannot be made, or if its uploader has used too much time.
async fn store_preview(
    state: &ApiState,
    file: &StoredFile,
    image: PreparedImage,
) -> Result<Option<ImageDetails>, Problem> {
    let made = match state.decoding.begin(&file.uploader, Instant::now()) {
        Some(decoding) => image.preview(decoding).await,
        None => Err("over_budget"),
    };
    let result = made.as_ref().map_or_else(|result| *result, |_| "made");
    state.metrics.previews.with_label_values(&[result]).inc();
    let Ok(preview) = made else { return Ok(None) };
    let storing = state.storage.put(&file.id, Derived::Preview, preview.content.into()).await;
    storing.map_err(|error| state.storage_failed(&error))?;
    Ok(Some(ImageDetails {
        preview_type: preview.media_type.to_owned(),
        dimensions: preview.dimensions,
        blurhash: preview.blurhash,
    }))
}

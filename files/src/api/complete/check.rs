//! The steps of a completion that are the same for a folder and a bucket.

use tidings_persistence::http::problem::Problem;
use tidings_shared::error::Refusal;
use tidings_shared::ids::UserId;

use crate::api::ApiState;
use crate::api::images::{self, StoredImage};
use crate::file::{FileState, StoredFile};
use crate::images::PreparedImage;
use crate::inspection::Inspection;
use crate::media::stated_type;
use crate::metadata::format_of;
use crate::store::files;
use crate::store::uploads::{self, Completion};
use crate::upload_file::UploadFile;

/// An upload that may be made available.
pub struct CheckedUpload {
    media_type: String,
    sniffed_type: Option<&'static str>,
    /// None if the content is not an image whose metadata is removed.
    image: Option<PreparedImage>,
    /// Identifies the content in a bucket.
    etag: Option<String>,
}

/// Checks the content against the declared size and checksum, and against the allowed types. Removes the metadata of an
/// image in memory. The etag is that of the inspected content in a bucket.
pub async fn judge(
    state: &ApiState,
    user: &UserId,
    file: &StoredFile,
    (found, etag): (Inspection, Option<String>),
) -> Result<Result<CheckedUpload, Refusal>, Problem> {
    let policy = &state.policy;
    let refuse = |result: &str, refusal: Refusal| {
        state.metrics.completions.with_label_values(&[result]).inc();
        Ok(Err(refusal))
    };
    if found.sha256 != file.sha256 || found.size != file.size {
        let detail = "SHA-256 does not match; upload again from the start";
        let refusal = Refusal::bad_field("sha256", detail).with_reason("checksum");
        return refuse("wrong_checksum", refusal);
    }
    if found.sniffed_type.is_some_and(|sniffed| policy.refuses_image(sniffed, file.size)) {
        return refuse("too_large", policy.image_refusal());
    }
    let (image, sniffed_type) = match found.sniffed_type.and_then(format_of) {
        Some(format) if file.size <= policy.max_image_bytes => {
            let image = images::prepare(state, user, file, etag.as_deref(), format).await?;
            // Metadata was not removed from content that only begins like an image, so it is served as unknown bytes.
            let sniffed = found.sniffed_type.filter(|_| image.is_some());
            (image, sniffed)
        }
        _ => (None, found.sniffed_type),
    };
    let media_type = stated_type(&file.media_type, sniffed_type);
    if !policy.media_types.allows_content(&media_type, found.sniffed_type) {
        let detail = "the content has a type that is not allowed here";
        let refusal = Refusal::bad_field("media_type", detail).with_reason("media_type");
        return refuse("wrong_type", refusal);
    }
    Ok(Ok(CheckedUpload { media_type, sniffed_type, image, etag }))
}

/// Stores the cleaned image and its preview, and makes the file available. `upload` is the locked content file; None
/// with a bucket. Returns None if another request has ended the upload meanwhile.
pub async fn finish(
    state: &ApiState,
    file: &StoredFile,
    upload: Option<UploadFile>,
    checked: CheckedUpload,
) -> Result<Option<StoredFile>, Problem> {
    // The lock ends with this function.
    let StoredImage { upload: _lock, content_size, is_cleaned, details } = match checked.image {
        Some(image) => images::store(state, file, upload, image).await?,
        None => StoredImage { upload, content_size: file.size, is_cleaned: false, details: None },
    };
    let policy = &state.policy;
    let end = if policy.hold { FileState::Held } else { FileState::Ready };
    let completion = Completion {
        state: end,
        media_type: &checked.media_type,
        sniffed_type: checked.sniffed_type,
        content_size: i64::try_from(content_size).unwrap_or(i64::MAX),
        is_cleaned,
        // A cleaned image is an object of this service alone.
        content_etag: checked.etag.filter(|_| !is_cleaned),
        image: details.as_ref(),
        check_after_s: policy.check_after_s,
    };
    let completed = uploads::complete(&state.db, &file.id, &completion).await?;
    if completed.is_some() {
        state.metrics.completions.with_label_values(&[end.name()]).inc();
        return Ok(completed);
    }
    // Another request has ended the upload. If it completed the file, the stored objects are the same. If it removed
    // the file, nothing else removes the preview that this request has stored since.
    let now = files::get(&state.db, &file.id).await?.map(|file| file.state);
    if !matches!(now, Some(FileState::Ready | FileState::Held)) {
        state.storage.remove(&file.id).await.map_err(|error| state.storage_failed(&error))?;
    }
    Ok(None)
}

//! Where and how the content of an upload is sent: to this service by offset, or to a bucket in parts.

use serde::Serialize;
use tidings_persistence::http::problem::Problem;
use tidings_persistence::query::json::wire_time;
use tidings_shared::error::{ErrorCode, Refusal};
use tidings_shared::openapi::TimeForm;
use utoipa::ToSchema;

use super::parts::PART_URL_TTL;
use super::{ApiState, parts};
use crate::bucket::Bucket;
use crate::bucket::parts::{ReceivedPart, divide};
use crate::file::{FileState, StoredFile};
use crate::folder::blocking;
use crate::storage::Storage;
use crate::store::uploads;

/// Parts in one answer. A client asks again for the next ones.
const MAX_PART_URLS: usize = 16;

/// Where and how the content of an upload is sent.
#[derive(Debug, Serialize, ToSchema)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Upload {
    /// Send the bytes to `url` with `PATCH`. Each request names the offset of its body.
    Offset {
        url: String,
        /// The number of received bytes.
        offset: u64,
    },
    /// Send each part with `PUT` to its own URL, without a token. When `parts` is empty, complete the upload.
    Parts {
        /// The number of bytes of the received parts.
        received_bytes: u64,
        /// The next parts to send, at most 16, in any order. `GET` of the file gives those after them.
        parts: Vec<PartToSend>,
        /// When the URLs expire. `GET` of the file gives new ones.
        #[schema(value_type = TimeForm)]
        expires_at: String,
    },
}

/// A part that the bucket has not received.
#[derive(Debug, Serialize, ToSchema)]
pub struct PartToSend {
    /// From 1.
    pub number: u16,
    /// Where the part begins in the file.
    pub offset: u64,
    /// The number of bytes, which the body must have exactly.
    pub size: u64,
    pub url: String,
}

/// The upload of a file that has just been created. Does not read the folder, because it has no byte of the file yet.
pub async fn new_upload_of(state: &ApiState, file: &StoredFile) -> Result<Option<Upload>, Problem> {
    match &state.storage {
        Storage::Folder(_) => {
            let url = state.addresses.upload_url(&file.room, &file.id);
            Ok(Some(Upload::Offset { url, offset: 0 }))
        }
        Storage::Bucket(_) => upload_of(state, file).await,
    }
}

/// The upload of a file; None if it has ended.
pub async fn upload_of(state: &ApiState, file: &StoredFile) -> Result<Option<Upload>, Problem> {
    if file.state != FileState::Uploading {
        return Ok(None);
    }
    match &state.storage {
        Storage::Folder(folder) => {
            let (folder, id) = (folder.clone(), file.id.clone());
            let reading = blocking(move || folder.durable_bytes(&id));
            let offset = reading.await.map_err(|error| state.storage_failed(&error))?;
            Ok(Some(Upload::Offset { url: state.addresses.upload_url(&file.room, &file.id), offset }))
        }
        Storage::Bucket(bucket) => parts_of(state, bucket, file).await.map(Some),
    }
}

async fn parts_of(state: &ApiState, bucket: &Bucket, file: &StoredFile) -> Result<Upload, Problem> {
    let now = chrono::Utc::now();
    let expires_at = now + PART_URL_TTL;
    let live = live_upload(state, bucket, file).await?;
    let mut answer = (file.size, Vec::new());
    if let Some((upload, received)) = live {
        let (stored, missing) = divide(file.size, &received);
        answer.0 = stored.iter().map(|(part, _)| part.size).sum();
        for part in missing.into_iter().take(MAX_PART_URLS) {
            let url = parts::url(state, bucket, &file.id, &upload, part, now).await?;
            answer.1.push(PartToSend { number: part.number, offset: part.offset, size: part.size, url });
        }
    }
    Ok(Upload::Parts { received_bytes: answer.0, parts: answer.1, expires_at: wire_time(&expires_at) })
}

/// The multipart upload of a file and its received parts. Begins a new upload if there is none, or if the bucket has
/// aborted it, for example by a lifecycle rule. None if the object exists already and only its check is missing.
async fn live_upload(
    state: &ApiState,
    bucket: &Bucket,
    file: &StoredFile,
) -> Result<Option<(String, Vec<ReceivedPart>)>, Problem> {
    let failed = |error| state.storage_failed(&error);
    if let Some(upload) = &file.upload_id {
        if let Some(received) = parts::received(state, bucket, file, upload).await? {
            return Ok(Some((upload.clone(), received)));
        }
        if bucket.size(&file.id).await.map_err(failed)?.is_some() {
            return Ok(None);
        }
    }
    let begun = bucket.begin_upload(&file.id).await.map_err(failed)?;
    if uploads::replace_upload(&state.db, &file.id, file.upload_id.as_deref(), &begun).await? {
        return Ok(Some((begun, Vec::new())));
    }
    // The row names another upload, so no client can use this one.
    bucket.abort_upload(&file.id, &begun).await.map_err(failed)?;
    Err(Refusal::new(ErrorCode::Conflict, "another request has just begun this upload; retry").into())
}

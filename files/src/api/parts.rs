//! Parts of uploads to a bucket: their URLs, and those that were received.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use tidings_persistence::http::problem::Problem;
use tidings_shared::ids::FileId;

use super::ApiState;
use crate::bucket::Bucket;
use crate::bucket::parts::{Part, ReceivedPart, plan};
use crate::file::StoredFile;
use crate::store::parts;

/// How long the URL of a part is valid. It stops working when the file is completed or removed.
pub const PART_URL_TTL: Duration = Duration::from_secs(3600);

/// The parts of an upload that the bucket has. None if there is no such upload: it was completed or aborted. An upload
/// that passes through this service ends only with the state of its file.
pub async fn received(
    state: &ApiState,
    bucket: &Bucket,
    file: &StoredFile,
    upload: &str,
) -> Result<Option<Vec<ReceivedPart>>, Problem> {
    if let Some(presigner) = bucket.presigner() {
        let listing = bucket.listed_parts(presigner, &file.id, upload);
        return listing.await.map_err(|error| state.storage_failed(&error));
    }
    let mut recorded = parts::received(&state.db, &file.id).await?;
    // A part is recorded only if it has its planned size.
    let part =
        |Part { number, size, .. }| recorded.remove(&number).map(|etag| ReceivedPart { number, size, etag });
    Ok(Some(plan(file.size).filter_map(part).collect()))
}

/// The URL at which a client sends a part: a presigned one of the bucket, or a signed one of this service.
pub async fn url(
    state: &ApiState,
    bucket: &Bucket,
    file: &FileId,
    upload: &str,
    part: Part,
    now: DateTime<Utc>,
) -> Result<String, Problem> {
    if let Some(presigner) = bucket.presigner() {
        let presigning = bucket.part_url(presigner, file, upload, part, PART_URL_TTL);
        return presigning.await.map(String::from).map_err(|error| state.storage_failed(&error));
    }
    let expires_at = now + TimeDelta::from_std(PART_URL_TTL).unwrap_or_default();
    Ok(state.addresses.part_url(file, part.number, expires_at))
}

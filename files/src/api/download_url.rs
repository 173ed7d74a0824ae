//! The URL at which the content of a file, or its preview, is fetched.

use chrono::{DateTime, TimeDelta, Utc};
use tidings_persistence::http::problem::Problem;

use super::ApiState;
use super::disposition::content_disposition;
use super::serve::CACHE;
use crate::file::StoredFile;
use crate::media::delivery;
use crate::signing::{ADDRESS_TTL_S, UrlPurpose};
use crate::storage::{Derived, Storage};

/// The URL at which a file is fetched, and when it expires: a signed URL of this service, or a presigned one of the
/// bucket, which then serves the file with these headers. A bucket sets no `nosniff` and no policy, so the type is one
/// of the short list, or unknown bytes to be saved.
pub async fn download_url(
    state: &ApiState,
    file: &StoredFile,
    purpose: UrlPurpose,
    now: DateTime<Utc>,
) -> Result<(String, DateTime<Utc>), Problem> {
    let Storage::Bucket(bucket) = &state.storage else {
        return Ok(state.addresses.download_url(&file.id, purpose, now));
    };
    let (derived, shown) = match &file.image {
        Some(image) if purpose == UrlPurpose::Preview => (Some(Derived::Preview), Some(&image.preview_type)),
        _ => (file.is_cleaned.then_some(Derived::Clean), file.sniffed_type.as_ref()),
    };
    let delivery = delivery(shown.map(String::as_str));
    let disposition = content_disposition(&file.name, delivery.inline);
    let headers = [
        ("cache-control", CACHE),
        ("content-disposition", disposition.as_str()),
        ("content-type", delivery.content_type),
    ];
    let within = TimeDelta::seconds(ADDRESS_TTL_S);
    let presigning = bucket.content_url(&file.id, derived, &headers, within.to_std().unwrap_or_default());
    let url = presigning.await.map_err(|error| state.storage_failed(&error))?;
    Ok((url.into(), now + within))
}

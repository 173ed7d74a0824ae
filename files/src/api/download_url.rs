//! The URL at which the content of a file, or its preview, is fetched.

use chrono::{DateTime, TimeDelta, Utc};
use tidings_persistence::http::problem::Problem;

use super::ApiState;
use super::disposition::content_disposition;
use super::protect::CACHE;
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
    let own = || Ok(state.addresses.download_url(&file.id, purpose, now));
    let Storage::Bucket(bucket) = &state.storage else { return own() };
    let Some(presigner) = bucket.presigner() else { return own() };
    let (derived, shown) = object_of(file, purpose);
    let delivery = delivery(shown);
    let disposition = content_disposition(&file.name, delivery.inline);
    let headers = [
        ("cache-control", CACHE),
        ("content-disposition", disposition.as_str()),
        ("content-type", delivery.content_type),
    ];
    let within = TimeDelta::seconds(ADDRESS_TTL_S);
    let presigning =
        bucket.content_url(presigner, &file.id, derived, &headers, within.to_std().unwrap_or_default());
    let url = presigning.await.map_err(|error| state.storage_failed(&error))?;
    Ok((url.into(), now + within))
}

/// The object of a bucket that is served for this purpose, and its media type if it is known: the content, or what is
/// derived from it.
pub fn object_of(file: &StoredFile, purpose: UrlPurpose) -> (Option<Derived>, Option<&str>) {
    match &file.image {
        Some(image) if purpose == UrlPurpose::Preview => {
            (Some(Derived::Preview), Some(image.preview_type.as_str()))
        }
        _ => (file.is_cleaned.then_some(Derived::Clean), file.sniffed_type.as_deref()),
    }
}

//! Parts of uploads to a bucket: their URLs, those that were received, and the bytes of those that pass through this
//! service.

use std::time::Duration;

use actix_web::{HttpRequest, HttpResponse, web};
use chrono::{DateTime, TimeDelta, Utc};
use tidings_persistence::http::body::read_bytes;
use tidings_persistence::http::problem::Problem;
use tidings_shared::error::{ErrorCode, Refusal};
use tidings_shared::ids::FileId;

use super::registry::parse_id;
use super::serve::check_address;
use super::{ApiState, no_such_file};
use crate::bucket::Bucket;
use crate::bucket::parts::{Part, ReceivedPart, plan};
use crate::file::{FileState, StoredFile};
use crate::signing::UrlPurpose;
use crate::storage::Storage;
use crate::store::{files, parts};

/// How long the URL of a part is valid. It is of no use after the completion or removal of the file.
pub const PART_URL_TTL: Duration = Duration::from_secs(3600);
/// How long a request waits for a free slot.
const SLOT_TIMEOUT: Duration = Duration::from_secs(10);
/// How long the bytes of a part may take to arrive. The client sends an interrupted part again from its start.
const BODY_TIMEOUT: Duration = Duration::from_secs(300);

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
    let recorded = parts::received(&state.db, &file.id).await?;
    let part = |(number, etag)| {
        // A part is recorded only if it has its planned size.
        let planned = plan(file.size).find(|part| part.number == number)?;
        Some(ReceivedPart { number, size: planned.size, etag })
    };
    Ok(Some(recorded.into_iter().filter_map(part).collect()))
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

/// Takes a part of an upload and stores it in the bucket. Needs no token; the address is signed. With a bucket of S3
/// clients send parts to the bucket, and a folder takes no parts.
#[utoipa::path(
    put, path = "/v1/files/{file}/parts/{number}", operation_id = "putPart", tag = "files", security(()),
    params(
        ("file" = FileId, Path), ("number" = u16, Path), ("expires" = i64, Query), ("signature" = String, Query),
    ),
    request_body(content = Vec<u8>, content_type = "application/octet-stream"),
    responses(
        (status = 200, description = "The part is stored"),
        (status = 400, description = "The body does not have the size of the part, or ended early"),
        (status = 403, description = "The URL has expired (reason expired), or is invalid"),
        (status = 404, description = "There is no such upload"),
        (status = 409, description = "The upload has ended meanwhile: GET the file"),
        (status = 413, description = "The body is larger than the part"),
    )
)]
pub async fn put(
    state: web::Data<ApiState>,
    path: web::Path<(String, String)>,
    request: HttpRequest,
    payload: web::Payload,
) -> Result<HttpResponse, Problem> {
    let id = parse_id(&path.0)?;
    let number: u16 =
        path.1.parse().map_err(|_| Problem::bad_field("number", "must be the number of a part"))?;
    check_address(&state, &id, &request, Utc::now().timestamp(), |_| UrlPurpose::Part(number))
        .map_err(|(_, problem)| problem)?;
    let Storage::Bucket(bucket) = &state.storage else { return Err(no_such_file()) };
    let uploading = |file: &StoredFile| file.state == FileState::Uploading;
    let file = files::get(&state.db, &id).await?.filter(uploading).ok_or_else(no_such_file)?;
    let upload = file.upload_id.as_deref().ok_or_else(no_such_file)?;
    let part = plan(file.size).find(|part| part.number == number).ok_or_else(no_such_file)?;
    let slots = &state.parts;
    let _slot = slots.acquire_within(&file.uploader, "parts of files", SLOT_TIMEOUT).await?;
    let size = usize::try_from(part.size).unwrap_or(usize::MAX);
    let content = read_bytes(payload, size, BODY_TIMEOUT).await?;
    if content.len() != size {
        let detail = format!("the body of this part must have {size} bytes, not {}", content.len());
        return Err(Problem::new(ErrorCode::BadRequest, detail));
    }
    let storing = bucket.put_part(&id, upload, part, content);
    let ended = || Refusal::new(ErrorCode::Conflict, "the upload has ended; GET the file");
    let Some(etag) = storing.await.map_err(|error| state.storage_failed(&error))? else {
        parts::forget_upload(&state.db, &id, upload).await?;
        return Err(ended().into());
    };
    if parts::record(&state.db, &id, upload, number, &etag).await? {
        return Ok(HttpResponse::Ok().finish());
    }
    Err(ended().into())
}

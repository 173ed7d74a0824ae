//! Takes parts of uploads to a bucket that clients do not reach.

use std::time::Duration;

use actix_web::{HttpRequest, HttpResponse, web};
use chrono::Utc;
use tidings_persistence::http::body::read_bytes;
use tidings_persistence::http::problem::Problem;
use tidings_shared::error::{ErrorCode, Refusal};
use tidings_shared::ids::FileId;

use super::registry::parse_id;
use super::serve::check_address;
use super::{ApiState, no_such_file};
use crate::bucket::parts::plan;
use crate::file::{FileState, StoredFile};
use crate::signing::UrlPurpose;
use crate::storage::Storage;
use crate::store::{files, parts};

/// How long a request waits for a free slot.
const SLOT_TIMEOUT: Duration = Duration::from_secs(10);
/// How long the bytes of a part may take to arrive. The client sends an interrupted part again from its start.
const BODY_TIMEOUT: Duration = Duration::from_secs(300);

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

//! Receives the parts of uploads to Azure and Google Cloud.

use actix_web::{HttpRequest, HttpResponse, web};
use bytes::{Bytes, BytesMut};
use chrono::Utc;
use futures_util::StreamExt;
use tidings_persistence::http::problem::Problem;
use tidings_shared::error::{ErrorCode, Refusal};
use tidings_shared::ids::FileId;

use super::body_rate::{PART_GRACE_PERIOD, SLOT_TIMEOUT, limit_of};
use super::registry::parse_id;
use super::serve::check_address;
use super::{ApiState, no_such_file};
use crate::bucket::parts::{MIN_PART_BYTES, Part, plan};
use crate::file::{FileState, StoredFile};
use crate::signing::UrlPurpose;
use crate::storage::Storage;
use crate::store::{files, parts};

/// Takes a part of an upload and stores it in the bucket. Needs no token; the address is signed. With a bucket of S3
/// clients send parts to the bucket, and a folder takes no parts.
#[utoipa::path(
    put, path = "/v1/files/{file}/parts/{number}", operation_id = "putPart", tag = "files", security(()),
    params(
        ("file" = FileId, Path), ("number" = u16, Path, minimum = 1, maximum = 1000),
        ("expires" = i64, Query), ("signature" = String, Query),
    ),
    request_body(content = Vec<u8>, content_type = "application/octet-stream"),
    responses(
        (status = 200, description = "The part is stored"),
        (status = 400, description = "The body does not have the size of the part, or ended early"),
        (status = 403, description = "The URL has expired (reason expired), or is invalid"),
        (status = 404, description = "There is no such upload"),
        (status = 409, description = "The upload has ended meanwhile: GET the file"),
        (status = 413, description = "The body is larger than the part, or the file is too large for this storage"),
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
    let Storage::Bucket(_) = &state.storage else { return Err(no_such_file()) };
    let uploading = |file: &StoredFile| file.state == FileState::Uploading;
    let file = files::get(&state.db, &id).await?.filter(uploading).ok_or_else(no_such_file)?;
    let upload = file.upload_id.as_deref().ok_or_else(no_such_file)?;
    let part = plan(file.size).find(|part| part.number == number).ok_or_else(no_such_file)?;
    if part.size > MIN_PART_BYTES {
        // The upload began in a storage that takes larger files. A whole part is in memory here.
        let detail = "the files are in another storage now, which takes no file of this size";
        return Err(Problem::new(ErrorCode::TooLarge, detail));
    }
    let slots = &state.parts;
    let slot = slots.acquire_within(&file.uploader, "parts of files", SLOT_TIMEOUT).await?;
    let content = receive(payload, part.size).await?;
    let (upload, state) = (upload.to_owned(), state.clone());
    // A client that disconnects must not end this between bucket and database: Azure keeps each block that it gets, and
    // only a recorded part is not stored again.
    let storing = tokio::spawn(async move {
        let _slot = slot;
        store(&state, &file, &upload, part, content).await
    });
    storing.await.map_err(|_| Problem::new(ErrorCode::Internal, "the part was not stored"))??;
    Ok(HttpResponse::Ok().finish())
}

/// Reads the body of a part, which must have `size` bytes. A body that falls behind its lowest rate ends early, and the
/// client sends the part again from its start.
async fn receive(mut payload: web::Payload, size: u64) -> Result<Bytes, Problem> {
    let mut limit = limit_of(size, PART_GRACE_PERIOD);
    let size = usize::try_from(size).unwrap_or(usize::MAX);
    let mut content = BytesMut::with_capacity(size);
    loop {
        match limit.wait(payload.next()).await {
            Some(None) => break,
            Some(Some(Ok(bytes))) if content.len() + bytes.len() > size => {
                let detail = format!("the body of this part must have {size} bytes");
                return Err(Problem::new(ErrorCode::TooLarge, detail));
            }
            Some(Some(Ok(bytes))) => {
                limit.count(bytes.len());
                content.extend_from_slice(&bytes);
            }
            Some(Some(Err(_))) | None => {
                return Err(Problem::new(ErrorCode::BadRequest, "the body ended early; send the part again"));
            }
        }
    }
    if content.len() != size {
        let detail = format!("the body of this part must have {size} bytes, not {}", content.len());
        return Err(Problem::new(ErrorCode::BadRequest, detail));
    }
    Ok(content.freeze())
}

/// Stores a part in the bucket, and records it. Does nothing if the part is recorded already: other bytes of an upload
/// have no use, because its checksum covers all of them.
async fn store(
    state: &ApiState,
    file: &StoredFile,
    upload: &str,
    part: Part,
    content: Bytes,
) -> Result<(), Problem> {
    let failed = |error| state.storage_failed(&error);
    let ended = || Refusal::new(ErrorCode::Conflict, "the upload has ended; GET the file");
    let Storage::Bucket(bucket) = &state.storage else { return Err(no_such_file()) };
    if parts::is_recorded(&state.db, &file.id, part.number).await? {
        return Ok(());
    }
    let storing = bucket.put_part(&file.id, upload, part, content);
    let Some(etag) = storing.await.map_err(failed)? else {
        // The bucket has ended the upload. If it was completed, only its check is missing.
        if bucket.size(&file.id).await.map_err(failed)?.is_none() {
            parts::forget_upload(&state.db, &file.id, upload).await?;
        }
        return Err(ended().into());
    };
    let is_recorded = parts::record(&state.db, &file.id, upload, part.number, &etag).await?;
    if is_recorded { Ok(()) } else { Err(ended().into()) }
}

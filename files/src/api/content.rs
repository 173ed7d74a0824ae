//! Receives the content of uploads in chunks, as in the draft of resumable uploads
//! (draft-ietf-httpbis-resumable-upload). Received bytes of an interrupted chunk are kept. The server reports an offset
//! only after fsync.

use std::io;
use std::time::Duration;

use actix_web::http::header::{CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE, HeaderMap, HeaderValue};
use actix_web::{HttpRequest, HttpResponse, ResponseError, web};
use futures_util::StreamExt;
use tidings_persistence::http::problem::Problem;
use tidings_shared::error::{ErrorCode, Refusal};
use tidings_shared::ids::{FileId, RoomId};
use tidings_shared::min_data_rate::MinDataRate;
use tokio::time::{Instant, sleep, timeout_at};
use tokio_util::sync::CancellationToken;

use super::body_rate::{APPEND_GRACE_PERIOD, SLOT_TIMEOUT, limit_of};
use super::caller::Caller;
use super::registry::find_own;
use super::{ApiState, UPLOAD_COMPLETE, UPLOAD_LENGTH, UPLOAD_OFFSET, no_such_file};
use crate::file::{FileState, StoredFile};
use crate::folder::{Folder, blocking};
use crate::storage::Storage;
use crate::store::files;
use crate::upload_file::UploadFile;

/// Media type of a chunk.
const PARTIAL_UPLOAD: &str = "application/partial-upload";
/// Bytes that are collected before they are written.
const WRITE_BYTES: usize = 256 * 1024;
/// Longest time of one request, also of one that is fast enough. A longer upload needs several requests.
pub const APPEND_TIMEOUT: Duration = Duration::from_secs(3600);
/// How long a request for the offset waits until the cancelled request has written its received bytes.
const TAKEOVER_TIMEOUT: Duration = Duration::from_secs(5);
const LOCK_PAUSE: Duration = Duration::from_millis(20);

/// The number of received bytes of an upload. Cancels a request that still receives the content, so that the client can
/// resume at this offset.
#[utoipa::path(
    head, path = "/v1/rooms/{room}/files/{file}/content", operation_id = "getUploadOffset", tag = "files",
    params(("room" = RoomId, Path), ("file" = FileId, Path)),
    responses(
        (status = 204, description = "The headers Upload-Offset, Upload-Length and Upload-Complete tell the state"),
        (status = 404, description = "There is no such file, or the caller may not see it"),
    )
)]
pub async fn offset(
    state: web::Data<ApiState>,
    caller: Caller,
    path: web::Path<(String, String)>,
) -> Result<HttpResponse, Problem> {
    let file = find_own(&state, &caller, &path.0, &path.1).await?;
    if file.state != FileState::Uploading {
        return Ok(offset_answer(HttpResponse::NoContent().finish(), &file, file.size));
    }
    if state.active.cancel(&file.id) {
        // Releases the lock at once: it only shows that the other request has ended.
        lock(&state, &file.id, TAKEOVER_TIMEOUT).await?;
    }
    let offset = durable_bytes(&state, &file).await?;
    Ok(offset_answer(HttpResponse::NoContent().finish(), &file, offset))
}

/// Appends a chunk at the offset in the header `Upload-Offset`. The answer has the new offset in the same header, also
/// a refusal with 409.
#[utoipa::path(
    patch, path = "/v1/rooms/{room}/files/{file}/content", operation_id = "appendContent", tag = "files",
    params(("room" = RoomId, Path), ("file" = FileId, Path), ("Upload-Offset" = u64, Header)),
    request_body(content = Vec<u8>, content_type = "application/partial-upload"),
    responses(
        (status = 204, description = "The chunk is stored"),
        (status = 404, description = "There is no such file, or the caller may not see it"),
        (status = 409, description = "The offset does not match, another request is appending, or the upload is complete"),
        (status = 413, description = "The chunk exceeds the declared size; received bytes below that size are stored"),
    )
)]
pub async fn append(
    state: web::Data<ApiState>,
    caller: Caller,
    path: web::Path<(String, String)>,
    request: HttpRequest,
    payload: web::Payload,
) -> Result<HttpResponse, Problem> {
    let file = find_own(&state, &caller, &path.0, &path.1).await?;
    let given = check_headers(request.headers())?;
    if file.state != FileState::Uploading {
        let problem = Problem::new(ErrorCode::Conflict, "the upload is complete");
        return Ok(offset_answer(problem.error_response(), &file, file.size));
    }
    let _slot = state.appends.acquire_within(&caller.user, "uploads", SLOT_TIMEOUT).await?;
    let Some(content) = lock(&state, &file.id, Duration::ZERO).await? else {
        let problem =
            Problem::new(ErrorCode::Conflict, "another request is sending this file; ask for the offset");
        let offset = durable_bytes(&state, &file).await?;
        return Ok(offset_answer(problem.error_response(), &file, offset));
    };
    // Rechecks under the lock: another request may have completed or removed the upload before.
    let file = recheck(&state, &file.id).await?;
    let (content, offset) = sync_and_size(&state, content).await?;
    if given != offset {
        let problem =
            Problem::new(ErrorCode::Conflict, format!("the offset is {offset}; send the bytes from there"));
        return Ok(offset_answer(problem.error_response(), &file, offset));
    }
    let remaining_bytes = file.size.saturating_sub(offset);
    let declared = request.headers().get(CONTENT_LENGTH).and_then(|value| value.to_str().ok());
    let length = declared.and_then(|text| text.parse().ok()).unwrap_or(remaining_bytes);
    if length > remaining_bytes {
        return Ok(offset_answer(beyond_size(&file).error_response(), &file, offset));
    }
    let active = state.active.register(&file.id);
    let appended = Append { content, buffer: Vec::new(), remaining_bytes };
    let (appended, end) = appended
        .receive(payload, limit_of(length, APPEND_GRACE_PERIOD), &active.cancelled)
        .await
        .map_err(|error| state.storage_failed(&error))?;
    let (content, reached) = sync_and_size(&state, appended.content).await?;
    drop(content);
    drop(active);
    state.metrics.received_bytes.inc_by(reached.saturating_sub(offset));
    let answer = match end {
        End::Whole => HttpResponse::NoContent().finish(),
        End::BeyondSize => beyond_size(&file).error_response(),
        End::Broken => Problem::new(
            ErrorCode::BadRequest,
            "the body ended early; received bytes are stored; resume at Upload-Offset",
        )
        .error_response(),
        End::TakenOver => {
            Problem::new(ErrorCode::Conflict, "a newer request took over this upload").error_response()
        }
    };
    Ok(offset_answer(answer, &file, reached))
}

/// Checks the headers of a chunk. Returns the offset.
fn check_headers(headers: &HeaderMap) -> Result<u64, Problem> {
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default().trim();
    if text(CONTENT_TYPE) != PARTIAL_UPLOAD {
        return Err(Problem::bad_field("content-type", format!("the content type must be {PARTIAL_UPLOAD}")));
    }
    let digits = text(UPLOAD_OFFSET);
    let offset = digits.bytes().all(|b| b.is_ascii_digit()).then(|| digits.parse().ok()).flatten();
    offset.ok_or_else(|| {
        Problem::bad_field("upload-offset", "the header Upload-Offset must be a number of bytes")
    })
}

fn beyond_size(file: &StoredFile) -> Problem {
    Problem::new(ErrorCode::TooLarge, format!("the body exceeds the declared size of {} bytes", file.size))
}

/// Adds the headers of resumable uploads to an answer.
pub fn offset_answer(mut answer: HttpResponse, file: &StoredFile, offset: u64) -> HttpResponse {
    let headers = answer.headers_mut();
    headers.insert(UPLOAD_OFFSET, HeaderValue::from(offset));
    headers.insert(UPLOAD_LENGTH, HeaderValue::from(file.size));
    let is_complete = if file.state == FileState::Uploading { "?0" } else { "?1" };
    headers.insert(UPLOAD_COMPLETE, HeaderValue::from_static(is_complete));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    answer
}

/// The folder. Refuses the request if contents are in a bucket, because clients send their bytes to the bucket.
fn folder_of(state: &ApiState) -> Result<Folder, Problem> {
    match &state.storage {
        Storage::Folder(folder) => Ok(folder.clone()),
        Storage::Bucket(_) => {
            let detail = "this file is uploaded in parts; GET the file to learn their URLs";
            Err(Refusal::new(ErrorCode::Conflict, detail).with_reason("parts").into())
        }
    }
}

/// The number of bytes of an upload that would survive a loss of power.
async fn durable_bytes(state: &ApiState, file: &StoredFile) -> Result<u64, Problem> {
    let (folder, id) = (folder_of(state)?, file.id.clone());
    blocking(move || folder.durable_bytes(&id)).await.map_err(|error| state.storage_failed(&error))
}

/// Opens and locks the content of an upload. None if another request still holds the lock after the time `within`.
pub async fn lock(state: &ApiState, file: &FileId, within: Duration) -> Result<Option<UploadFile>, Problem> {
    let deadline = Instant::now() + within;
    loop {
        let (folder, id) = (folder_of(state)?, file.clone());
        let opening = blocking(move || {
            let content = folder.open_upload(&id)?;
            Ok(content.try_lock()?.then_some(content))
        });
        let locked = opening.await.map_err(|error| state.storage_failed(&error))?;
        if locked.is_some() || Instant::now() >= deadline {
            return Ok(locked);
        }
        sleep(LOCK_PAUSE).await;
    }
}

/// Reads the row of an upload whose content the caller has locked. Refuses if the upload has ended.
pub async fn recheck(state: &ApiState, id: &FileId) -> Result<StoredFile, Problem> {
    let Some(file) = files::get(&state.db, id).await? else {
        // Opening the content may have created it again after it was removed.
        state.storage.remove(id).await.map_err(|error| state.storage_failed(&error))?;
        return Err(no_such_file());
    };
    if file.state == FileState::Uploading {
        return Ok(file);
    }
    Err(Refusal::new(ErrorCode::Conflict, "the upload is complete").into())
}

/// Syncs the content file to the disk. Returns its size in bytes.
pub async fn sync_and_size(state: &ApiState, content: UploadFile) -> Result<(UploadFile, u64), Problem> {
    let syncing = blocking(move || content.durable_bytes().map(|bytes| (content, bytes)));
    syncing.await.map_err(|error| state.storage_failed(&error))
}

/// How a body ended.
enum End {
    Whole,
    BeyondSize,
    Broken,
    TakenOver,
}

/// A request that appends to a content file.
struct Append {
    content: UploadFile,
    buffer: Vec<u8>,
    /// How many bytes the upload still lacks.
    remaining_bytes: u64,
}

impl Append {
    /// Writes the body until it ends. Writes all received bytes below the declared size, also if the body ends early or
    /// falls behind its lowest rate.
    async fn receive(
        mut self,
        mut payload: web::Payload,
        mut limit: MinDataRate,
        cancelled: &CancellationToken,
    ) -> io::Result<(Self, End)> {
        let deadline = Instant::now() + APPEND_TIMEOUT;
        let end = loop {
            let next = timeout_at(deadline, limit.wait(payload.next()));
            match cancelled.run_until_cancelled(next).await {
                None => break End::TakenOver,
                Some(Ok(Some(None))) => break End::Whole,
                Some(Ok(Some(Some(Err(_))) | None) | Err(_)) => break End::Broken,
                Some(Ok(Some(Some(Ok(bytes))))) => {
                    limit.count(bytes.len());
                    let fitting =
                        usize::try_from(self.remaining_bytes).unwrap_or(usize::MAX).min(bytes.len());
                    self.buffer.extend_from_slice(&bytes[..fitting]);
                    self.remaining_bytes -= fitting as u64;
                    if fitting < bytes.len() {
                        break End::BeyondSize;
                    }
                }
            }
            if self.buffer.len() >= WRITE_BYTES {
                self = self.write().await?;
            }
        };
        Ok((self.write().await?, end))
    }

    async fn write(mut self) -> io::Result<Self> {
        blocking(move || {
            self.content.append(&self.buffer)?;
            self.buffer.clear();
            Ok(self)
        })
        .await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunk_needs_its_media_type_and_an_offset_of_digits() {
        let check = |content_type: &'static str, offset: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
            headers.insert(UPLOAD_OFFSET, HeaderValue::from_static(offset));
            check_headers(&headers)
        };
        assert_eq!(check(PARTIAL_UPLOAD, "17").unwrap(), 17);
        for (content_type, offset) in [
            ("application/octet-stream", "17"),
            (PARTIAL_UPLOAD, ""),
            (PARTIAL_UPLOAD, "-1"),
            (PARTIAL_UPLOAD, "+1"),
            (PARTIAL_UPLOAD, "1.5"),
            (PARTIAL_UPLOAD, "18446744073709551616"),
        ] {
            assert!(check(content_type, offset).is_err(), "{content_type} {offset}");
        }
        assert!(check_headers(&HeaderMap::new()).is_err());
    }
}

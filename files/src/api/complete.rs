//! Completes uploads: checks the size and the checksum of the content, finds its type, and prepares images.

use std::time::Duration;

use actix_web::{HttpResponse, ResponseError, web};
use tidings_persistence::http::problem::Problem;
use tidings_shared::error::{ErrorCode, Refusal};
use tidings_shared::ids::{FileId, RoomId};

use super::caller::Caller;
use super::content::{lock, offset_answer, recheck, sync_and_size};
use super::forms::FileAnswer;
use super::images::{self, StoredImage};
use super::registry::find_own;
use super::{ApiState, no_such_file};
use crate::file::{FileState, StoredFile};
use crate::folder::blocking;
use crate::media::stated_type;
use crate::metadata::format_of;
use crate::store::uploads::{self, Completion};
use crate::upload_file::UploadFile;

/// How long a completion waits for a request that still writes the last bytes.
const LOCK_TIMEOUT: Duration = Duration::from_secs(2);
/// How long a completion waits for a free slot of the checks.
const CHECK_SLOT_TIMEOUT: Duration = Duration::from_secs(20);

/// Completes an upload. Repeating it has no further effect.
#[utoipa::path(
    post, path = "/v1/rooms/{room}/files/{file}/complete", operation_id = "completeFile", tag = "files",
    params(("room" = RoomId, Path), ("file" = FileId, Path)),
    responses(
        (status = 200, description = "The file, with the attachment for a message", body = FileAnswer),
        (status = 400, description = "The checksum of the content does not match, its type is not allowed, or the image is too large. The upload is reset to 0"),
        (status = 404, description = "There is no such file, or the caller may not see it"),
        (status = 409, description = "Bytes are missing, another request is sending, or an admin rejected the file"),
    )
)]
pub async fn complete(
    state: web::Data<ApiState>,
    caller: Caller,
    path: web::Path<(String, String)>,
) -> Result<HttpResponse, Problem> {
    let file = find_own(&state, &caller, &path.0, &path.1).await?;
    if let Some(answer) = answer_if_complete(&state, &file) {
        return answer;
    }
    let Some(content) = lock(&state, &file.id, LOCK_TIMEOUT).await? else {
        return Err(Problem::new(ErrorCode::Conflict, "another request is sending this file; retry"));
    };
    let file = match recheck(&state, &file.id).await {
        Ok(file) => file,
        // Another request has just completed the upload.
        Err(problem) => {
            let file = find_own(&state, &caller, &path.0, &path.1).await?;
            return answer_if_complete(&state, &file).unwrap_or(Err(problem));
        }
    };
    let (content, offset) = sync_and_size(&state, content).await?;
    if offset != file.size {
        let detail = format!("{offset} of {} bytes received; send the rest", file.size);
        let problem = Problem::from(Refusal::new(ErrorCode::Conflict, detail).with_reason("incomplete"));
        return Ok(offset_answer(problem.error_response(), &file, offset));
    }
    let _slot = state.checks.acquire_within(&caller.user, "checks of files", CHECK_SLOT_TIMEOUT).await?;
    check(&state, &caller, file, content).await
}

/// The answer about a file whose upload has ended.
fn answer_if_complete(state: &ApiState, file: &StoredFile) -> Option<Result<HttpResponse, Problem>> {
    match file.state {
        FileState::Uploading => None,
        FileState::Ready | FileState::Held => {
            Some(Ok(HttpResponse::Ok().json(FileAnswer::of(state, file, file.size))))
        }
        FileState::Rejected => {
            let refusal = Refusal::new(ErrorCode::Conflict, "an admin rejected this file");
            Some(Err(refusal.with_reason("rejected").into()))
        }
        FileState::Removed => Some(Err(no_such_file())),
    }
}

/// Checks the whole content, and makes the file available or resets the upload to 0. Holds the lock of the content file
/// until the row is written, so that no other request changes the checked bytes.
async fn check(
    state: &ApiState,
    caller: &Caller,
    file: StoredFile,
    mut content: UploadFile,
) -> Result<HttpResponse, Problem> {
    let inspecting = blocking(move || content.inspect().map(|found| (content, found)));
    let (content, found) = inspecting.await.map_err(|error| state.storage_failed(&error))?;
    if found.sha256 != file.sha256 {
        let detail = "SHA-256 does not match; upload again from offset 0";
        let refusal = Refusal::bad_field("sha256", detail).with_reason("checksum");
        return refuse(state, &file, content, "wrong_checksum", refusal).await;
    }
    let policy = &state.policy;
    if found.sniffed_type.is_some_and(|sniffed| policy.refuses_image(sniffed, file.size)) {
        return refuse(state, &file, content, "too_large", policy.image_refusal()).await;
    }
    let (image, sniffed) = match found.sniffed_type.and_then(format_of) {
        Some(format) if file.size <= policy.max_image_bytes => {
            let image = images::prepare(state, &caller.user, &file, format).await?;
            // Content that only begins like an image is served as unknown bytes, because its metadata stays.
            let sniffed = found.sniffed_type.filter(|_| image.is_some());
            (image, sniffed)
        }
        _ => (None, found.sniffed_type),
    };
    let media_type = stated_type(&file.media_type, sniffed);
    if !policy.media_types.allows_content(&media_type, found.sniffed_type) {
        let detail = "the content has a type that is not allowed here";
        let refusal = Refusal::bad_field("media_type", detail).with_reason("media_type");
        return refuse(state, &file, content, "wrong_type", refusal).await;
    }
    let stored = match image {
        Some(image) => images::store(state, &file, content, image).await?,
        None => StoredImage { upload: content, content_size: file.size, details: None },
    };
    let end = if policy.hold { FileState::Held } else { FileState::Ready };
    let completion = Completion {
        state: end,
        media_type: &media_type,
        sniffed_type: sniffed,
        content_size: i64::try_from(stored.content_size).unwrap_or(i64::MAX),
        image: stored.details.as_ref(),
        check_after_s: policy.check_after_s,
    };
    let Some(completed) = uploads::complete(&state.db, &file.id, &completion).await? else {
        // The file was removed meanwhile, perhaps before its preview was stored.
        state.storage.remove(&file.id).await.map_err(|error| state.storage_failed(&error))?;
        return Err(no_such_file());
    };
    drop(stored.upload);
    state.metrics.completions.with_label_values(&[end.name()]).inc();
    Ok(HttpResponse::Ok().json(FileAnswer::of(state, &completed, completed.size)))
}

/// Refuses the content, and resets the upload to 0. `result` is the label of the metric.
async fn refuse(
    state: &ApiState,
    file: &StoredFile,
    content: UploadFile,
    result: &str,
    refusal: Refusal,
) -> Result<HttpResponse, Problem> {
    state.metrics.completions.with_label_values(&[result]).inc();
    blocking(move || content.clear()).await.map_err(|error| state.storage_failed(&error))?;
    Ok(offset_answer(Problem::from(refusal).error_response(), file, 0))
}

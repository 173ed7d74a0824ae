//! Completes uploads: checks the size and the checksum of the content, finds its type, and prepares images.

mod bucket;
mod check;
mod folder;

use std::time::Duration;

use actix_web::{HttpResponse, web};
use tidings_persistence::http::problem::Problem;
use tidings_shared::error::{ErrorCode, Refusal};
use tidings_shared::ids::{FileId, RoomId};

use super::caller::Caller;
use super::forms::FileAnswer;
use super::registry::find_own;
use super::{ApiState, no_such_file};
use crate::file::{FileState, StoredFile};
use crate::storage::Storage;
use crate::store::files;

/// How long a completion waits for a free slot of the checks.
const CHECK_SLOT_TIMEOUT: Duration = Duration::from_secs(20);

/// Completes an upload. Repeating it has no further effect.
#[utoipa::path(
    post, path = "/v1/rooms/{room}/files/{file}/complete", operation_id = "completeFile", tag = "files",
    params(("room" = RoomId, Path), ("file" = FileId, Path)),
    responses(
        (status = 200, description = "The file, with the attachment for a message", body = FileAnswer),
        (status = 400, description = "The checksum of the content does not match, its type is not allowed, or the image is too large. An upload by offset is reset to 0, one in parts is removed"),
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
    if let Some(answer) = answer_if_complete(&file) {
        return answer;
    }
    match &state.storage {
        Storage::Folder(_) => folder::complete(&state, &caller, file).await,
        Storage::Bucket(bucket) => bucket::complete(&state, &caller, bucket, file).await,
    }
}

fn incomplete(received_bytes: u64, size: u64) -> Problem {
    let detail = format!("{received_bytes} of {size} bytes received; send the rest");
    Refusal::new(ErrorCode::Conflict, detail).with_reason("incomplete").into()
}

/// The answer when another request may just have ended the upload; `problem` if it has not.
async fn answer_again(
    state: &ApiState,
    file: &StoredFile,
    problem: Problem,
) -> Result<HttpResponse, Problem> {
    let file = files::get(&state.db, &file.id).await?.ok_or_else(no_such_file)?;
    answer_if_complete(&file).unwrap_or(Err(problem))
}

/// The answer about a file whose upload has ended.
fn answer_if_complete(file: &StoredFile) -> Option<Result<HttpResponse, Problem>> {
    match file.state {
        FileState::Uploading => None,
        FileState::Ready | FileState::Held => Some(Ok(HttpResponse::Ok().json(FileAnswer::of(file, None)))),
        FileState::Rejected => {
            let refusal = Refusal::new(ErrorCode::Conflict, "an admin rejected this file");
            Some(Err(refusal.with_reason("rejected").into()))
        }
        FileState::Removed => Some(Err(no_such_file())),
    }
}

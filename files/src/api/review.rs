//! Files that wait for an admin, such as a scanner: listed, released and rejected.

use actix_web::web;
use sea_orm::TransactionTrait;
use tidings_persistence::http::problem::Problem;
use tidings_persistence::writer::audit::{self, NewAuditEntry};
use tidings_shared::error::{ErrorCode, Refusal};
use tidings_shared::ids::FileId;

use super::caller::Caller;
use super::download_url::download_url;
use super::forms::{FileAnswer, HeldFile, HeldFiles};
use super::registry::parse_id;
use super::{ApiState, no_such_file};
use crate::file::FileState;
use crate::signing::UrlPurpose;
use crate::store::files;

/// Files in one answer.
const MAX_HELD: i64 = 100;

/// The files that wait for an admin, at most 100, each with a download URL. Needs the scope `tidings.admin`.
#[utoipa::path(
    get, path = "/v1/files/held", operation_id = "listHeldFiles", tag = "review",
    responses((status = 200, body = HeldFiles))
)]
pub async fn list(state: web::Data<ApiState>, caller: Caller) -> Result<web::Json<HeldFiles>, Problem> {
    caller.require_admin()?;
    let now = chrono::Utc::now();
    let mut held = Vec::new();
    for file in files::list_held(&state.db, MAX_HELD).await? {
        held.push(HeldFile {
            url: download_url(&state, &file, UrlPurpose::Review, now).await?.0,
            uploader: file.uploader.to_string(),
            file: FileAnswer::of(&file, None),
        });
    }
    Ok(web::Json(HeldFiles { files: held }))
}

/// Lets a file be downloaded. Needs the scope `tidings.admin`.
#[utoipa::path(
    post, path = "/v1/files/{file}/release", operation_id = "releaseFile", tag = "review",
    params(("file" = FileId, Path)),
    responses(
        (status = 200, body = FileAnswer),
        (status = 404, description = "There is no such file"),
        (status = 409, description = "The file is not complete, or was rejected"),
    )
)]
pub async fn release(
    state: web::Data<ApiState>,
    caller: Caller,
    path: web::Path<String>,
) -> Result<web::Json<FileAnswer>, Problem> {
    decide(&state, &caller, &path, &[FileState::Held], FileState::Ready).await
}

/// Removes the content of a file for good, also of one that was released. Needs the scope `tidings.admin`.
#[utoipa::path(
    post, path = "/v1/files/{file}/reject", operation_id = "rejectFile", tag = "review",
    params(("file" = FileId, Path)),
    responses(
        (status = 200, body = FileAnswer),
        (status = 404, description = "There is no such file"),
        (status = 409, description = "The file is not complete"),
    )
)]
pub async fn reject(
    state: web::Data<ApiState>,
    caller: Caller,
    path: web::Path<String>,
) -> Result<web::Json<FileAnswer>, Problem> {
    let from = [FileState::Held, FileState::Ready];
    let answer = decide(&state, &caller, &path, &from, FileState::Rejected).await?;
    state.storage.remove(&parse_id(&path)?).await.map_err(|error| state.storage_failed(&error))?;
    Ok(answer)
}

async fn decide(
    state: &ApiState,
    caller: &Caller,
    id: &str,
    from: &[FileState],
    to: FileState,
) -> Result<web::Json<FileAnswer>, Problem> {
    caller.require_admin()?;
    let id = parse_id(id)?;
    let transaction = state.db.begin().await?;
    let file = files::change_state(&transaction, &id, from, to).await?.ok_or_else(no_such_file)?;
    if file.state != to {
        let detail = format!("the file is {}", file.state.name());
        return Err(Refusal::new(ErrorCode::Conflict, detail).with_reason(file.state.name()).into());
    }
    let entry = NewAuditEntry {
        actor: Some(&caller.user),
        action: if to == FileState::Ready { audit::FILE_RELEASE } else { audit::FILE_REJECT },
        target: Some(&file.uploader),
        room: Some(&file.room),
        detail: Some(id.as_str()),
    };
    audit::record(&transaction, &entry).await?;
    transaction.commit().await?;
    Ok(web::Json(FileAnswer::of(&file, None)))
}

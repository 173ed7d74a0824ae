//! Creates files, shows them to their uploaders, and deletes them.

use std::time::Duration;

use actix_web::{HttpResponse, web};
use tidings_persistence::http::{parameters, problem::Problem};
use tidings_persistence::query;
use tidings_shared::error::{ErrorCode, Refusal};
use tidings_shared::ids::{FileId, RoomId};
use tidings_shared::role::{self, Permission};

use super::caller::Caller;
use super::forms::{FileAnswer, NewFileForm};
use super::upload::{new_upload_of, upload_of};
use super::{ApiState, no_such_file};
use crate::file::StoredFile;
use crate::store::files::{self, GivenUp};
use crate::store::uploads::{self, ExceededLimit, NewFile};

/// How long a request waits for a slot of the changes.
const CHANGE_SLOT_TIMEOUT: Duration = Duration::from_secs(10);

/// Begins an upload. The caller must be allowed to send messages to the room.
#[utoipa::path(
    post, path = "/v1/rooms/{room}/files", operation_id = "createFile", tag = "files",
    params(("room" = RoomId, Path)), request_body = NewFileForm,
    responses(
        (status = 201, description = "The upload may begin", body = FileAnswer),
        (status = 404, description = "There is no such room, or the caller may not see it"),
        (status = 409, description = "The room is archived"),
        (status = 413, description = "The file, the files of the user or those of the room would be too large or too many"),
    )
)]
pub async fn create(
    state: web::Data<ApiState>,
    caller: Caller,
    path: web::Path<String>,
    payload: web::Payload,
) -> Result<HttpResponse, Problem> {
    let room = parameters::room(&path)?;
    let form = NewFileForm::read(payload).await?;
    let access = query::access(&state.db, caller.viewer(), &room).await?.ok_or_else(Problem::no_such_room)?;
    let role = access.role.as_deref().unwrap_or_default();
    if !caller.admin && !role::allows(role, Permission::Send) {
        return Err(Problem::new(ErrorCode::Forbidden, "your role may not upload files to this room"));
    }
    if uploads::is_archived(&state.db, &room).await? {
        return Err(Problem::new(ErrorCode::Conflict, "the room is archived"));
    }
    let policy = &state.policy;
    let refuse = |limit: &str, refusal: Refusal| {
        state.metrics.refused.with_label_values(&[limit]).inc();
        Err(Problem::from(refusal))
    };
    if form.size > policy.max_file_bytes {
        let rule = format!("a file must not be over {} bytes", policy.max_file_bytes);
        return refuse("file_bytes", Refusal::too_large("size", rule));
    }
    if policy.refuses_image(&form.media_type, form.size.unsigned_abs()) {
        return refuse("image_bytes", policy.image_refusal());
    }
    if !policy.media_types.allows(&form.media_type) {
        let refusal = Refusal::bad_field("media_type", "files of this type are not allowed here");
        return refuse("media_type", refusal.with_reason("media_type"));
    }
    let new = NewFile {
        id: &FileId::generate(),
        room: &room,
        uploader: &caller.user,
        name: &form.name,
        media_type: &form.media_type,
        size: form.size,
        sha256: &form.sha256,
        timeout_s: policy.upload_timeout_s,
    };
    let _slot = state.changes.acquire_within(&caller.user, "changes of files", CHANGE_SLOT_TIMEOUT).await?;
    match uploads::begin(&state.db, &new, policy.storage).await? {
        Ok(file) => {
            state.metrics.uploads.inc();
            match new_upload_of(&state, &file).await {
                Ok(upload) => Ok(HttpResponse::Created().json(FileAnswer::of(&file, upload))),
                Err(problem) => {
                    // The client does not know the id. The sweep removes what the storage has.
                    files::give_up(&state.db, &file.id).await?;
                    Err(problem)
                }
            }
        }
        Err(limit) => refuse(limit.name(), limit.refusal()),
    }
}

/// A file, for its uploader and for admins.
#[utoipa::path(
    get, path = "/v1/rooms/{room}/files/{file}", operation_id = "getFile", tag = "files",
    params(("room" = RoomId, Path), ("file" = FileId, Path)),
    responses(
        (status = 200, body = FileAnswer),
        (status = 404, description = "There is no such file, or the caller may not see it"),
    )
)]
pub async fn get(
    state: web::Data<ApiState>,
    caller: Caller,
    path: web::Path<(String, String)>,
) -> Result<web::Json<FileAnswer>, Problem> {
    let file = find_own(&state, &caller, &path.0, &path.1).await?;
    let upload = upload_of(&state, &file).await?;
    Ok(web::Json(FileAnswer::of(&file, upload)))
}

/// Deletes an upload, or a complete file that no stored message references.
#[utoipa::path(
    delete, path = "/v1/rooms/{room}/files/{file}", operation_id = "deleteFile", tag = "files",
    params(("room" = RoomId, Path), ("file" = FileId, Path)),
    responses(
        (status = 204, description = "The file is removed"),
        (status = 404, description = "There is no such file, or the caller may not see it"),
        (status = 409, description = "A message names the file: delete the message"),
    )
)]
pub async fn give_up(
    state: web::Data<ApiState>,
    caller: Caller,
    path: web::Path<(String, String)>,
) -> Result<HttpResponse, Problem> {
    let file = find_own(&state, &caller, &path.0, &path.1).await?;
    let _slot = state.changes.acquire_within(&caller.user, "changes of files", CHANGE_SLOT_TIMEOUT).await?;
    match files::give_up(&state.db, &file.id).await? {
        GivenUp::Unknown => Err(no_such_file()),
        GivenUp::Named => {
            let refusal = Refusal::new(ErrorCode::Conflict, "a message names this file; delete the message");
            Err(refusal.with_reason("named").into())
        }
        GivenUp::Removed => {
            state.active.cancel(&file.id);
            // The sweep removes the content if this fails.
            if let Err(error) = state.storage.remove_with_upload(&file.id, file.upload_id.as_deref()).await {
                state.storage_failed(&error);
            }
            Ok(HttpResponse::NoContent().finish())
        }
    }
}

/// The file in the path, if the caller uploaded it. Admins may read every file.
pub async fn find_own(
    state: &ApiState,
    caller: &Caller,
    room: &str,
    file: &str,
) -> Result<StoredFile, Problem> {
    let (room, id) = (parameters::room(room)?, parse_id(file)?);
    let file = files::get(&state.db, &id).await?.ok_or_else(no_such_file)?;
    let is_own = file.room == room && (caller.admin || file.uploader == caller.user);
    if is_own { Ok(file) } else { Err(no_such_file()) }
}

/// Parses the id of a file from a path.
pub fn parse_id(text: &str) -> Result<FileId, Problem> {
    FileId::parse(text).map_err(|error| Problem::bad_field("file", error.to_string()))
}

impl ExceededLimit {
    /// The label of the metric, and the reason of the refusal.
    fn name(self) -> &'static str {
        match self {
            Self::UserBytes => "user_bytes",
            Self::UserFiles => "user_files",
            Self::UserUploads => "user_uploads",
            Self::RoomBytes => "room_bytes",
        }
    }

    fn refusal(self) -> Refusal {
        let message = match self {
            Self::UserBytes => "your storage quota is full; delete messages with files",
            Self::UserFiles => "you have too many files; delete messages with files",
            Self::UserUploads => "you have too many uploads that are not complete; complete or delete one",
            Self::RoomBytes => "the storage quota of this room is full",
        };
        Refusal::new(ErrorCode::TooLarge, message).with_reason(self.name())
    }
}

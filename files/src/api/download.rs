//! Leads readers of a message to the content of its files. Each request checks again whether the caller may see the
//! message. The answer is an address that is valid for a short time and needs no token, so that pages can show it.

use std::time::Duration;

use actix_web::http::header::{ACCEPT, CACHE_CONTROL, LOCATION};
use actix_web::{HttpRequest, HttpResponse, web};
use tidings_persistence::http::parameters::{self, Parameters};
use tidings_persistence::http::problem::Problem;
use tidings_persistence::query::json::wire_time;
use tidings_persistence::query::messages::{Message, message};
use tidings_persistence::query::{access, wait_until_stored};
use tidings_shared::error::{ErrorCode, Refusal};
use tidings_shared::ids::{FileId, RoomId, Seq};
use tidings_shared::message::{Attachment, AttachmentSource};
use tidings_shared::openapi::MessageSeqForm;
use tokio::time::Instant;

use super::caller::Caller;
use super::download_url::download_url;
use super::forms::Address;
use super::registry::parse_id;
use super::{ApiState, no_such_file};
use crate::file::FileState;
use crate::signing::UrlPurpose;
use crate::store::files;

/// How long a request waits for a message that was delivered but is not stored yet.
const STORED_WAIT: Duration = Duration::from_secs(5);
/// A delivered but unstored message is at most this far above the stored head.
const MAX_UNSTORED: i64 = 100_000;

/// The address of a file that a message shows, or of its preview: a redirect, or an object if the client accepts JSON.
#[utoipa::path(
    get, path = "/v1/rooms/{room}/messages/{seq}/files/{file}", operation_id = "downloadFile", tag = "files",
    params(
        ("room" = RoomId, Path), ("seq" = MessageSeqForm, Path), ("file" = FileId, Path),
        ("preview" = Option<String>, Query, description = "The preview of an image. Without one: the file"),
    ),
    responses(
        (status = 200, description = "For clients that accept JSON", body = Address),
        (status = 302, description = "Leads to the content"),
        (status = 404, description = "There is no such message or file, or the caller may not see it"),
        (status = 409, description = "The file waits for an admin (reason held)"),
    )
)]
pub async fn download(
    state: web::Data<ApiState>,
    caller: Caller,
    path: web::Path<(String, String, String)>,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    let room = parameters::room(&path.0)?;
    let (seq, id) = (parameters::seq("seq", &path.1)?, parse_id(&path.2)?);
    let wants_preview = Parameters::from_request(&request)?.text("preview").is_some();
    let message = visible_message(&state, &caller, &room, seq).await?;
    if !names(&message, &id) {
        return Err(no_such_file());
    }
    let file = files::get(&state.db, &id).await?.ok_or_else(no_such_file)?;
    // A message could reference the file of another user. Its readers must not get that file.
    if file.room != room || file.uploader.as_str() != message.sender.id {
        return Err(no_such_file());
    }
    match file.state {
        FileState::Ready => {}
        FileState::Held => {
            let refusal = Refusal::new(ErrorCode::Conflict, "the file is not released yet; retry later");
            return Err(refusal.with_reason("held").into());
        }
        FileState::Rejected => {
            let refusal = Refusal::new(ErrorCode::NotFound, "an admin rejected this file");
            return Err(refusal.with_reason("rejected").into());
        }
        FileState::Uploading | FileState::Removed => return Err(no_such_file()),
    }
    if file.is_unreferenced {
        files::remember_message(&state.db, &id, seq).await?;
    }
    state.metrics.addresses.inc();
    let has_preview = file.image.is_some();
    let purpose = if wants_preview && has_preview { UrlPurpose::Preview } else { UrlPurpose::Download };
    let (url, expires_at) = download_url(&state, &file, purpose, chrono::Utc::now()).await?;
    let accepts_json = request.headers().get(ACCEPT).and_then(|value| value.to_str().ok());
    if accepts_json.is_some_and(|accept| accept.contains("application/json")) {
        let address = Address { url, expires_at: wire_time(&expires_at) };
        return Ok(HttpResponse::Ok().insert_header((CACHE_CONTROL, "no-store")).json(address));
    }
    Ok(HttpResponse::Found()
        .insert_header((CACHE_CONTROL, "no-store"))
        .insert_header((LOCATION, url))
        .finish())
}

/// The message at `seq` as the caller sees it. Waits for a message that may have been delivered and is not stored yet.
async fn visible_message(
    state: &ApiState,
    caller: &Caller,
    room: &RoomId,
    seq: i64,
) -> Result<Message, Problem> {
    let (db, viewer) = (&state.db, caller.viewer());
    if let Some(found) = message(db, viewer, room, seq).await? {
        return Ok(found);
    }
    // A caller who may not see the room must not learn whether the message exists.
    let access = access(db, viewer, room).await?.ok_or_else(Problem::no_such_room)?;
    if seq > access.head_seq.saturating_add(MAX_UNSTORED) {
        return Err(Problem::no_such_message());
    }
    if seq > access.head_seq {
        let _slot = state.waits.acquire(&caller.user, "waits for messages to be stored")?;
        wait_until_stored(db, room, Seq(seq.unsigned_abs()), Instant::now() + STORED_WAIT).await?;
    }
    // Also if the head was not below `seq`: the message may have been stored between the two reads above.
    message(db, viewer, room, seq).await?.ok_or_else(Problem::no_such_message)
}

/// Whether a message shows a file. A deleted message shows none.
fn names(message: &Message, id: &FileId) -> bool {
    let Some(json) = &message.attachments else { return false };
    let attachments: Vec<Attachment> = serde_json::from_str(json.get()).unwrap_or_default();
    attachments
        .iter()
        .any(|attachment| matches!(&attachment.source, AttachmentSource::File(file) if file == id))
}

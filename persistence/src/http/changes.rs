//! Changes of a message over HTTP, with the same result as over WebSocket: `PATCH` and `DELETE` of the message, and the
//! caller's reactions to it.

use actix_web::web;
use tidings_shared::command_fields::object;
use tidings_shared::ids::{RoomId, Seq};
use tidings_shared::message::change::{Actor, Change, ChangeForm, ChangeKind, EditForm};
use tidings_shared::openapi::{EmojiForm, MessageSeqForm};
use tidings_shared::protocol::server::Ack;
use tidings_shared::telemetry::{self, SpanKind};

use super::body::{Body, MAX_COMMAND_BODY_BYTES};
use super::caller::Caller;
use super::parameters;
use super::problem::Problem;
use super::state::State;

/// Edits my message. Admins may edit any message.
#[utoipa::path(
    patch, path = "/v1/rooms/{room}/messages/{seq}", operation_id = "editMessage", tag = "messages",
    params(("room" = RoomId, Path), ("seq" = MessageSeqForm, Path)), request_body = EditForm,
    responses(
        (status = 200, description = "Edited; `seq` is that of the event", body = Ack),
        (status = 409, description = "Deleted, another message, or an archived room"),
        (status = 413, description = "Too much text"),
        (status = 429, description = "Too many commands"),
    )
)]
pub async fn edit(
    state: web::Data<State>,
    caller: Caller,
    path: web::Path<(String, String)>,
    payload: web::Payload,
) -> Result<web::Json<Ack>, Problem> {
    change_message(&state, &caller, ChangeKind::Edit, &path.0, &path.1, None, payload).await
}

/// Deletes my message. Admins may delete any message.
#[utoipa::path(
    delete, path = "/v1/rooms/{room}/messages/{seq}", operation_id = "deleteMessage", tag = "messages",
    params(("room" = RoomId, Path), ("seq" = MessageSeqForm, Path)), request_body = Option<ChangeForm>,
    responses(
        (status = 200, description = "Deleted; `seq` is that of the event", body = Ack),
        (status = 409, description = "Another message, or an archived room"),
        (status = 429, description = "Too many commands"),
    )
)]
pub async fn delete(
    state: web::Data<State>,
    caller: Caller,
    path: web::Path<(String, String)>,
    payload: web::Payload,
) -> Result<web::Json<Ack>, Problem> {
    change_message(&state, &caller, ChangeKind::Delete, &path.0, &path.1, None, payload).await
}

/// Adds my reaction to a message. Adding it again changes nothing.
#[utoipa::path(
    put, path = "/v1/rooms/{room}/messages/{seq}/reactions/{emoji}", operation_id = "addReaction",
    tag = "messages",
    params(
        ("room" = RoomId, Path), ("seq" = MessageSeqForm, Path),
        ("emoji" = EmojiForm, Path, description = "Percent-encoded"),
    ),
    request_body = Option<ChangeForm>,
    responses(
        (status = 200, description = "Added; `seq` is that of the event", body = Ack),
        (status = 409, description = "Deleted, another message, or an archived room"),
        (status = 429, description = "Too many commands"),
    )
)]
pub async fn add_reaction(
    state: web::Data<State>,
    caller: Caller,
    path: web::Path<(String, String, String)>,
    payload: web::Payload,
) -> Result<web::Json<Ack>, Problem> {
    change_message(&state, &caller, ChangeKind::AddReaction, &path.0, &path.1, Some(&path.2), payload).await
}

/// Removes my reaction from a message. Changes nothing if I have no such reaction.
#[utoipa::path(
    delete, path = "/v1/rooms/{room}/messages/{seq}/reactions/{emoji}", operation_id = "removeReaction",
    tag = "messages",
    params(
        ("room" = RoomId, Path), ("seq" = MessageSeqForm, Path),
        ("emoji" = EmojiForm, Path, description = "Percent-encoded"),
    ),
    request_body = Option<ChangeForm>,
    responses(
        (status = 200, description = "Removed; `seq` is that of the event", body = Ack),
        (status = 409, description = "Deleted, another message, or an archived room"),
        (status = 429, description = "Too many commands"),
    )
)]
pub async fn remove_reaction(
    state: web::Data<State>,
    caller: Caller,
    path: web::Path<(String, String, String)>,
    payload: web::Payload,
) -> Result<web::Json<Ack>, Problem> {
    change_message(&state, &caller, ChangeKind::RemoveReaction, &path.0, &path.1, Some(&path.2), payload)
        .await
}

/// Changes the message at `seq`. Fields that the path and the body both contain are taken from the path.
async fn change_message(
    state: &State,
    caller: &Caller,
    kind: ChangeKind,
    room: &str,
    seq: &str,
    emoji: Option<&str>,
    payload: web::Payload,
) -> Result<web::Json<Ack>, Problem> {
    let (room, seq) = (parameters::room(room)?, Seq(parameters::seq("seq", seq)?.unsigned_abs()));
    let body = Body::read(state, caller, payload, MAX_COMMAND_BODY_BYTES).await?;
    let text = if body.text().is_empty() { "{}" } else { body.text() };
    let change = match (kind, emoji) {
        (ChangeKind::Edit, _) => Change::edit(seq, object(text)?, state.limits.max_message_chars),
        (_, Some(emoji)) => Change::reaction(kind, seq, emoji.to_owned(), object(text)?),
        (_, None) => Change::delete(seq, object(text)?),
    }?;
    state.allowance.take_command_tokens(caller.viewer(), change.bytes())?;
    let access = state.access(caller.viewer(), &room).await?;
    let role = access.role.as_deref().unwrap_or_default();
    let actor = Actor { user: &caller.user, role, admin: caller.admin };
    change.permit(&actor)?;
    state.allowance.take_room_content_tokens(&room, caller.viewer(), change.bytes())?;
    let accepted = state.log.change(&room, &actor, &change).await?;
    let wait_span = telemetry::child("stored answer", SpanKind::Internal);
    let (accepted, stage) = state.log.wait_for_stage(&room, change.ack, accepted).await?;
    drop(wait_span);
    Ok(web::Json(accepted.ack(&room, &change.client_id, false, stage)))
}

//! `/rooms/{room}/messages/{seq}/reactions/{emoji}`: my reactions to a message.

use crate::schemas::ChangeForm;
use actix_web::web;
use tidings_shared::ids::RoomId;
use tidings_shared::message::change::ChangeKind;
use tidings_shared::openapi::{EmojiForm, MessageSeqForm};
use tidings_shared::protocol::server::Ack;

use super::caller::Caller;
use super::changes;
use super::problem::Problem;
use super::state::State;

/// Adds my reaction; an existing one stays.
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
pub async fn add(
    state: web::Data<State>,
    caller: Caller,
    path: web::Path<(String, String, String)>,
    payload: web::Payload,
) -> Result<web::Json<Ack>, Problem> {
    let (room, seq, emoji) = path.into_inner();
    changes::change(&state, &caller, ChangeKind::AddReaction, &room, &seq, Some(&emoji), payload).await
}

/// Removes my reaction; without one nothing changes.
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
pub async fn remove(
    state: web::Data<State>,
    caller: Caller,
    path: web::Path<(String, String, String)>,
    payload: web::Payload,
) -> Result<web::Json<Ack>, Problem> {
    let (room, seq, emoji) = path.into_inner();
    changes::change(&state, &caller, ChangeKind::RemoveReaction, &room, &seq, Some(&emoji), payload).await
}

//! `POST /rooms/{room}/messages`: sends a message over HTTP, with the same result as over WebSocket.

use actix_web::{HttpResponse, web};
use tidings_shared::command_fields::object;
use tidings_shared::ids::RoomId;
use tidings_shared::message::{AckStage, Draft, SendForm, change::Actor};
use tidings_shared::protocol::server::Ack;
use tidings_shared::telemetry::{self, SpanKind};

use super::body::{Body, MAX_COMMAND_BODY_BYTES};
use super::caller::Caller;
use super::parameters;
use super::problem::Problem;
use super::state::State;

/// Sends a message to a room.
#[utoipa::path(
    post, path = "/v1/rooms/{room}/messages", operation_id = "sendMessage", tag = "messages",
    params(("room" = RoomId, Path)), request_body = SendForm,
    responses(
        (status = 201, description = "Stored", body = Ack),
        (status = 202, description = "Accepted", body = Ack),
        (status = 200, description = "Sent before", body = Ack),
        (status = 409, description = "The room is archived"),
        (status = 413, description = "Too much text"),
        (status = 429, description = "Too many commands, or slow mode"),
    )
)]
pub async fn send(
    state: web::Data<State>,
    caller: Caller,
    path: web::Path<String>,
    payload: web::Payload,
) -> Result<HttpResponse, Problem> {
    let room = parameters::room(&path)?;
    let body = Body::read(&state, &caller, payload, MAX_COMMAND_BODY_BYTES).await?;
    let draft = Draft::from_form(object::<SendForm>(body.text())?, state.limits.max_message_chars)?;
    state.allowance.take_command_tokens(caller.viewer(), draft.bytes())?;
    let access = state.access(caller.viewer(), &room).await?;
    let role = access.role.as_deref().unwrap_or_default();
    let actor = Actor { user: &caller.user, role, admin: caller.admin };
    let mut entry = draft.sent_by(&room, &actor, caller.name.as_deref(), caller.picture.as_deref())?;
    state.log.check_mentions(&mut entry, &draft.mentions).await?;
    state.allowance.take_room_content_tokens(&room, caller.viewer(), draft.bytes())?;
    let accepted = state.log.append(&entry).await?;
    let wait_span = telemetry::child("stored answer", SpanKind::Internal);
    let (accepted, stage) = state.log.wait_for_stage(&room, draft.ack, accepted).await?;
    drop(wait_span);
    let ack = accepted.ack(&room, &draft.client_id, true, stage);
    let mut response = match (ack.duplicate, ack.stage) {
        (true, _) => HttpResponse::Ok(),
        (false, AckStage::Stored) => HttpResponse::Created(),
        (false, AckStage::Accepted) => HttpResponse::Accepted(),
    };
    Ok(response.json(ack))
}

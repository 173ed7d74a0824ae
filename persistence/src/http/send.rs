//! `POST /rooms/{room}/messages`: sends a message over HTTP, with the same result as over WebSocket.

use actix_web::{HttpResponse, web};
use serde::{Deserialize, Serialize};
use tidings_shared::error::ErrorCode;
use tidings_shared::message::{AckStage, Draft};
use tidings_shared::protocol::Fields;
use tidings_shared::role::{self, MinRole, Permission};
use tidings_shared::telemetry::{self, SpanKind};
use utoipa::ToSchema;

use super::allowance::CommandKind;
use super::body::{Body, COMMAND_BYTES};
use super::caller::Caller;
use super::parameters;
use super::problem::{Problem, ProblemDocument};
use super::state::State;
use crate::forms::{
    AttachmentForm, ClientIdForm, LabelForm, MessageIdForm, MessageSeqForm, MessageTextForm, MetadataForm,
    RoomIdForm, StageForm, TimeForm, UserIdForm,
};
use crate::query::access;

/// The body of a send, as for `message:send`.
#[derive(Deserialize, ToSchema)]
#[schema(as = Send, example = json!({"client_id": "0198f2c4-8e7a-7c31-9d42-6b1f0e5a7c90", "content": "Tea is ready"}))]
#[allow(dead_code, reason = "the form of the body for the OpenAPI document; the shared Draft reads it")]
pub struct SendForm {
    #[schema(value_type = ClientIdForm)]
    client_id: String,
    /// Empty or omitted only with attachments.
    #[schema(value_type = Option<MessageTextForm>)]
    content: Option<String>,
    /// `text` if omitted.
    #[schema(value_type = Option<LabelForm>)]
    kind: Option<String>,
    #[schema(value_type = Option<MessageSeqForm>)]
    reply_to: Option<u64>,
    visible_to: Option<VisibleToForm>,
    #[schema(max_items = 10)]
    attachments: Option<Vec<AttachmentForm>>,
    #[schema(value_type = Option<MetadataForm>)]
    metadata: Option<serde_json::Value>,
    /// 1 promises that this client id was never sent before.
    #[schema(value_type = Option<i64>, minimum = 0, maximum = 4_294_967_295_i64)]
    attempt: Option<u32>,
    /// `stored` if omitted.
    #[schema(value_type = Option<StageForm>)]
    ack: Option<String>,
}

/// The audience of a private message. Names at least one user or role.
#[derive(Deserialize, ToSchema)]
#[schema(as = SendVisibleTo)]
#[allow(dead_code, reason = "the form of the body for the OpenAPI document; the shared Draft reads it")]
pub struct VisibleToForm {
    #[schema(value_type = Option<Vec<UserIdForm>>, max_items = 100)]
    users: Option<Vec<String>>,
    #[schema(value_type = Option<Vec<LabelForm>>, max_items = 100)]
    roles: Option<Vec<String>>,
}

/// The ack object.
#[derive(Serialize, ToSchema)]
#[schema(as = Ack)]
#[allow(dead_code, reason = "the form of the shared Ack for the OpenAPI document")]
pub struct AckForm {
    room: String,
    #[schema(value_type = MessageSeqForm)]
    seq: u64,
    epoch: String,
    #[schema(value_type = TimeForm)]
    at: String,
    #[schema(value_type = StageForm)]
    stage: String,
    /// The client id was used before: all other fields are those of the first message.
    duplicate: bool,
    #[schema(nullable = false, value_type = Option<MessageIdForm>)]
    id: Option<String>,
    #[schema(nullable = false, value_type = Option<ClientIdForm>)]
    client_id: Option<String>,
}

/// Sends a message.
#[utoipa::path(
    post, path = "/v1/rooms/{room}/messages", operation_id = "sendMessage", tag = "messages",
    params(("room" = RoomIdForm, Path)), request_body = SendForm,
    responses(
        (status = 201, description = "Stored", body = AckForm),
        (status = 202, description = "Accepted", body = AckForm),
        (status = 200, description = "Sent before", body = AckForm),
        (status = 409, description = "The room is archived", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 413, description = "Too much text", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 429, description = "Too many commands", body = ProblemDocument, content_type = "application/problem+json"),
    )
)]
pub async fn send(
    state: web::Data<State>,
    caller: Caller,
    path: web::Path<String>,
    payload: web::Payload,
) -> Result<HttpResponse, Problem> {
    let room = parameters::room(&path)?;
    let body = Body::read(&state, &caller, payload, COMMAND_BYTES).await?;
    let draft = Draft::from_fields(&Fields::parse(body.text())?, state.limits.max_message_chars)?;
    state.allowance.take(CommandKind::Commands, &caller)?;
    let access = access(&state.db, caller.viewer(), &room).await?.ok_or_else(Problem::no_such_room)?;
    let role = access.role.as_deref().unwrap_or_default();
    if !caller.admin && !role::allows(role, Permission::Send) {
        return Err(Problem::new(ErrorCode::Forbidden, "guests of this room may read but not send"));
    }
    let mut entry = draft.entry(&room, &caller.user, caller.name.as_deref(), caller.picture.as_deref());
    if caller.admin {
        entry.min_role = MinRole::Anyone;
    }
    let accepted = state.log.append(&entry).await?;
    let waits = telemetry::part("stored answer", SpanKind::Internal);
    let (accepted, stage) = state.log.wait_for_stage(&room, draft.ack, accepted).await?;
    drop(waits);
    let ack = draft.ack(&room, &accepted, stage);
    let mut response = match (ack.duplicate, ack.stage) {
        (true, _) => HttpResponse::Ok(),
        (false, AckStage::Stored) => HttpResponse::Created(),
        (false, AckStage::Accepted) => HttpResponse::Accepted(),
    };
    Ok(response.json(ack))
}

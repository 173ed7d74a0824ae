//! Changes of a message over HTTP, with the same result as over WebSocket: `PATCH` and `DELETE` of the message.

use actix_web::web;
use serde::Deserialize;
use serde_json::value::RawValue;
use tidings_shared::message::change::{Actor, Change, ChangeKind};
use tidings_shared::protocol::Fields;
use tidings_shared::protocol::server::Ack;
use tidings_shared::telemetry::{self, SpanKind};
use utoipa::ToSchema;

use super::allowance::CommandKind;
use super::body::{Body, COMMAND_BYTES};
use super::caller::Caller;
use super::parameters;
use super::problem::{Problem, ProblemDocument};
use super::send::AckForm;
use super::state::State;
use crate::forms::{
    ClientIdForm, MessageIdForm, MessageSeqForm, MessageTextForm, MetadataForm, RoomIdForm, StageForm,
};
use crate::query::access;

/// The body of an edit, as for `message:edit`.
#[derive(Deserialize, ToSchema)]
#[schema(as = Edit, example = json!({"content": "Tea was ready"}))]
#[allow(dead_code, reason = "the form of the body for the OpenAPI document; the shared Change reads it")]
pub struct EditForm {
    /// Empty only if the message has attachments.
    #[schema(value_type = MessageTextForm)]
    content: String,
    /// If omitted, the metadata of the message stays.
    #[schema(value_type = Option<MetadataForm>)]
    metadata: Option<serde_json::Value>,
    /// The message must have this id, else `conflict`.
    #[schema(value_type = Option<MessageIdForm>)]
    id: Option<String>,
    /// If omitted, the server chooses one.
    #[schema(value_type = Option<ClientIdForm>)]
    client_id: Option<String>,
    /// `stored` if omitted.
    #[schema(value_type = Option<StageForm>)]
    ack: Option<String>,
}

/// The body of every other change. May be omitted.
#[derive(Deserialize, ToSchema)]
#[schema(as = Change)]
#[allow(dead_code, reason = "the form of the body for the OpenAPI document; the shared Change reads it")]
pub struct ChangeForm {
    /// The message must have this id, else `conflict`.
    #[schema(value_type = Option<MessageIdForm>)]
    id: Option<String>,
    /// If omitted, the server chooses one.
    #[schema(value_type = Option<ClientIdForm>)]
    client_id: Option<String>,
    /// `stored` if omitted.
    #[schema(value_type = Option<StageForm>)]
    ack: Option<String>,
}

/// Edits a message: one's own; admins may edit any.
#[utoipa::path(
    patch, path = "/v1/rooms/{room}/messages/{seq}", operation_id = "editMessage", tag = "messages",
    params(("room" = RoomIdForm, Path), ("seq" = MessageSeqForm, Path)), request_body = EditForm,
    responses(
        (status = 200, description = "Edited; `seq` is that of the event", body = AckForm),
        (status = 409, description = "Deleted, another message, or an archived room", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 413, description = "Too much text", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 429, description = "Too many commands", body = ProblemDocument, content_type = "application/problem+json"),
    )
)]
pub async fn edit(
    state: web::Data<State>,
    caller: Caller,
    path: web::Path<(String, String)>,
    payload: web::Payload,
) -> Result<web::Json<Ack>, Problem> {
    let (room, seq) = path.into_inner();
    change(&state, &caller, ChangeKind::Edit, &room, &seq, None, payload).await
}

/// Deletes a message: one's own; admins may delete any.
#[utoipa::path(
    delete, path = "/v1/rooms/{room}/messages/{seq}", operation_id = "deleteMessage", tag = "messages",
    params(("room" = RoomIdForm, Path), ("seq" = MessageSeqForm, Path)), request_body = Option<ChangeForm>,
    responses(
        (status = 200, description = "Deleted; `seq` is that of the event", body = AckForm),
        (status = 409, description = "Another message, or an archived room", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 429, description = "Too many commands", body = ProblemDocument, content_type = "application/problem+json"),
    )
)]
pub async fn delete(
    state: web::Data<State>,
    caller: Caller,
    path: web::Path<(String, String)>,
    payload: web::Payload,
) -> Result<web::Json<Ack>, Problem> {
    let (room, seq) = path.into_inner();
    change(&state, &caller, ChangeKind::Delete, &room, &seq, None, payload).await
}

/// Changes the message at `seq`. The path takes precedence over the body.
pub(super) async fn change(
    state: &State,
    caller: &Caller,
    kind: ChangeKind,
    room: &str,
    seq: &str,
    emoji: Option<&str>,
    payload: web::Payload,
) -> Result<web::Json<Ack>, Problem> {
    let (room, seq) = (parameters::room(room)?, parameters::seq("seq", seq)?);
    let body = Body::read(state, caller, payload, COMMAND_BYTES).await?;
    let (seq, emoji) = (json(&seq)?, emoji.map(|emoji| json(&emoji)).transpose()?);
    let mut fields = if body.text().is_empty() { Fields::default() } else { Fields::parse(body.text())? };
    fields.seq = Some(&seq);
    fields.emoji = emoji.as_deref();
    let change = Change::from_fields(kind, &fields, state.limits.max_message_chars)?;
    state.allowance.take(CommandKind::Commands, caller)?;
    let access = access(&state.db, caller.viewer(), &room).await?.ok_or_else(Problem::no_such_room)?;
    let role = access.role.as_deref().unwrap_or_default();
    let actor = Actor { user: &caller.user, role, admin: caller.admin };
    let accepted = state.log.change(&room, &actor, &change).await?;
    let waits = telemetry::part("stored answer", SpanKind::Internal);
    let (accepted, stage) = state.log.wait_for_stage(&room, change.ack, accepted).await?;
    drop(waits);
    Ok(web::Json(change.ack(&room, &accepted, stage)))
}

fn json(value: &impl serde::Serialize) -> Result<Box<RawValue>, Problem> {
    serde_json::value::to_raw_value(value).map_err(|_| Problem::bad_field("path", "the path cannot be read"))
}

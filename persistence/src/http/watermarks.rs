//! `/rooms/{room}/receipts`, `/rooms/{room}/read` and `/rooms/{room}/delivered`: how far members have read and
//! received.
//! Marks are handled as in the gateway: gathered, appended, published.

use actix_web::web;
use serde::{Deserialize, Serialize};
use tidings_shared::error::ErrorCode;
use tidings_shared::fields::Fields;
use tidings_shared::ids::{RoomId, Seq};
use tidings_shared::limits::MAX_SEQ;
use utoipa::ToSchema;

use super::allowance::CommandKind;
use super::body::{Body, COMMAND_BYTES};
use super::caller::Caller;
use super::parameters;
use super::problem::Problem;
use super::state::State;
use crate::query::members::{self, Receipt};

/// The watermarks of a room's members.
#[derive(Serialize, ToSchema)]
#[schema(as = Receipts)]
pub struct ReceiptList {
    receipts: Vec<Receipt>,
}

/// How far each member has read and received messages.
#[utoipa::path(
    get, path = "/v1/rooms/{room}/receipts", operation_id = "listReceipts", tag = "rooms",
    params(("room" = RoomId, Path)),
    responses((status = 200, description = "The members, at most the 1,000 who read last", body = ReceiptList))
)]
pub async fn receipts(
    state: web::Data<State>,
    caller: Caller,
    path: web::Path<String>,
) -> Result<web::Json<ReceiptList>, Problem> {
    let room = parameters::room(&path)?;
    state.access(caller.viewer(), &room).await?;
    Ok(web::Json(ReceiptList { receipts: members::receipts(&state.db, &room).await? }))
}

/// A watermark.
#[derive(Serialize, Deserialize, ToSchema)]
pub struct Mark {
    /// Everything up to this seq.
    #[schema(value_type = Seq)]
    seq: i64,
}

/// Marks everything up to `seq` as read. A seq above the head counts as the head, and the mark never moves back.
/// Answered when the mark is stored, with its position.
#[utoipa::path(
    post, path = "/v1/rooms/{room}/read", operation_id = "markRead", tag = "rooms",
    params(("room" = RoomId, Path)), request_body = Mark,
    responses(
        (status = 200, description = "Marked", body = Mark),
        (status = 429, description = "Too many marks"),
    )
)]
pub async fn read(
    state: web::Data<State>,
    caller: Caller,
    path: web::Path<String>,
    payload: web::Payload,
) -> Result<web::Json<Mark>, Problem> {
    mark(&state, &caller, &path, payload, false).await
}

/// Marks everything up to `seq` as delivered, in the same way as `read`.
#[utoipa::path(
    post, path = "/v1/rooms/{room}/delivered", operation_id = "markDelivered", tag = "rooms",
    params(("room" = RoomId, Path)), request_body = Mark,
    responses(
        (status = 200, description = "Marked", body = Mark),
        (status = 429, description = "Too many marks"),
    )
)]
pub async fn delivered(
    state: web::Data<State>,
    caller: Caller,
    path: web::Path<String>,
    payload: web::Payload,
) -> Result<web::Json<Mark>, Problem> {
    mark(&state, &caller, &path, payload, true).await
}

async fn mark(
    state: &State,
    caller: &Caller,
    room: &str,
    payload: web::Payload,
    delivered: bool,
) -> Result<web::Json<Mark>, Problem> {
    let room = parameters::room(room)?;
    let body = Body::read(state, caller, payload, COMMAND_BYTES).await?;
    let requested = Fields::parse(body.text())?.seq()?;
    state.allowance.take(CommandKind::Marks, caller.viewer())?;
    let access = state.access(caller.viewer(), &room).await?;
    if access.role.is_none() {
        // An admin who is not a member has no watermark.
        return Err(Problem::new(ErrorCode::Forbidden, "only members of the room have marks in it"));
    }
    let mark_seq = state.receipts.mark(&room, &caller.user, requested, delivered).await?;
    Ok(web::Json(Mark { seq: i64::try_from(mark_seq.0).unwrap_or(MAX_SEQ) }))
}

//! `/rooms/{room}/receipts`, `/rooms/{room}/read` and `/rooms/{room}/delivered`: read and set how far members have read
//! and received messages. As in the gateway, marks of a short time are gathered and appended together.

use actix_web::web;
use serde::{Deserialize, Serialize};
use tidings_shared::command_fields::object;
use tidings_shared::error::ErrorCode;
use tidings_shared::ids::{RoomId, Seq};
use tidings_shared::limits::MAX_SEQ;
use tidings_shared::protocol::SeqForm;
use utoipa::ToSchema;

use super::allowance::RateLimitKind;
use super::body::{Body, MAX_COMMAND_BODY_BYTES};
use super::caller::Caller;
use super::parameters;
use super::problem::Problem;
use super::state::State;
use crate::query::members::{self, Receipt};

/// The read and delivered marks of a room's members.
#[derive(Serialize, ToSchema)]
#[schema(as = Receipts)]
pub struct ReceiptList {
    receipts: Vec<Receipt>,
}

/// How far each member has read and received messages.
#[utoipa::path(
    get, path = "/v1/rooms/{room}/receipts", operation_id = "listReceipts", tag = "rooms",
    params(("room" = RoomId, Path)),
    responses(
        (status = 200, description = "The members, at most the 1,000 who read last", body = ReceiptList),
    )
)]
pub async fn list_receipts(
    state: web::Data<State>,
    caller: Caller,
    path: web::Path<String>,
) -> Result<web::Json<ReceiptList>, Problem> {
    let room = parameters::room(&path)?;
    let _slot = state.reads.admit_slow(caller.viewer()).await?;
    state.access(caller.viewer(), &room).await?;
    Ok(web::Json(ReceiptList { receipts: members::receipts(&state.db, &room).await? }))
}

/// A read or delivered mark.
#[derive(Serialize, Deserialize, ToSchema)]
pub struct Mark {
    /// Everything up to this seq is read or delivered.
    #[schema(value_type = Seq)]
    seq: i64,
}

/// Marks everything up to `seq` as read. A seq above the head counts as the head, and the mark never moves back.
/// Answered with the mark when it is stored.
#[utoipa::path(
    post, path = "/v1/rooms/{room}/read", operation_id = "markRead", tag = "rooms",
    params(("room" = RoomId, Path)), request_body = Mark,
    responses(
        (status = 200, description = "Marked", body = Mark),
        (status = 429, description = "Too many marks"),
    )
)]
pub async fn set_read(
    state: web::Data<State>,
    caller: Caller,
    path: web::Path<String>,
    payload: web::Payload,
) -> Result<web::Json<Mark>, Problem> {
    set_mark(&state, &caller, &path, payload, false).await
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
pub async fn set_delivered(
    state: web::Data<State>,
    caller: Caller,
    path: web::Path<String>,
    payload: web::Payload,
) -> Result<web::Json<Mark>, Problem> {
    set_mark(&state, &caller, &path, payload, true).await
}

async fn set_mark(
    state: &State,
    caller: &Caller,
    room: &str,
    payload: web::Payload,
    delivered: bool,
) -> Result<web::Json<Mark>, Problem> {
    let room = parameters::room(room)?;
    let body = Body::read(state, caller, payload, MAX_COMMAND_BODY_BYTES).await?;
    let SeqForm { seq: requested } = object(body.text())?;
    state.allowance.take_token(RateLimitKind::Marks, caller.viewer())?;
    let access = state.access(caller.viewer(), &room).await?;
    if access.role.is_none() {
        // A caller with the scope `tidings.admin` who is not a member has no marks in the room.
        return Err(Problem::new(ErrorCode::Forbidden, "only members of the room have marks in it"));
    }
    let mark_seq = state.receipts.mark(&room, &caller.user, requested, delivered).await?;
    Ok(web::Json(Mark { seq: i64::try_from(mark_seq.0).unwrap_or(MAX_SEQ) }))
}

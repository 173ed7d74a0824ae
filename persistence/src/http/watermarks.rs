//! `/rooms/{room}/receipts` and `/rooms/{room}/read`: how far members have read.

use actix_web::web;
use serde::{Deserialize, Serialize};
use tidings_shared::error::Refusal;
use tidings_shared::ids::Seq;
use tidings_shared::log::{ReadMark, stored::Stored};
use tidings_shared::protocol::Fields;
use utoipa::ToSchema;

use super::body::{Body, COMMAND_BYTES};
use super::caller::Caller;
use super::parameters::{self, MAX_SEQ};
use super::problem::Problem;
use super::state::State;
use crate::query::access;
use crate::query::members::{self, Receipt};

/// The watermarks of a room's members.
#[derive(Serialize, ToSchema)]
pub struct Receipts {
    receipts: Vec<Receipt>,
}

/// How far each member has read and been delivered to.
#[utoipa::path(
    get, path = "/v1/rooms/{room}/receipts", operation_id = "listReceipts", tag = "rooms",
    params(("room" = String, Path)),
    responses((status = 200, description = "The members, at most the 1,000 who read last", body = Receipts))
)]
pub async fn receipts(
    state: web::Data<State>,
    caller: Caller,
    path: web::Path<String>,
) -> Result<web::Json<Receipts>, Problem> {
    let room = parameters::room(&path)?;
    access(&state.db, caller.viewer(), &room).await?.ok_or_else(Problem::no_such_room)?;
    Ok(web::Json(Receipts { receipts: members::receipts(&state.db, &room).await? }))
}

/// A watermark.
#[derive(Serialize, Deserialize, ToSchema)]
pub struct Mark {
    /// All up to here.
    #[schema(minimum = 0)]
    seq: i64,
}

/// Marks all up to `seq` as read; above the head it is clamped, and it never moves back. Answered when it
/// is stored, with where the mark is now.
#[utoipa::path(
    post, path = "/v1/rooms/{room}/read", operation_id = "markRead", tag = "rooms",
    params(("room" = String, Path)), request_body = Mark,
    responses((status = 200, description = "Marked", body = Mark))
)]
pub async fn read(
    state: web::Data<State>,
    caller: Caller,
    path: web::Path<String>,
    payload: web::Payload,
) -> Result<web::Json<Mark>, Problem> {
    let room = parameters::room(&path)?;
    let body = Body::read(payload, COMMAND_BYTES).await?;
    let asked = Fields::parse(body.text())?.seq()?;
    let access = access(&state.db, caller.viewer(), &room).await?.ok_or_else(Problem::no_such_room)?;
    // An admin who only looks on has no watermark.
    let Some(read_seq) = access.read_seq else { return Err(Problem::not_a_member()) };
    let asked = Seq(asked.0.min(MAX_SEQ as u64));
    let mark = ReadMark { user: caller.user.clone(), seq: asked, delivered: false };
    let stands = state.log.mark(&room, &[mark]).await?;
    if state.log.wait_stored(&room, &stands.accepted).await == Stored::Unavailable {
        return Err(Refusal::unavailable("the mark is not stored yet; try again").into());
    }
    let marked = asked.min(stands.head);
    state.read_moved(&caller.user, &room, marked).await;
    Ok(web::Json(Mark { seq: read_seq.max(i64::try_from(marked.0).unwrap_or(MAX_SEQ)) }))
}

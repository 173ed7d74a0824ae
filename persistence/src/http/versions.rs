//! `/rooms/{room}/messages/{seq}/versions`: reads the earlier texts of a message.

use actix_web::web;
use tidings_shared::error::ErrorCode;
use tidings_shared::ids::RoomId;
use tidings_shared::openapi::MessageSeqForm;
use tidings_shared::role::{self, Permission};

use super::caller::Caller;
use super::parameters;
use super::problem::Problem;
use super::state::State;
use crate::query::versions::{self, Versions};

/// The earlier texts of a message, also of a deleted one, oldest first. For admins and owners of the room, and for the
/// scope `tidings.admin`. If there are more than 200 versions, returns the original and the last 199.
#[utoipa::path(
    get, path = "/v1/rooms/{room}/messages/{seq}/versions", operation_id = "listVersions", tag = "messages",
    params(("room" = RoomId, Path), ("seq" = MessageSeqForm, Path)),
    responses((status = 200, description = "The versions", body = Versions))
)]
pub async fn list(
    state: web::Data<State>,
    caller: Caller,
    path: web::Path<(String, String)>,
) -> Result<web::Json<Versions>, Problem> {
    let (room, seq) = path.into_inner();
    let (room, seq) = (parameters::room(&room)?, parameters::seq("seq", &seq)?);
    let access = state.access(caller.viewer(), &room).await?;
    let role = access.role.as_deref().unwrap_or_default();
    if !caller.admin && !role::allows(role, Permission::ChangeAny) {
        return Err(Problem::new(ErrorCode::Forbidden, "only admins of the room see earlier versions"));
    }
    let versions = versions::versions(&state.db, caller.viewer(), &room, seq).await?;
    Ok(web::Json(versions.ok_or_else(Problem::no_such_message)?))
}

//! `/rooms/{room}/members`: who is in a room.

use actix_web::{HttpRequest, web};

use super::caller::Caller;
use super::parameters::{self, Parameters};
use super::problem::Problem;
use super::state::State;
use crate::query::access;
use crate::query::members::{Members, members};

/// The members of a room, by user id.
#[utoipa::path(
    get, path = "/v1/rooms/{room}/members", operation_id = "listMembers", tag = "rooms",
    params(
        ("room" = String, Path),
        ("cursor" = Option<String>, Query, description = "`next` of the page before"),
        ("limit" = Option<u32>, Query, description = "50, at most 200"),
    ),
    responses((status = 200, description = "A page", body = Members))
)]
pub async fn list(
    state: web::Data<State>,
    caller: Caller,
    path: web::Path<String>,
    request: HttpRequest,
) -> Result<web::Json<Members>, Problem> {
    let room = parameters::room(&path)?;
    let parameters = Parameters::of(&request)?;
    let (after, limit) = (parameters.id_cursor()?, parameters.limit()?);
    access(&state.db, caller.viewer(), &room).await?.ok_or_else(Problem::no_such_room)?;
    Ok(web::Json(members(&state.db, &room, after.as_deref(), limit).await?))
}

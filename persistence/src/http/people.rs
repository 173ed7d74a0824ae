//! `/me/people`: finds the people who share a room with the caller.

use actix_web::{HttpRequest, web};
use tidings_shared::openapi::{NameForm, RoomFilterForm};

use super::caller::Caller;
use super::parameters::Parameters;
use super::problem::Problem;
use super::state::State;
use crate::query::people::{self, People};

/// At most 20 people who share a room with me, by the beginnings of words of their names or of their ids. Without `query`
/// it finds everybody. Case and accents make no difference.
#[utoipa::path(
    get, path = "/v1/me/people", operation_id = "listPeople", tag = "rooms",
    params(
        ("query" = Option<NameForm>, Query, description = "Beginnings of words"),
        ("room" = Option<RoomFilterForm>, Query, description = "In this room only"),
    ),
    responses(
        (status = 200, description = "The people, by name", body = People),
        (status = 404, description = "No such room, or not visible to the caller"),
    )
)]
pub async fn list(
    state: web::Data<State>,
    caller: Caller,
    request: HttpRequest,
) -> Result<web::Json<People>, Problem> {
    let parameters = Parameters::from_request(&request)?;
    let query = parameters.name_part("query")?.unwrap_or_default();
    let room = parameters.room("room")?;
    let _slot = state.reads.admit_slow(caller.viewer()).await?;
    if let Some(room) = &room {
        state.access(caller.viewer(), room).await?;
    }
    Ok(web::Json(People { people: people::people(&state.db, &caller.user, room.as_ref(), query).await? }))
}

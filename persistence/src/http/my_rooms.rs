//! `/me/rooms`: lists the rooms of which the caller is a member.

use actix_web::{HttpRequest, web};
use serde::Serialize;
use tidings_shared::openapi::{LimitForm, ListCursorForm};
use utoipa::ToSchema;

use super::caller::Caller;
use super::parameters::Parameters;
use super::problem::Problem;
use super::state::State;
use crate::query::cursor::ActivityCursor;
use crate::query::room::MyRoom;
use crate::query::room_lists::my_rooms;

/// A page of the rooms of which I am a member.
#[derive(Serialize, ToSchema)]
pub struct MyRooms {
    rooms: Vec<MyRoom>,
    /// The cursor of the next page, null on the last page.
    #[schema(required)]
    next: Option<String>,
    /// A version that changes whenever my list of rooms changes.
    rooms_version: String,
}

/// My rooms, newest activity first, each with its last message and the number of unread messages.
#[utoipa::path(
    get, path = "/v1/me/rooms", operation_id = "listMyRooms", tag = "rooms",
    params(
        ("cursor" = Option<ListCursorForm>, Query),
        ("limit" = Option<LimitForm>, Query),
    ),
    responses(
        (status = 200, description = "A page", body = MyRooms),
    )
)]
pub async fn list(
    state: web::Data<State>,
    caller: Caller,
    request: HttpRequest,
) -> Result<web::Json<MyRooms>, Problem> {
    let parameters = Parameters::from_request(&request)?;
    let (cursor, limit) = (parameters.cursor(ActivityCursor::unpack)?, parameters.limit()?);
    let _slot = state.reads.admit_slow(caller.viewer()).await?;
    let rooms_version = state.rooms_version(&caller.user).await;
    let (rooms, next) = my_rooms(&state.db, &caller.user, cursor.as_ref(), limit).await?;
    Ok(web::Json(MyRooms { rooms, next, rooms_version }))
}

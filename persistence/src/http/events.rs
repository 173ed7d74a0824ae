//! `/rooms/{room}/events`: the events of a room's log after a seq, for clients that catch up.

use actix_web::{HttpRequest, web};
use tidings_shared::ids::{Epoch, RoomId};
use tidings_shared::openapi::{LimitForm, PositionForm};

use super::caller::Caller;
use super::parameters::{self, Parameters};
use super::problem::Problem;
use super::state::State;
use crate::query::events::{EventPage, EventRange, EventsOutcome, events};

/// The events after a seq, ascending, in the form of the WebSocket frames. `limit` counts seqs of the log, so a page
/// may hold fewer events, or none, and is still complete up to `next`.
#[utoipa::path(
    get, path = "/v1/rooms/{room}/events", operation_id = "listEvents", tag = "messages",
    params(
        ("room" = RoomId, Path),
        ("after" = Option<PositionForm>, Query, description = "Events above this seq; 0 if omitted"),
        ("limit" = Option<LimitForm>, Query),
        ("epoch" = Option<Epoch>, Query, description = "Epoch of the client's cursor"),
        ("upto" = Option<PositionForm>, Query, description = "Wait up to 5 s until this seq is stored, else 503"),
    ),
    responses(
        (status = 200, description = "A page", body = EventPage),
        (status = 409, description = "The epoch is no longer valid: `after` is the last seq that is"),
    )
)]
pub async fn list_events(
    state: web::Data<State>,
    caller: Caller,
    path: web::Path<String>,
    request: HttpRequest,
) -> Result<web::Json<EventPage>, Problem> {
    let room = parameters::room(&path)?;
    let parameters = Parameters::from_request(&request)?;
    let range = EventRange {
        after: parameters.seq("after")?.unwrap_or(0),
        limit: parameters.limit()?,
        epoch: parameters.text("epoch"),
        upto: parameters.seq("upto")?,
    };
    let read = async || match events(&state.db, caller.viewer(), &room, range).await? {
        None => Err(Problem::no_such_room()),
        Some(EventsOutcome::EpochEnded { after }) => Err(Problem::epoch_ended(after)),
        Some(EventsOutcome::Page(page)) => Ok(page),
    };
    if let Some(upto) = range.upto {
        let access = state.access(caller.viewer(), &room).await?;
        if access.head_seq < upto {
            // Checks the epoch before the wait, because a seq that existed only in an ended epoch may never be stored.
            read().await?;
            state.wait_until_stored(&request, &caller.user, &room, upto).await?;
        }
    }
    Ok(web::Json(read().await?))
}

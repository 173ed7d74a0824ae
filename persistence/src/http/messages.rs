//! `/rooms/{room}/messages` and `/rooms/{room}/messages/{seq}`: reads messages in their present state, and earlier
//! texts.

use actix_web::{HttpRequest, web};
use tidings_shared::error::ErrorCode;
use tidings_shared::ids::RoomId;
use tidings_shared::openapi::{LimitForm, MessageSeqForm, PositionForm};
use tidings_shared::role::{self, Permission};

use super::caller::Caller;
use super::parameters::{self, Parameters};
use super::problem::Problem;
use super::state::State;
use crate::query::events::{SystemEvents, system_events};
use crate::query::messages::{self as history, Message, MessagePage, Window};
use crate::query::versions::{self, Versions};

/// A page of history, ascending. Without `before`, `after` or `around` it holds the last messages.
#[utoipa::path(
    get, path = "/v1/rooms/{room}/messages", operation_id = "listMessages", tag = "messages",
    params(
        ("room" = RoomId, Path),
        ("before" = Option<PositionForm>, Query, description = "Messages below this seq"),
        ("after" = Option<PositionForm>, Query, description = "Messages above this seq"),
        ("around" = Option<PositionForm>, Query, description = "Messages on both sides of this seq, including the one at it"),
        ("limit" = Option<LimitForm>, Query),
        ("upto" = Option<PositionForm>, Query, description = "Wait up to 5 s until this seq is stored, else 503"),
        ("system_events" = Option<bool>, Query, description = "Whether to add changes of members and room"),
    ),
    responses(
        (status = 200, description = "A page", body = MessagePage),
    )
)]
pub async fn list_messages(
    state: web::Data<State>,
    caller: Caller,
    path: web::Path<String>,
    request: HttpRequest,
) -> Result<web::Json<MessagePage>, Problem> {
    let room = parameters::room(&path)?;
    let parameters = Parameters::from_request(&request)?;
    let window = parse_window(&parameters)?;
    let with_system_events = parameters.flag("system_events")?;
    if let Some(upto) = parameters.seq("upto")? {
        let access = state.access(caller.viewer(), &room).await?;
        if access.head_seq < upto {
            state.wait_until_stored(&request, &caller.user, &room, upto).await?;
        }
    }
    let mut page = history::read_page(&state.db, caller.viewer(), &room, window, &state.reads.slow).await?;
    if with_system_events {
        let (range, bytes) = (page.range(window), page.bytes_left());
        let SystemEvents { events, truncated } =
            system_events(&state.db, caller.viewer(), &room, range, bytes).await?;
        page.system_events = Some(events);
        page.system_events_truncated = Some(truncated);
    }
    Ok(web::Json(page))
}

fn parse_window(parameters: &Parameters) -> Result<Window, Problem> {
    let limit = parameters.limit()?;
    match (parameters.seq("before")?, parameters.seq("after")?, parameters.seq("around")?) {
        (None, None, None) => Ok(Window::last(limit)),
        (Some(seq), None, None) => Ok(Window::before(seq, limit)),
        (None, Some(seq), None) => Ok(Window::after(seq, limit)),
        (None, None, Some(seq)) => Ok(Window::around(seq, limit)),
        _ => Err(Problem::bad_field("before", "give one of before, after and around, not several")),
    }
}

/// One message in its present state.
#[utoipa::path(
    get, path = "/v1/rooms/{room}/messages/{seq}", operation_id = "getMessage", tag = "messages",
    params(("room" = RoomId, Path), ("seq" = MessageSeqForm, Path)),
    responses((status = 200, description = "The message", body = Message))
)]
pub async fn get(
    state: web::Data<State>,
    caller: Caller,
    path: web::Path<(String, String)>,
) -> Result<web::Json<Message>, Problem> {
    let (room, seq) = (parameters::room(&path.0)?, parameters::seq("seq", &path.1)?);
    if let Some(message) = history::message(&state.db, caller.viewer(), &room, seq).await? {
        return Ok(web::Json(message));
    }
    // A caller who may not see the room must not learn whether the message exists.
    state.access(caller.viewer(), &room).await?;
    Err(Problem::no_such_message())
}

/// The earlier texts of a message, oldest first, even if the message is deleted. For admins and owners of the room, and
/// for the scope `tidings.admin`. If there are more than 200 versions, or more than about 1 MiB, returns the original and
/// the last edits, and `truncated` is true.
#[utoipa::path(
    get, path = "/v1/rooms/{room}/messages/{seq}/versions", operation_id = "listVersions", tag = "messages",
    params(("room" = RoomId, Path), ("seq" = MessageSeqForm, Path)),
    responses((status = 200, description = "The versions", body = Versions))
)]
pub async fn list_versions(
    state: web::Data<State>,
    caller: Caller,
    path: web::Path<(String, String)>,
) -> Result<web::Json<Versions>, Problem> {
    let (room, seq) = (parameters::room(&path.0)?, parameters::seq("seq", &path.1)?);
    let access = state.access(caller.viewer(), &room).await?;
    let role = access.role.as_deref().unwrap_or_default();
    if !caller.admin && !role::allows(role, Permission::ChangeAny) {
        return Err(Problem::new(ErrorCode::Forbidden, "only admins of the room see earlier versions"));
    }
    let versions = versions::versions(&state.db, caller.viewer(), &room, seq).await?;
    Ok(web::Json(versions.ok_or_else(Problem::no_such_message)?))
}

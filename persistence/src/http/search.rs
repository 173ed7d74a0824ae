//! `/search`: finds messages by their words, newest first.

use actix_web::{HttpRequest, web};
use tidings_shared::ids::RoomId;
use tidings_shared::limits::MAX_QUERY_CHARS;
use tidings_shared::openapi::{LimitForm, ListCursorForm};

use super::caller::Caller;
use super::parameters::{self, Parameters};
use super::problem::Problem;
use super::state::State;
use crate::query::cursor::SearchCursor;
use crate::query::search::{self, SearchPage, SearchRequest};
use crate::search::words::Query;

/// Messages that contain all words of `q`, newest first. Finds only messages that the caller may see now, in rooms of
/// which they are a member. The last word may be incomplete. Case and accents make no difference.
#[utoipa::path(
    get, path = "/v1/search", operation_id = "search", tag = "messages",
    params(
        ("q" = String, Query, description = "Words", min_length = 1, max_length = 200),
        ("room" = Option<RoomId>, Query, description = "In this room only"),
        ("cursor" = Option<ListCursorForm>, Query),
        ("limit" = Option<LimitForm>, Query),
    ),
    responses(
        (status = 200, description = "A page; it may be short and still have a `next`", body = SearchPage),
        (status = 404, description = "No such room, or not visible to the caller"),
    )
)]
pub async fn search_messages(
    state: web::Data<State>,
    caller: Caller,
    request: HttpRequest,
) -> Result<web::Json<SearchPage>, Problem> {
    let parameters = Parameters::from_request(&request)?;
    let text = parameters
        .text("q")
        .ok_or_else(|| Problem::bad_field("q", "q must contain the words to search for"))?;
    if text.chars().count() > MAX_QUERY_CHARS {
        return Err(Problem::bad_field("q", format!("q must be up to {MAX_QUERY_CHARS} characters")));
    }
    let room = parameters.text("room").map(parameters::room).transpose()?;
    let (cursor, limit) = (parameters.cursor(SearchCursor::unpack)?, parameters.limit()?);
    let _slot = state.reads.admit_slow(caller.viewer()).await?;
    if let Some(room) = &room {
        state.access(caller.viewer(), room).await?;
    }
    let Some(query) = Query::parse(text) else {
        return Ok(web::Json(SearchPage { results: Vec::new(), next: None }));
    };
    let limit = usize::try_from(limit).unwrap_or_default();
    let search_request = SearchRequest { query: &query, room: room.as_ref(), cursor: cursor.as_ref(), limit };
    Ok(web::Json(search::search(&state.db, caller.viewer(), search_request).await?))
}

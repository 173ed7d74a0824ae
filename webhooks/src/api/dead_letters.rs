//! Lists, replays and removes dead letters.

use actix_web::{HttpRequest, web};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use sea_orm::TransactionTrait;
use tidings_persistence::companion::api::read_optional_form;
use tidings_persistence::http::parameters::Parameters;
use tidings_persistence::http::problem::Problem;
use tidings_persistence::writer::audit;
use tidings_shared::openapi::LimitForm;

use super::forms::{Changed, DeadLetters, Replay};
use super::{ApiState, caller::Admin, no_such_webhook};
use crate::store::dead_letters::{self, Selection};
use crate::store::endpoints;

/// The dead letters of an endpoint, in the order of room and seq.
#[utoipa::path(
    get, path = "/v1/webhooks/{id}/dead", operation_id = "listDeadLetters", tag = "webhooks",
    params(
        ("id" = String, Path),
        ("cursor" = Option<String>, Query, description = "`next` of the page before"),
        ("limit" = Option<LimitForm>, Query),
    ),
    responses((status = 200, body = DeadLetters), (status = 404, description = "There is no such endpoint"))
)]
pub async fn list(
    state: web::Data<ApiState>,
    _: Admin,
    id: web::Path<String>,
    request: HttpRequest,
) -> Result<web::Json<DeadLetters>, Problem> {
    let parameters = Parameters::from_request(&request)?;
    let (cursor, limit) = (parameters.cursor(unpack)?, parameters.limit()?);
    require(&state, &id).await?;
    let after = cursor.as_ref().map(|(room, seq)| (room.as_str(), *seq));
    let letters = dead_letters::page(&state.db, &id, after, limit).await?;
    let is_full = i64::try_from(letters.len()).is_ok_and(|count| count == limit);
    let next = letters.last().filter(|_| is_full).map(|last| pack(&last.room, last.seq));
    Ok(web::Json(DeadLetters { dead: letters, next }))
}

/// Queues dead letters again, with all their attempts. In an ordered endpoint the events of the room that have not been
/// sent yet wait for them; events that were sent already are not sent again.
#[utoipa::path(
    post, path = "/v1/webhooks/{id}/dead/replay", operation_id = "replayDeadLetters", tag = "webhooks",
    params(("id" = String, Path)), request_body = Option<Replay>,
    responses(
        (status = 200, body = Changed),
        (status = 404, description = "There is no such endpoint"),
        (status = 413, description = "The body is too long"),
    )
)]
pub async fn replay(
    state: web::Data<ApiState>,
    admin: Admin,
    id: web::Path<String>,
    payload: web::Payload,
) -> Result<web::Json<Changed>, Problem> {
    let Replay { room, seq } = read_optional_form(payload).await?;
    require(&state, &id).await?;
    let selection = selection(room, seq)?;
    let transaction = state.db.begin().await?;
    let count = dead_letters::replay(&transaction, &id, &selection).await?;
    admin.record(&transaction, audit::WEBHOOK_REPLAY, &id).await?;
    transaction.commit().await?;
    Ok(web::Json(Changed { count }))
}

/// Removes dead letters for good: all, or those of a room, or one event.
#[utoipa::path(
    delete, path = "/v1/webhooks/{id}/dead", operation_id = "removeDeadLetters", tag = "webhooks",
    params(
        ("id" = String, Path),
        ("room" = Option<String>, Query),
        ("seq" = Option<i64>, Query, minimum = 0),
    ),
    responses((status = 200, body = Changed), (status = 404, description = "There is no such endpoint"))
)]
pub async fn remove(
    state: web::Data<ApiState>,
    admin: Admin,
    id: web::Path<String>,
    request: HttpRequest,
) -> Result<web::Json<Changed>, Problem> {
    let parameters = Parameters::from_request(&request)?;
    // Otherwise a script without a value would remove the dead letters of all rooms.
    parameters.refuse_empty("room")?;
    let (room, seq) = (parameters.room("room")?, parameters.seq("seq")?);
    require(&state, &id).await?;
    let selection = selection(room.map(|room| room.to_string()), seq)?;
    let transaction = state.db.begin().await?;
    let count = dead_letters::remove(&transaction, &id, &selection).await?;
    admin.record(&transaction, audit::WEBHOOK_DROP, &id).await?;
    transaction.commit().await?;
    Ok(web::Json(Changed { count }))
}

fn selection(room: Option<String>, seq: Option<i64>) -> Result<Selection, Problem> {
    if seq.is_some() && room.is_none() {
        return Err(Problem::bad_field("room", "seq needs room"));
    }
    if room.as_ref().is_some_and(|room| room.contains('\0')) {
        return Err(Problem::bad_field("room", "room must not contain U+0000"));
    }
    Ok(Selection { room, seq })
}

async fn require(state: &ApiState, id: &str) -> Result<(), Problem> {
    endpoints::get(&state.db, id).await?.map(drop).ok_or_else(no_such_webhook)
}

fn pack(room: &str, seq: i64) -> String {
    URL_SAFE_NO_PAD.encode(format!("{room} {seq}"))
}

fn unpack(text: &str) -> Option<(String, i64)> {
    let text = String::from_utf8(URL_SAFE_NO_PAD.decode(text).ok()?).ok()?;
    let (room, seq) = text.split_once(' ')?;
    Some((room.to_owned(), seq.parse().ok()?)).filter(|_| !room.contains('\0'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cursor_is_read_as_it_was_written() {
        assert_eq!(unpack(&pack("a.b:c", 17)), Some(("a.b:c".to_owned(), 17)));
        for bad in ["", "x", "!!!", &URL_SAFE_NO_PAD.encode("room"), &URL_SAFE_NO_PAD.encode("r\0 1")] {
            assert_eq!(unpack(bad), None, "{bad}");
        }
    }
}

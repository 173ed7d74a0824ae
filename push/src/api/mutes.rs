//! Mutes and unmutes rooms for the caller.

use actix_web::{HttpResponse, web};
use chrono::{DateTime, Utc};
use sea_orm::TransactionTrait;
use tidings_persistence::companion::api::read_optional_form;
use tidings_persistence::http::parameters;
use tidings_persistence::http::problem::Problem;
use tidings_persistence::query::{Viewer, access};
use tidings_shared::error::{ErrorCode, Refusal};
use tidings_shared::ids::RoomId;

use super::ApiState;
use super::caller::ApiUser;
use super::forms::{MuteAnswer, MuteForm, MuteList};
use crate::store::mutes::{self, MutedRoom};

/// Maximum number of rooms that a user has muted.
const MAX_MUTES: i64 = 1_000;

/// The rooms that the caller has muted.
#[utoipa::path(
    get, path = "/v1/me/mutes", operation_id = "listMutes", tag = "mutes",
    responses((status = 200, body = MuteList), (status = 429, description = "Too many requests"))
)]
pub async fn list(state: web::Data<ApiState>, caller: ApiUser) -> Result<web::Json<MuteList>, Problem> {
    let muted = mutes::list(&state.db, &caller.0).await?;
    Ok(web::Json(MuteList { mutes: muted.into_iter().map(Into::into).collect() }))
}

/// The mute of one room, or 404.
#[utoipa::path(
    get, path = "/v1/me/mutes/{room}", operation_id = "getMute", tag = "mutes", params(("room" = RoomId, Path)),
    responses(
        (status = 200, body = MuteAnswer),
        (status = 404, description = "The room is not muted"),
        (status = 429, description = "Too many requests"),
    )
)]
pub async fn get(
    state: web::Data<ApiState>,
    caller: ApiUser,
    path: web::Path<String>,
) -> Result<web::Json<MuteAnswer>, Problem> {
    let room = parameters::room(&path)?;
    let muted = mutes::get(&state.db, &caller.0, room.as_str()).await?;
    muted.map(|muted| web::Json(muted.into())).ok_or_else(not_muted)
}

/// Mutes a room of which the caller is a member: the caller gets no notification of its messages, and none of mentions.
#[utoipa::path(
    put, path = "/v1/me/mutes/{room}", operation_id = "muteRoom", tag = "mutes", params(("room" = RoomId, Path)),
    request_body = Option<MuteForm>,
    responses(
        (status = 200, body = MuteAnswer),
        (status = 404, description = "There is no such room, or the caller may not see it"),
        (status = 413, description = "The caller has muted too many rooms, or the body is too long"),
        (status = 429, description = "Too many requests"),
    )
)]
pub async fn mute(
    state: web::Data<ApiState>,
    caller: ApiUser,
    path: web::Path<String>,
    payload: web::Payload,
) -> Result<web::Json<MuteAnswer>, Problem> {
    let room = parameters::room(&path)?;
    let MuteForm { until } = read_optional_form(payload).await?;
    let until = until.as_deref().map(parse_until).transpose()?;
    let viewer = Viewer { user: &caller.0, admin: false };
    access(&state.db, viewer, &room).await?.ok_or_else(Problem::no_such_room)?;
    let transaction = state.db.begin().await?;
    caller.lock(&transaction).await?;
    if !mutes::put(&transaction, &caller.0, &room, until, MAX_MUTES).await? {
        let detail = format!("a user must not mute over {MAX_MUTES} rooms");
        return Err(Problem::new(ErrorCode::TooLarge, detail));
    }
    transaction.commit().await?;
    Ok(web::Json(MutedRoom { room: room.to_string(), until }.into()))
}

/// Unmutes a room.
#[utoipa::path(
    delete, path = "/v1/me/mutes/{room}", operation_id = "unmuteRoom", tag = "mutes", params(("room" = RoomId, Path)),
    responses(
        (status = 204, description = "The room is not muted any more"),
        (status = 404, description = "The room is not muted"),
        (status = 429, description = "Too many requests"),
    )
)]
pub async fn unmute(
    state: web::Data<ApiState>,
    caller: ApiUser,
    path: web::Path<String>,
) -> Result<HttpResponse, Problem> {
    let room = parameters::room(&path)?;
    let was_muted = mutes::delete(&state.db, &caller.0, room.as_str()).await?;
    if was_muted { Ok(HttpResponse::NoContent().finish()) } else { Err(not_muted()) }
}

fn parse_until(text: &str) -> Result<DateTime<Utc>, Problem> {
    let until = DateTime::parse_from_rfc3339(text).ok().map(|until| until.to_utc());
    until
        .filter(|until| *until > Utc::now())
        .ok_or_else(|| Problem::bad_field("until", "until must be a time in the future, by RFC 3339"))
}

fn not_muted() -> Problem {
    Refusal::not_found("muted room").into()
}

//! `/presence`: reads the presence of users who share a room with the caller, and sets the caller's presence. The
//! present status is only in Redis; PostgreSQL keeps the last-seen times.

use std::collections::HashSet;

use actix_web::{HttpRequest, HttpResponse, web};
use serde::Serialize;
use tidings_shared::command_fields::object;
use tidings_shared::error::{ErrorCode, Refusal};
use tidings_shared::ids::UserId;
use tidings_shared::limits::MAX_PRESENCE_USERS;
use tidings_shared::log::keys::Partition;
use tidings_shared::presence::{self, HoldKind, PresencePartition, WriteOutcome};
use tidings_shared::protocol::server::Presence;
use tidings_shared::protocol::{Status, StatusForm};
use utoipa::ToSchema;

use super::allowance::RateLimitKind;
use super::body::{Body, MAX_COMMAND_BODY_BYTES};
use super::caller::Caller;
use super::parameters::{self, Parameters};
use super::problem::Problem;
use super::state::State;
use crate::query::presence as query;
use crate::writer::failure;

/// The presence of several users.
#[derive(Serialize, ToSchema)]
pub struct PresenceList {
    users: Vec<Presence>,
}

/// The presence of the given users, in the same order. Users who share no room with the caller appear as offline. Users
/// whose presence cannot be read now are left out.
#[utoipa::path(
    get, path = "/v1/presence", operation_id = "listPresence", tag = "presence",
    params(("user" = Option<Vec<UserId>>, Query, description = "One parameter per user", max_items = 100)),
    responses(
        (status = 200, description = "One entry for each user whose presence can be read", body = PresenceList),
        (status = 413, description = "More than 100 users"),
    )
)]
pub async fn list(
    state: web::Data<State>,
    caller: Caller,
    request: HttpRequest,
) -> Result<web::Json<PresenceList>, Problem> {
    let parameters = Parameters::from_request(&request)?;
    let given: Vec<&str> = parameters.texts("user").collect();
    if given.len() > MAX_PRESENCE_USERS {
        let refusal = Refusal::new(ErrorCode::TooLarge, format!("more than {MAX_PRESENCE_USERS} users"));
        return Err(refusal.with_field("user").into());
    }
    let mut users = given.into_iter().map(parameters::user).collect::<Result<Vec<_>, _>>()?;
    let mut seen = HashSet::with_capacity(users.len());
    users.retain(|user| seen.insert(user.clone()));
    state.allowance.take_token(RateLimitKind::Presence, caller.viewer())?;
    let acquainted = query::users_sharing_room(&state.db, &caller.user, &users).await?;
    let users = presence::list_for_viewer(&state.log, acquainted, &users).await;
    Ok(web::Json(PresenceList { users: users.map_err(|error| unavailable(&error))? }))
}

/// Sets the caller's presence for 60 s, in addition to the presence of their connections.
#[utoipa::path(
    post, path = "/v1/presence", operation_id = "setPresence", tag = "presence",
    request_body = StatusForm,
    responses(
        (status = 204, description = "Set"),
        (status = 429, description = "Set too often"),
    )
)]
pub async fn set_presence(
    state: web::Data<State>,
    caller: Caller,
    payload: web::Payload,
) -> Result<HttpResponse, Problem> {
    let body = Body::read(&state, &caller, payload, MAX_COMMAND_BODY_BYTES).await?;
    let StatusForm { status } = object(body.text())?;
    state.allowance.take_token(RateLimitKind::Presence, caller.viewer())?;
    hold_presence(&state, &caller.user, status).await?;
    Ok(HttpResponse::NoContent().finish())
}

/// Sets the presence of the user `me` for `presence::HTTP_HOLD` (60 s).
async fn hold_presence(state: &State, me: &UserId, status: Status) -> Result<(), Problem> {
    let session = state.log.session(presence_partition(me)).await.map_err(|error| unavailable(&error))?;
    let failed = |error| {
        state.log.discard_if_unusable(&session, &error);
        unavailable(&error)
    };
    let mut connection = session.connection();
    let hold = [(me.clone(), Some(status))];
    let outcomes = presence::hold_states(&mut connection, HoldKind::Http, presence::HTTP_HOLD, &hold).await;
    if outcomes.map_err(failed)?.contains(&WriteOutcome::MustPublish) {
        let rooms = match query::small_rooms(&state.db, me).await {
            Ok(rooms) => rooms,
            Err(error) => {
                log_unpublished(&failure::redacted_cause(&error));
                return Ok(());
            }
        };
        let mut users = [(me.clone(), rooms)];
        match presence::retain_small_rooms(&state.log, &mut users).await {
            Ok(()) => drop(presence::publish_states(&mut connection, &users).await.map_err(failed)?),
            Err(error) => log_unpublished(&error),
        }
    }
    Ok(())
}

/// Logs that an update is saved in Redis but not published. It is pending there, and a gateway will publish it soon.
fn log_unpublished(cause: &dyn std::fmt::Display) {
    tracing::debug!(%cause, "the presence update is left to a gateway");
}

/// The partition of the log that serves the presence of a user.
fn presence_partition(user: &UserId) -> Partition {
    PresencePartition::of(user).partition()
}

fn unavailable(error: &dyn std::fmt::Display) -> Problem {
    tracing::debug!(%error, "presence cannot be read or set");
    Refusal::unavailable("presence is unavailable; retry").into()
}

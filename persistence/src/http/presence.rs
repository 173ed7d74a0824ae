//! `/presence`: reads the presence of users who share a room with the caller, and sets the caller's presence. The
//! present status is only in Redis; PostgreSQL keeps the last-seen times.

use std::collections::{HashMap, HashSet};

use actix_web::{HttpRequest, HttpResponse, web};
use serde::Serialize;
use tidings_shared::command_fields::{self, Fields};
use tidings_shared::error::{ErrorCode, Refusal};
use tidings_shared::ids::UserId;
use tidings_shared::limits::MAX_PRESENCE_USERS;
use tidings_shared::log::keys::Partition;
use tidings_shared::presence::{self, HoldKind, PresencePartition, WriteOutcome};
use tidings_shared::protocol::Status;
use tidings_shared::protocol::server::Presence;
use utoipa::ToSchema;

use super::allowance::RateLimitKind;
use super::body::{Body, MAX_COMMAND_BODY_BYTES};
use super::caller::Caller;
use super::parameters::{self, Parameters};
use super::problem::Problem;
use super::state::State;
use crate::query::presence as query;
use crate::schemas::PresenceSetForm;
use crate::writer::failure;

/// The presence of several users.
#[derive(Serialize, ToSchema)]
pub struct PresenceList {
    users: Vec<Presence>,
}

/// The presence of the given users, in the same order. Users who share no room with the caller appear as offline.
#[utoipa::path(
    get, path = "/v1/presence", operation_id = "listPresence", tag = "presence",
    params(("user" = Option<Vec<UserId>>, Query, description = "One parameter per user", max_items = 100)),
    responses(
        (status = 200, description = "One entry for each user", body = PresenceList),
        (status = 413, description = "More than 100 users"),
        (status = 429, description = "Too many requests"),
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
    let users = presence_for_viewer(&state, &caller.user, &users).await?;
    Ok(web::Json(PresenceList { users }))
}

/// Sets the caller's presence for 60 s, in addition to the presence of their connections.
#[utoipa::path(
    post, path = "/v1/presence", operation_id = "setPresence", tag = "presence",
    request_body = PresenceSetForm,
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
    let status: Status =
        command_fields::required(Fields::parse(body.text())?.status, "status", "`online` or `away`")?;
    state.allowance.take_token(RateLimitKind::Presence, caller.viewer())?;
    hold_presence(&state, &caller.user, status).await?;
    Ok(HttpResponse::NoContent().finish())
}

/// The presence of `users` as the user `me` may see it, in the same order. Users who share no room with `me` appear as
/// offline.
async fn presence_for_viewer(state: &State, me: &UserId, users: &[UserId]) -> Result<Vec<Presence>, Problem> {
    let acquainted = query::users_sharing_room(&state.db, me, users).await?;
    let known: Vec<UserId> = acquainted.iter().map(|known| known.user.clone()).collect();
    let by_session = state.log.group_by_session(known, presence_partition).await;
    let mut found: HashMap<UserId, presence::PresenceState> = HashMap::with_capacity(acquainted.len());
    for (session, users) in by_session.map_err(|error| unavailable(&error))? {
        let states = presence::states(&mut session.connection(), &users).await;
        let states = states.inspect_err(|error| state.log.discard_if_unusable(&session, error));
        found.extend(users.into_iter().zip(states.map_err(|error| unavailable(&error))?));
    }
    let found_state = |user: &UserId| found.get(user).copied().unwrap_or_default();
    let mut states: HashMap<_, _> = acquainted
        .into_iter()
        .map(|known| {
            let of_user = found_state(&known.user).with_last_seen(known.at_ms);
            (known.user, of_user)
        })
        .collect();
    let state_of = |user: &UserId| states.remove(user).unwrap_or_default().on_the_wire(user.clone());
    Ok(users.iter().map(state_of).collect())
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
        match query::small_rooms(&state.db, me).await {
            Ok(rooms) => {
                let mut users = [(me.clone(), rooms)];
                for session in state.log.sessions().await.map_err(|error| unavailable(&error))? {
                    let retained = presence::retain_small_rooms(&session, &mut users).await;
                    let retained =
                        retained.inspect_err(|error| state.log.discard_if_unusable(&session, error));
                    retained.map_err(|error| unavailable(&error))?;
                }
                presence::publish_states(&mut connection, &users).await.map_err(failed)?;
            }
            // The update is saved in Redis as pending, and a gateway will publish it soon.
            Err(error) => {
                tracing::debug!(
                    cause = failure::redacted_cause(&error),
                    "the presence update is left to a gateway"
                );
            }
        }
    }
    Ok(())
}

/// The partition of the log that serves the presence of a user.
fn presence_partition(user: &UserId) -> Partition {
    PresencePartition::of(user).partition()
}

fn unavailable(error: &dyn std::fmt::Display) -> Problem {
    tracing::debug!(%error, "presence cannot be read or set");
    Refusal::unavailable("presence is unavailable; retry").into()
}

//! `/presence`: the presence of users who share a room with the caller, and setting one's own.

use std::collections::HashSet;

use crate::schemas::PresenceSetForm;
use actix_web::{HttpRequest, HttpResponse, web};
use serde::Serialize;
use tidings_shared::error::{ErrorCode, Refusal};
use tidings_shared::fields::{self, Fields};
use tidings_shared::ids::UserId;
use tidings_shared::limits::MAX_PRESENCE_USERS;
use tidings_shared::protocol::Status;
use tidings_shared::protocol::server::Presence;
use utoipa::ToSchema;

use super::allowance::CommandKind;
use super::body::{Body, COMMAND_BYTES};
use super::caller::Caller;
use super::parameters::Parameters;
use super::problem::Problem;
use super::state::State;
use crate::presence;

/// The presence of users.
#[derive(Serialize, ToSchema)]
pub struct PresenceList {
    users: Vec<Presence>,
}

/// The presence of users, in the order given; users who share no room with the caller appear as offline.
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
    let parameters = Parameters::of(&request)?;
    let given: Vec<&str> = parameters.texts("user").collect();
    if given.len() > MAX_PRESENCE_USERS {
        let refusal = Refusal::new(ErrorCode::TooLarge, format!("more than {MAX_PRESENCE_USERS} users"));
        return Err(refusal.with_field("user").into());
    }
    let mut users = Vec::with_capacity(given.len());
    let mut named = HashSet::with_capacity(given.len());
    for id in given {
        let user = UserId::parse(id).map_err(|error| Problem::bad_field("user", error.to_string()))?;
        if named.insert(user.clone()) {
            users.push(user);
        }
    }
    state.allowance.take(CommandKind::Presence, &caller)?;
    let users = presence::for_viewer(&state.db, &state.log, &caller.user, &users).await?;
    Ok(web::Json(PresenceList { users }))
}

/// Sets the caller's presence; it holds for 60 s, in addition to that of their connections.
#[utoipa::path(
    post, path = "/v1/presence", operation_id = "setPresence", tag = "presence",
    request_body = PresenceSetForm,
    responses(
        (status = 204, description = "Set"),
        (status = 429, description = "Set too often"),
    )
)]
pub async fn set(
    state: web::Data<State>,
    caller: Caller,
    payload: web::Payload,
) -> Result<HttpResponse, Problem> {
    let body = Body::read(&state, &caller, payload, COMMAND_BYTES).await?;
    let status: Status =
        fields::required(Fields::parse(body.text())?.status, "status", "`online` or `away`")?;
    state.allowance.take(CommandKind::Presence, &caller)?;
    presence::set(&state.db, &state.log, &caller.user, status).await?;
    Ok(HttpResponse::NoContent().finish())
}

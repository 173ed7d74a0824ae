//! `/presence`: who is here among those with whom one shares a room, and what one says of oneself.

use std::collections::HashSet;

use actix_web::{HttpRequest, HttpResponse, web};
use serde::{Deserialize, Serialize};
use tidings_shared::error::{ErrorCode, Refusal};
use tidings_shared::ids::UserId;
use tidings_shared::protocol::Status;
use tidings_shared::protocol::fields::{self, Fields};
use tidings_shared::protocol::server::Presence;
use utoipa::ToSchema;

use super::allowance::Kind;
use super::body::{Body, COMMAND_BYTES};
use super::caller::Caller;
use super::parameters::Parameters;
use super::problem::{Problem, ProblemDocument};
use super::state::State;
use crate::forms::{OwnStatusForm, StatusForm, TimeForm, UserIdForm};
use crate::presence;

/// Users in one request.
const MAX_USERS: usize = 100;

/// How people are.
#[derive(Serialize, ToSchema)]
pub struct PresenceList {
    #[schema(value_type = Vec<PresenceForm>)]
    users: Vec<Presence>,
}

/// How somebody is.
#[derive(Serialize, ToSchema)]
#[schema(as = Presence)]
#[allow(dead_code, reason = "the form of the shared Presence for the OpenAPI document")]
pub struct PresenceForm {
    user: String,
    #[schema(value_type = StatusForm)]
    status: String,
    /// Null of who is not offline, and where nothing is known or to be told.
    #[schema(required, value_type = Option<TimeForm>)]
    last_seen: Option<String>,
}

/// What somebody says of themselves.
#[derive(Deserialize, ToSchema)]
#[schema(as = PresenceSet)]
#[allow(dead_code, reason = "the form of the body for the OpenAPI document; the shared fields read it")]
pub struct PresenceSetForm {
    #[schema(value_type = OwnStatusForm)]
    status: String,
}

/// How users are, in the order asked; of those with whom the asker shares no room nothing is told.
#[utoipa::path(
    get, path = "/v1/presence", operation_id = "listPresence", tag = "presence",
    params(("user" = Option<Vec<UserIdForm>>, Query, description = "One parameter each", max_items = 100)),
    responses(
        (status = 200, description = "One entry for each user", body = PresenceList),
        (status = 413, description = "More than 100 users", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 429, description = "Too many questions", body = ProblemDocument, content_type = "application/problem+json"),
    )
)]
pub async fn list(
    state: web::Data<State>,
    caller: Caller,
    request: HttpRequest,
) -> Result<web::Json<PresenceList>, Problem> {
    let parameters = Parameters::of(&request)?;
    let given: Vec<&str> = parameters.texts("user").collect();
    if given.len() > MAX_USERS {
        let refusal = Refusal::new(ErrorCode::TooLarge, format!("more than {MAX_USERS} users"));
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
    state.allowance.take(Kind::Presence, &caller)?;
    let users = presence::of(&state.db, &state.log, &caller.user, &users).await?;
    Ok(web::Json(PresenceList { users }))
}

/// Says how the asker is; it holds for 60 s, beside what their connections say.
#[utoipa::path(
    post, path = "/v1/presence", operation_id = "setPresence", tag = "presence",
    request_body = PresenceSetForm,
    responses(
        (status = 204, description = "Said"),
        (status = 429, description = "Said too often", body = ProblemDocument, content_type = "application/problem+json"),
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
    state.allowance.take(Kind::Presence, &caller)?;
    presence::set(&state.db, &state.log, &caller.user, status).await?;
    Ok(HttpResponse::NoContent().finish())
}

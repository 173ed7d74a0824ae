//! `/rooms/{room}/members`: lists the members of a room, and adds, changes and removes members.

use actix_web::{HttpRequest, web};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use tidings_shared::command_fields::{object, optional};
use tidings_shared::error::Refusal;
use tidings_shared::ids::{RoomId, Seq, UserId};
use tidings_shared::openapi::{LimitForm, ListCursorForm, RoleForm};
use tidings_shared::role;
use utoipa::ToSchema;

use super::allowance::RateLimitKind;
use super::body::{Body, MAX_COMMAND_BODY_BYTES};
use super::caller::Caller;
use super::parameters::{self, Parameters};
use super::problem::Problem;
use super::state::State;
use crate::membership::{MembershipRequest, Requester};
use crate::query::cursor::unpack_id;
use crate::query::members::{Members, members};

/// The members of a room, ordered by user id.
#[utoipa::path(
    get, path = "/v1/rooms/{room}/members", operation_id = "listMembers", tag = "rooms",
    params(
        ("room" = RoomId, Path),
        ("cursor" = Option<ListCursorForm>, Query),
        ("limit" = Option<LimitForm>, Query),
    ),
    responses((status = 200, description = "A page", body = Members))
)]
pub async fn list(
    state: web::Data<State>,
    caller: Caller,
    path: web::Path<String>,
    request: HttpRequest,
) -> Result<web::Json<Members>, Problem> {
    let room = parameters::room(&path)?;
    let parameters = Parameters::from_request(&request)?;
    let (after, limit) = (parameters.cursor(unpack_id)?, parameters.limit()?);
    state.access(caller.viewer(), &room).await?;
    Ok(web::Json(members(&state.db, &room, after.as_deref(), limit).await?))
}

/// A membership after a request to change it.
#[derive(Serialize, ToSchema)]
#[schema(as = Membership)]
pub struct MembershipAnswer {
    user: String,
    role: String,
    /// The seq of the event that changed the membership, or the stored head if nothing changed.
    #[schema(value_type = Seq)]
    seq: u64,
}

/// Adds a user to a room or changes their role; adding oneself joins a public room. Answered when the change is stored.
///
/// A user who joins a public room becomes `member`, or `guest` if the user left as guest. A user whom others removed
/// cannot join until added by an admin or owner. Admins manage everyone except owners, owners manage everyone.
#[utoipa::path(
    put, path = "/v1/rooms/{room}/members/{user}", operation_id = "putMember", tag = "rooms",
    params(("room" = RoomId, Path), ("user" = UserId, Path)), request_body = Option<PutMemberBody>,
    responses(
        (status = 200, description = "The membership as it is now", body = MembershipAnswer),
        (status = 409, description = "The last owner, or an archived room"),
        (status = 413, description = "The room is full, or the user is in too many"),
        (status = 429, description = "Too many commands, or above a daily limit"),
    )
)]
pub async fn put_member(
    state: web::Data<State>,
    caller: Caller,
    path: web::Path<(String, String)>,
    payload: web::Payload,
) -> Result<web::Json<MembershipAnswer>, Problem> {
    let body = Body::read(&state, &caller, payload, MAX_COMMAND_BODY_BYTES).await?;
    let change = MembershipRequest::Put(parse_requested_role(body.text())?);
    let (room, user) = (parameters::room(&path.0)?, parameters::user(&path.1)?);
    state.allowance.take_token(RateLimitKind::Commands, caller.viewer())?;
    let requester = Requester { user: &caller.user, admin: caller.admin };
    let outcome = state.memberships.change(requester, &room, &user, &change).await?;
    Ok(web::Json(MembershipAnswer { user: user.into(), role: outcome.role, seq: outcome.seq.0 }))
}

/// The result of removing a member.
#[derive(Serialize, ToSchema)]
#[schema(as = RemovedMember)]
pub struct RemovedAnswer {
    /// The seq of the event `member:removed`.
    #[schema(value_type = Seq)]
    seq: u64,
}

/// Removes a user from a room; removing oneself leaves the room. Answered when the removal is stored.
#[utoipa::path(
    delete, path = "/v1/rooms/{room}/members/{user}", operation_id = "removeMember", tag = "rooms",
    params(("room" = RoomId, Path), ("user" = UserId, Path)),
    responses(
        (status = 200, description = "The user is no longer a member", body = RemovedAnswer),
        (status = 409, description = "The last owner, or an archived room"),
        (status = 429, description = "Too many commands"),
    )
)]
pub async fn remove(
    state: web::Data<State>,
    caller: Caller,
    path: web::Path<(String, String)>,
) -> Result<web::Json<RemovedAnswer>, Problem> {
    let (room, user) = (parameters::room(&path.0)?, parameters::user(&path.1)?);
    state.allowance.take_token(RateLimitKind::Commands, caller.viewer())?;
    let requester = Requester { user: &caller.user, admin: caller.admin };
    let outcome = state.memberships.change(requester, &room, &user, &MembershipRequest::Remove).await?;
    Ok(web::Json(RemovedAnswer { seq: outcome.seq.0 }))
}

/// The membership that the user is to have. The whole body may be omitted.
#[derive(Default, Deserialize, ToSchema)]
#[schema(as = PutMember)]
pub struct PutMemberBody<'a> {
    /// If omitted: `member` for a new member; an existing member keeps their role.
    #[serde(borrow, default)]
    #[schema(value_type = Option<RoleForm>)]
    role: Option<&'a RawValue>,
}

fn parse_requested_role(body: &str) -> Result<Option<String>, Refusal> {
    let wanted: PutMemberBody<'_> =
        if body.trim().is_empty() { PutMemberBody::default() } else { object(body)? };
    let role: Option<String> = optional(wanted.role, "role", "a string")?;
    match role {
        Some(role) if !role::is_valid(&role) => {
            Err(Refusal::bad_field("role", "`role` must be 1 to 32 of a-z 0-9 _ - other than `removed`"))
        }
        role => Ok(role),
    }
}

#[cfg(test)]
mod tests {
    use tidings_shared::error::ErrorCode;

    use super::*;

    #[test]
    fn role_is_optional_and_must_be_a_label() {
        for body in ["", " ", "{}", r#"{"role":null,"x":1}"#] {
            assert_eq!(parse_requested_role(body), Ok(None), "{body:?}");
        }
        assert_eq!(parse_requested_role(r#"{"role":"vip-1"}"#), Ok(Some("vip-1".to_owned())));
        for body in [r#"{"role":"removed"}"#, r#"{"role":"Vip"}"#, r#"{"role":""}"#, r#"{"role":7}"#] {
            assert_eq!(parse_requested_role(body).unwrap_err().field.as_deref(), Some("role"), "{body}");
        }
        for body in ["[]", "{", "null", r#"{"role":"a","role":"b"}"#] {
            assert_eq!(parse_requested_role(body).unwrap_err().code, ErrorCode::BadRequest, "{body}");
        }
    }
}

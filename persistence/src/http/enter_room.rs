//! Makes a user a member of a public room by its id, and creates the room if it does not exist. Gateways ask for this on
//! behalf of Socket.IO clients whose dialect makes rooms on demand.

use tidings_shared::error::{ErrorCode, Refusal};
use tidings_shared::ids::{RoomId, UserId};
use tidings_shared::role::OWNER;

use super::creation::check_name;
use super::problem::Problem;
use super::rooms::create_and_notify;
use super::state::State;
use crate::membership::{MembershipRequest, Requester};
use crate::writer::rooms::{CreationOutcome, NewRoom, RoomKind};

/// Returns when the membership is stored. A text that is not a valid room name is left out. Refuses a private or direct
/// room of which the user is not a member as `not_found`. `is_admin` says that the user has no daily limits.
pub async fn enter_room(
    state: &State,
    user: &UserId,
    room: &RoomId,
    name: Option<String>,
    is_admin: bool,
) -> Result<(), Problem> {
    let not_found = match join(state, user, room).await {
        Err(problem) if problem.code() == ErrorCode::NotFound => problem,
        joined => return joined,
    };
    let new = NewRoom {
        id: room.clone(),
        kind: RoomKind::Public,
        name: name.filter(|name| !name.is_empty() && check_name(name).is_ok()),
        creator: user.clone(),
        created_at_ms: None,
        members: vec![(user.clone(), OWNER.to_owned())],
        metadata: "{}".to_owned(),
        by_admin: false,
    };
    match create_and_notify(state, new, is_admin).await? {
        CreationOutcome::Created => Ok(()),
        // Another user created the room meanwhile, or the room is not public.
        CreationOutcome::IdTaken => join(state, user, room).await,
        CreationOutcome::Exists(_) => Err(not_found),
        CreationOutcome::UnknownMember => Err(Refusal::not_found("user").into()),
        CreationOutcome::OverDailyLimit(refusal) => Err(refusal.into()),
    }
}

async fn join(state: &State, user: &UserId, room: &RoomId) -> Result<(), Problem> {
    let requester = Requester { user, admin: false };
    state.memberships.change(requester, room, user, &MembershipRequest::Put(None)).await?;
    Ok(())
}

//! Decides whether a user may change a membership: takes a request and the stored state, and returns a decision. Pure.
//! The table of roles is in `shared::role`.

#[cfg(test)]
mod tests;

use tidings_shared::{
    error::{ErrorCode, Refusal},
    ids::UserId,
    role::{self, MEMBER, MinRole, OWNER, Permission},
};

use crate::batch::{MEMBER_ADDED, MEMBER_CHANGED, MEMBER_REMOVED};
use crate::query::membership_context::MembershipContext;

/// The user who requests a membership change.
#[derive(Clone, Copy, Debug)]
pub struct Requester<'a> {
    pub user: &'a UserId,
    /// Whether the token has the scope `tidings.admin`. Such a user may do in every room what an owner may do.
    pub admin: bool,
}

/// The requested change of a membership.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MembershipRequest {
    /// Make the user a member with this role. With None, a new member gets the role `member`, and an existing member
    /// keeps their role.
    Put(Option<String>),
    Remove,
}

#[derive(Clone, Copy, Debug)]
pub struct MembershipLimits {
    pub members_per_room: u32,
    /// Rooms that a user may have created or joined.
    pub rooms_per_user: u32,
    /// Rooms to which others may have added a user.
    pub rooms_by_others: u32,
}

impl MembershipLimits {
    /// The limit of rooms for a membership that `requester` gives to `user`. Others have a limit of their own, so that
    /// they cannot use up the rooms that the user may join.
    #[must_use]
    pub fn rooms_of(&self, requester: &UserId, user: &UserId) -> u32 {
        if requester == user { self.rooms_per_user } else { self.rooms_by_others }
    }
}

/// The decision about a membership request that is not refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// The user already has this role, so nothing is appended.
    NoChange {
        role: String,
    },
    Append(RoleChange),
}

/// A membership change to append to the room's log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RoleChange {
    /// The event type: `member:added`, `member:changed` or `member:removed`.
    pub kind: &'static str,
    /// The new role, or `removed`.
    pub role: String,
    /// The minimum role that the requester must still have when the change is appended.
    pub min_role: MinRole,
    /// Whether the decision depends on the memberships of the other owners too.
    pub depends_on_owners: bool,
}

/// Whether to answer as if the room did not exist: the requester is not a member and does not join by this request.
#[must_use]
pub fn is_hidden(
    snapshot: &MembershipContext,
    requester: Requester<'_>,
    user: &UserId,
    request: &MembershipRequest,
) -> bool {
    snapshot.requester.is_none() && !requester.admin && !is_join(snapshot, requester, user, request)
}

/// Whether the requester joins a public room by this request.
fn is_join(
    snapshot: &MembershipContext,
    requester: Requester<'_>,
    user: &UserId,
    request: &MembershipRequest,
) -> bool {
    let would_be_added = snapshot.user.is_none() && matches!(request, MembershipRequest::Put(_));
    requester.user == user && would_be_added && snapshot.kind == "public"
}

/// Decides a membership request. Refuses with `not_found`, `forbidden`, `conflict` or `too_large`.
pub fn decide(
    snapshot: &MembershipContext,
    requester: Requester<'_>,
    user: &UserId,
    request: &MembershipRequest,
    bounds: MembershipLimits,
) -> Result<Decision, Refusal> {
    let is_self = requester.user == user;
    let is_join = is_join(snapshot, requester, user, request);
    if is_hidden(snapshot, requester, user, request) {
        return Err(Refusal::not_found("room"));
    }
    let requester_role = match &snapshot.requester {
        _ if requester.admin => OWNER,
        Some(role) => role,
        None => "",
    };
    if snapshot.kind == "direct" {
        return Err(forbidden("the members of a direct room are fixed"));
    }
    if is_join && !requester.admin && snapshot.rejoin_role.as_deref() == Some(role::REMOVED) {
        return Err(forbidden(
            "you were removed from this room; an admin or owner of the room can add you again",
        ));
    }
    let (before, after) =
        (snapshot.user.as_deref(), role_after(snapshot, request, is_join && !requester.admin));
    let leaves = is_self && after.is_none() && before.is_some();
    let owners_change = before == Some(OWNER) || after == Some(OWNER);
    let needed = if owners_change { Permission::ManageOwners } else { Permission::ManageMembers };
    let min_role = match before {
        _ if requester.admin || is_join => MinRole::Anyone,
        Some(_) if leaves => MinRole::Guest,
        Some(role) if is_self && after == before => return Ok(Decision::NoChange { role: role.to_owned() }),
        // A member may always give themselves a lower role.
        Some(role) if is_self && after.is_some_and(|after| role::rank(after) < role::rank(role)) => {
            MinRole::Guest
        }
        _ if role::allows(requester_role, needed) => needed.min_role(),
        _ => return Err(forbidden("your role in this room does not allow this")),
    };
    if let Some(role) = before.filter(|_| after == before) {
        return Ok(Decision::NoChange { role: role.to_owned() });
    }
    if after.is_some() && snapshot.erased {
        return Err(Refusal::not_found("user"));
    }
    if snapshot.archived {
        return Err(Refusal::new(ErrorCode::Conflict, "the room is archived and takes no changes"));
    }
    let depends_on_owners = before == Some(OWNER) && after != Some(OWNER);
    if depends_on_owners && snapshot.owners < 2 {
        return Err(Refusal::new(
            ErrorCode::Conflict,
            "a room must have an owner; make another member owner first",
        ));
    }
    let (kind, role) = match (before, after) {
        (None, None) => return Err(Refusal::not_found("member")),
        (None, Some(role)) => {
            check_limits(snapshot, bounds.members_per_room, bounds.rooms_of(requester.user, user), is_self)?;
            (MEMBER_ADDED, role)
        }
        (Some(_), Some(role)) => (MEMBER_CHANGED, role),
        (Some(_), None) => (MEMBER_REMOVED, role::REMOVED),
    };
    Ok(Decision::Append(RoleChange { kind, role: role.to_owned(), min_role, depends_on_owners }))
}

/// The role of the user after the request; None if they are not a member then. A user who joins a public room
/// (`joins`) cannot choose a role: it is `member`, or the lower role with which the user left.
fn role_after<'a>(
    snapshot: &'a MembershipContext,
    request: &'a MembershipRequest,
    joins: bool,
) -> Option<&'a str> {
    match request {
        MembershipRequest::Remove => None,
        MembershipRequest::Put(_) if joins => Some(snapshot.rejoin_role.as_deref().unwrap_or(MEMBER)),
        MembershipRequest::Put(Some(role)) => Some(role),
        MembershipRequest::Put(None) => Some(snapshot.user.as_deref().unwrap_or(MEMBER)),
    }
}

fn check_limits(
    snapshot: &MembershipContext,
    max_members: u32,
    max_rooms: u32,
    is_self: bool,
) -> Result<(), Refusal> {
    if u32::try_from(snapshot.member_count).is_ok_and(|members| members >= max_members) {
        let message = format!("the room has {max_members} members and takes no more");
        return Err(Refusal::new(ErrorCode::TooLarge, message));
    }
    if snapshot.rooms >= i64::from(max_rooms) {
        let message = if is_self {
            format!("you created or joined {max_rooms} rooms, which is the limit; leave one first")
        } else {
            format!("others added the user to {max_rooms} rooms, which is the limit")
        };
        return Err(Refusal::new(ErrorCode::TooLarge, message));
    }
    Ok(())
}

fn forbidden(message: &str) -> Refusal {
    Refusal::new(ErrorCode::Forbidden, message)
}

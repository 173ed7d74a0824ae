//! Who may change whose membership: a wish and how things stand in, a decision out. Pure; the table of roles is
//! `shared::role`.

#[cfg(test)]
mod tests;

use tidings_shared::{
    error::{ErrorCode, Refusal},
    ids::UserId,
    log::Minimum,
    role::{self, MEMBER, OWNER, Permission},
};

use crate::query::standing::Standing;

/// Who asks.
#[derive(Clone, Copy, Debug)]
pub struct Asker<'a> {
    pub user: &'a UserId,
    /// Acts in any room as if owner.
    pub admin: bool,
}

/// What is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wish {
    /// To be a member with this role. None: `member`, or as they are when they are one.
    Put(Option<String>),
    /// To be none.
    Remove,
}

/// Upper bounds.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    pub members_per_room: u32,
    pub rooms_per_user: u32,
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// They have this role already.
    Nothing {
        role: String,
    },
    Add(Change),
    Change(Change),
    Remove(Change),
}

impl Decision {
    /// Whether something is to be appended.
    #[must_use]
    pub fn is_appended(&self) -> bool {
        !matches!(self, Self::Nothing { .. })
    }
}

/// A change that is to be appended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// The new role, or `removed`.
    pub role: String,
    /// Rank that who asks must still have when it is appended.
    pub minimum: Minimum,
    /// It hangs on who else is owner, not only on the user's own membership.
    pub hangs_on_owners: bool,
}

/// Whether the room does not exist for whoever asks: they are not in it, and may not come in by this wish.
#[must_use]
pub fn is_hidden(standing: &Standing, asker: Asker<'_>, user: &UserId, wish: &Wish) -> bool {
    standing.asker.is_none() && !asker.admin && !joins(standing, asker, user, wish)
}

/// Whether it is to come into a public room by oneself.
fn joins(standing: &Standing, asker: Asker<'_>, user: &UserId, wish: &Wish) -> bool {
    let comes_in = standing.user.is_none() && matches!(wish, Wish::Put(_));
    asker.user == user && comes_in && standing.kind == "public"
}

/// Decides.
///
/// # Errors
/// `not_found`, `forbidden`, `conflict`, `too_large`.
pub fn decide(
    standing: &Standing,
    asker: Asker<'_>,
    user: &UserId,
    wish: &Wish,
    bounds: Bounds,
) -> Result<Decision, Refusal> {
    let own = asker.user == user;
    let joins = joins(standing, asker, user, wish);
    if is_hidden(standing, asker, user, wish) {
        return Err(Refusal::not_found("room"));
    }
    let rank = match &standing.asker {
        _ if asker.admin => OWNER,
        Some(role) => role,
        None => "",
    };
    if standing.kind == "direct" {
        return Err(forbidden("the members of a direct room are fixed"));
    }
    let (before, after) = (standing.user.as_deref(), role_after(standing, wish, joins && !asker.admin));
    let leaves = own && after.is_none() && before.is_some();
    let needed = needed(before, after);
    let minimum = match before {
        _ if asker.admin || joins => Minimum::Anyone,
        Some(_) if leaves => Minimum::Guest,
        Some(role) if own && after == before => return Ok(Decision::Nothing { role: role.to_owned() }),
        // What one may do oneself one may also give up.
        Some(role) if own && after.is_some_and(|after| role::rank(after) < role::rank(role)) => {
            Minimum::Guest
        }
        _ if role::allows(rank, needed) => needed.minimum(),
        _ => return Err(forbidden("your role in this room does not allow this")),
    };
    if let Some(role) = before.filter(|_| after == before) {
        return Ok(Decision::Nothing { role: role.to_owned() });
    }
    if after.is_some() && standing.erased {
        return Err(Refusal::not_found("user"));
    }
    if standing.archived {
        return Err(Refusal::new(ErrorCode::Conflict, "the room is archived and takes no changes"));
    }
    let hangs_on_owners = before == Some(OWNER) && after != Some(OWNER);
    if hangs_on_owners && standing.owners < 2 {
        return Err(Refusal::new(
            ErrorCode::Conflict,
            "a room keeps an owner; make somebody else owner first",
        ));
    }
    let change = |role: &str| Change { role: role.to_owned(), minimum, hangs_on_owners };
    match (before, after) {
        (None, None) => Err(Refusal::not_found("member")),
        (None, Some(role)) => {
            check_room(standing, bounds)?;
            Ok(Decision::Add(change(role)))
        }
        (Some(_), Some(role)) => Ok(Decision::Change(change(role))),
        (Some(_), None) => Ok(Decision::Remove(change(role::REMOVED))),
    }
}

/// The role that the wish leads to; None: no member. Who joins by themselves is always `member`.
fn role_after<'a>(standing: &'a Standing, wish: &'a Wish, as_member: bool) -> Option<&'a str> {
    match wish {
        Wish::Remove => None,
        Wish::Put(_) if as_member => Some(MEMBER),
        Wish::Put(Some(role)) => Some(role),
        Wish::Put(None) => Some(standing.user.as_deref().unwrap_or(MEMBER)),
    }
}

/// What it takes to bring somebody from one role to another.
fn needed(before: Option<&str>, after: Option<&str>) -> Permission {
    if before == Some(OWNER) || after == Some(OWNER) {
        Permission::ManageOwners
    } else {
        Permission::ManageMembers
    }
}

fn check_room(standing: &Standing, bounds: Bounds) -> Result<(), Refusal> {
    if u32::try_from(standing.member_count).is_ok_and(|members| members >= bounds.members_per_room) {
        let message = format!("the room has {} members and takes no more", bounds.members_per_room);
        return Err(Refusal::new(ErrorCode::TooLarge, message));
    }
    if standing.rooms >= i64::from(bounds.rooms_per_user) {
        let message = format!("the user is in {} rooms, as many as anybody may be in", bounds.rooms_per_user);
        return Err(Refusal::new(ErrorCode::TooLarge, message));
    }
    Ok(())
}

fn forbidden(message: &str) -> Refusal {
    Refusal::new(ErrorCode::Forbidden, message)
}

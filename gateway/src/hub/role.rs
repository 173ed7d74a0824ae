//! Roles as the hub holds them: each name once for all subscriptions that have it, and what persistence told.

use std::rc::Rc;

use rustc_hash::{FxHashMap, FxHashSet};
use tidings_shared::ids::{Epoch, UserId};

/// Names are looked through for unused ones at this many, and then again at twice as many as were in use.
const FIRST_LOOK: usize = 64;

/// What persistence told of users in one room, after the room's head was read in `epoch`: their roles as of a place
/// at or above that epoch's base. `None`: not a member.
#[derive(Debug, Clone, Default)]
pub struct Roles {
    pub epoch: Epoch,
    pub of: FxHashMap<UserId, Option<Box<str>>>,
}

impl Roles {
    /// The role told of a user for a head in `epoch`; the outer `None`: nothing was.
    pub(super) fn told(&self, epoch: Epoch, user: &UserId) -> Option<Option<&str>> {
        if self.epoch == epoch { self.of.get(user).map(Option::as_deref) } else { None }
    }
}

/// Names of roles, shared by all subscriptions of a worker: each would otherwise hold a copy.
#[derive(Debug)]
pub(super) struct RoleNames {
    names: FxHashSet<Rc<str>>,
    look_at: usize,
}

impl Default for RoleNames {
    fn default() -> Self {
        Self { names: FxHashSet::default(), look_at: FIRST_LOOK }
    }
}

impl RoleNames {
    pub fn share(&mut self, role: &str) -> Rc<str> {
        if let Some(name) = self.names.get(role) {
            return name.clone();
        }
        if self.names.len() >= self.look_at {
            self.names.retain(|name| Rc::strong_count(name) > 1);
            self.look_at = FIRST_LOOK.max(2 * self.names.len());
        }
        let name: Rc<str> = role.into();
        self.names.insert(name.clone());
        name
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_shared_and_forgotten_when_nobody_has_them() {
        let mut names = RoleNames::default();
        let member = names.share("member");
        assert!(Rc::ptr_eq(&member, &names.share("member")));
        for n in 0..10 * FIRST_LOOK {
            names.share(&n.to_string());
        }
        assert!(names.names.len() <= FIRST_LOOK, "{}", names.names.len());
        assert!(Rc::ptr_eq(&member, &names.share("member")));
    }
}

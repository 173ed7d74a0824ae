//! Roles in the hub: role names, each stored once, and the roles that persistence returned.

use std::rc::Rc;

use rustc_hash::{FxHashMap, FxHashSet};
use tidings_shared::ids::{Epoch, UserId};

/// Unused names are removed when there are at least this many names, and twice as many as the last removal left.
const MIN_NAMES_FOR_CLEANUP: usize = 64;

/// Stored roles of users in one room, read from persistence after the room's head was read in `epoch`. The roles
/// include all changes up to the base of `epoch`. `None` means that the user is not a member.
#[derive(Debug, Clone, Default)]
pub struct StoredRoles {
    pub epoch: Epoch,
    pub by_user: FxHashMap<UserId, Option<Box<str>>>,
}

impl StoredRoles {
    /// The stored role of a user for a head in `epoch`. The outer `None` means that the role was not read.
    pub(super) fn get(&self, epoch: Epoch, user: &UserId) -> Option<Option<&str>> {
        if self.epoch == epoch { self.by_user.get(user).map(Option::as_deref) } else { None }
    }
}

/// Role names, shared by all subscriptions of a worker, so that subscriptions hold no copies.
#[derive(Debug, Default)]
pub(super) struct RoleNames {
    names: FxHashSet<Rc<str>>,
    /// The number of names that the last removal of unused names has left.
    names_after_cleanup: usize,
}

impl RoleNames {
    /// Returns the shared copy of a role name. Storing a new name may first remove unused names.
    pub fn intern(&mut self, role: &str) -> Rc<str> {
        if let Some(name) = self.names.get(role) {
            return name.clone();
        }
        if self.names.len() >= MIN_NAMES_FOR_CLEANUP.max(2 * self.names_after_cleanup) {
            self.names.retain(|name| Rc::strong_count(name) > 1);
            self.names_after_cleanup = self.names.len();
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
    fn role_names_are_shared_and_removed_when_unused() {
        let mut names = RoleNames::default();
        let member = names.intern("member");
        assert!(Rc::ptr_eq(&member, &names.intern("member")));
        for n in 0..10 * MIN_NAMES_FOR_CLEANUP {
            names.intern(&n.to_string());
        }
        assert!(names.names.len() <= MIN_NAMES_FOR_CLEANUP, "{}", names.names.len());
        assert!(Rc::ptr_eq(&member, &names.intern("member")));
    }
}

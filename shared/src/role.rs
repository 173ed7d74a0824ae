//! Roles and what each may do in a room: the one table that gateway and persistence decide by.
//!
//! | permission | guest | member, custom | admin | owner |
//! | --- | --- | --- | --- | --- |
//! | [`Permission::Read`] | yes | yes | yes | yes |
//! | [`Permission::Send`] | | yes | yes | yes |
//! | [`Permission::ChangeOwn`] | | yes | yes | yes |
//! | [`Permission::ChangeAny`] | | | yes | yes |
//! | [`Permission::ChangeRoom`] | | | yes | yes |
//! | [`Permission::ManageMembers`] | | | yes | yes |
//! | [`Permission::ManageOwners`] | | | | yes |

use crate::log::Minimum;

pub const OWNER: &str = "owner";
pub const ADMIN: &str = "admin";
pub const MEMBER: &str = "member";
pub const GUEST: &str = "guest";
/// What stands for the role of someone who went; no role may have this name.
pub const REMOVED: &str = "removed";

/// What a command does in a room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Permission {
    /// Read, join, move one's own read and delivered marks.
    Read,
    /// Send messages, react, type, signal.
    Send,
    /// Edit and delete one's own messages.
    ChangeOwn,
    /// Edit and delete anyone's messages, read their earlier versions.
    ChangeAny,
    /// Rename, change metadata, archive.
    ChangeRoom,
    /// Add, remove and change members below owner, to roles below owner.
    ManageMembers,
    /// Make owners, and change or remove them.
    ManageOwners,
}

impl Permission {
    /// The least rank that has this permission.
    #[must_use]
    pub fn minimum(self) -> Minimum {
        match self {
            Self::Read => Minimum::Guest,
            Self::Send | Self::ChangeOwn => Minimum::Member,
            Self::ChangeAny | Self::ChangeRoom | Self::ManageMembers => Minimum::Admin,
            Self::ManageOwners => Minimum::Owner,
        }
    }
}

/// The rank of a role. A custom role ranks as a member: its name only decides what is visible.
#[must_use]
pub fn rank(role: &str) -> Minimum {
    match role {
        OWNER => Minimum::Owner,
        ADMIN => Minimum::Admin,
        GUEST => Minimum::Guest,
        _ => Minimum::Member,
    }
}

/// Whether a role has a permission.
#[must_use]
pub fn allows(role: &str, permission: Permission) -> bool {
    rank(role) >= permission.minimum()
}

/// A role that a member may be given: 1 to 32 of `a-z 0-9 _ -`, and not the word for those who went.
#[must_use]
pub fn is_valid(role: &str) -> bool {
    crate::message::is_label(role) && role != REMOVED
}

#[cfg(test)]
mod tests {
    use super::*;
    use Permission::{ChangeAny, ChangeOwn, ChangeRoom, ManageMembers, ManageOwners, Read, Send};

    #[test]
    fn each_role_may_do_what_the_table_says() {
        let table: [(&str, &[Permission]); 5] = [
            (GUEST, &[Read]),
            (MEMBER, &[Read, Send, ChangeOwn]),
            ("vip", &[Read, Send, ChangeOwn]),
            (ADMIN, &[Read, Send, ChangeOwn, ChangeAny, ChangeRoom, ManageMembers]),
            (OWNER, &[Read, Send, ChangeOwn, ChangeAny, ChangeRoom, ManageMembers, ManageOwners]),
        ];
        for (role, allowed) in table {
            for permission in [Read, Send, ChangeOwn, ChangeAny, ChangeRoom, ManageMembers, ManageOwners] {
                assert_eq!(allows(role, permission), allowed.contains(&permission), "{role} {permission:?}");
            }
        }
    }

    #[test]
    fn the_word_for_those_who_went_is_no_role() {
        assert!(is_valid("vip-1") && !is_valid(REMOVED) && !is_valid("") && !is_valid("VIP"));
    }
}

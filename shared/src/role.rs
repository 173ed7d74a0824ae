//! Roles and their permissions in a room, as in docs/PROTOCOL.md, "Members and roles". Gateway and persistence both use
//! these ranks and permissions.

use crate::{ids::is_label, named_enum::named_enum};

/// The highest role: may also make, change and remove owners.
pub const OWNER: &str = "owner";
/// The role below owner: may also change any message, the room, and members who are not owners.
pub const ADMIN: &str = "admin";
/// The role above guest: may also send. Custom roles have its rank.
pub const MEMBER: &str = "member";
/// The lowest role: may read, mark and leave.
pub const GUEST: &str = "guest";
/// The value that stands for a removed membership where a role is expected. No role may have this name.
pub const REMOVED: &str = "removed";

/// The rank of a role. In an append it is the lowest rank that the sender needs, and the first two values turn checks
/// off.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum MinRole {
    /// The append checks neither the sender's membership mark nor whether the sender is being erased. The erasure
    /// itself uses this value, for the events by which the erased user leaves rooms.
    Always = -2,
    /// The append does not check the sender's membership mark. Used for senders with the admin scope.
    Anyone = -1,
    Guest = 0,
    Member = 1,
    Admin = 2,
    Owner = 3,
}

/// The named roles with their ranks, highest first. The ranks in Lua, SQL and TypeScript are generated from this table
/// or compared with it. A custom role has the rank of a member, and its name only affects visibility.
pub const RANKS: [(&str, MinRole); 4] =
    [(OWNER, MinRole::Owner), (ADMIN, MinRole::Admin), (MEMBER, MinRole::Member), (GUEST, MinRole::Guest)];

named_enum! {
    /// A permission in a room, with its name in TypeScript.
    pub enum Permission {
        /// Read, join, move one's own read and delivered marks.
        Read = "Read",
        /// Send messages, react, type, signal.
        Send = "Send",
        /// Edit and delete one's own messages.
        ChangeOwn = "ChangeOwn",
        /// Edit and delete anyone's messages, read their earlier versions.
        ChangeAny = "ChangeAny",
        /// Rename, change metadata, archive.
        ChangeRoom = "ChangeRoom",
        /// Add, remove and change members whose old and new roles are below owner.
        ManageMembers = "ManageMembers",
        /// Make owners, and change or remove them.
        ManageOwners = "ManageOwners",
    }
}

impl Permission {
    /// The lowest role that has this permission.
    pub fn min_role(self) -> MinRole {
        match self {
            Self::Read => MinRole::Guest,
            Self::Send | Self::ChangeOwn => MinRole::Member,
            Self::ChangeAny | Self::ChangeRoom | Self::ManageMembers => MinRole::Admin,
            Self::ManageOwners => MinRole::Owner,
        }
    }
}

/// The rank of a role; a role without an entry in [`RANKS`] has the rank of a member.
pub fn rank(role: &str) -> MinRole {
    RANKS.iter().find(|(name, _)| *name == role).map_or(MinRole::Member, |(_, rank)| *rank)
}

/// Returns Lua code for scripts: the function `rank(role)` and the constants `ALWAYS`, `ANYONE` and `REMOVED`.
pub fn ranks_as_lua() -> String {
    let named = RANKS.map(|(name, rank)| format!("{name} = {}", rank as i32)).join(", ");
    let (always, anyone, custom) = (MinRole::Always as i32, MinRole::Anyone as i32, MinRole::Member as i32);
    format!(
        "local ALWAYS, ANYONE, REMOVED = {always}, {anyone}, '{REMOVED}'\n\
         local function rank(role) return ({{{named}}})[role] or {custom} end\n"
    )
}

/// The rule for names of roles, as a text for error messages and documents.
pub fn name_rule() -> String {
    let named = RANKS.map(|(name, _)| format!("`{name}`")).join(", ");
    format!("{named} or a name of 1 to 32 of a-z 0-9 _ - other than `{REMOVED}`")
}

/// Whether a member with this role has the permission.
#[must_use]
pub fn allows(role: &str, permission: Permission) -> bool {
    rank(role) >= permission.min_role()
}

/// Whether a member may have this role: a name of 1 to 32 characters of `a-z 0-9 _ -`, and not [`REMOVED`].
pub fn is_valid(role: &str) -> bool {
    is_label(role) && role != REMOVED
}

#[cfg(test)]
mod tests {
    use super::*;
    use Permission::{ChangeAny, ChangeOwn, ChangeRoom, ManageMembers, ManageOwners, Read, Send};

    #[test]
    fn roles_have_the_permissions_of_the_table() {
        let table: [(&str, &[Permission]); 5] = [
            (GUEST, &[Read]),
            (MEMBER, &[Read, Send, ChangeOwn]),
            ("vip", &[Read, Send, ChangeOwn]),
            (ADMIN, &[Read, Send, ChangeOwn, ChangeAny, ChangeRoom, ManageMembers]),
            (OWNER, &[Read, Send, ChangeOwn, ChangeAny, ChangeRoom, ManageMembers, ManageOwners]),
        ];
        for (role, allowed) in table {
            for permission in Permission::ALL {
                assert_eq!(allows(role, permission), allowed.contains(&permission), "{role} {permission:?}");
            }
        }
    }

    #[test]
    fn removed_is_not_a_role() {
        assert!(is_valid("vip-1") && !is_valid(REMOVED) && !is_valid("") && !is_valid("VIP"));
    }
}

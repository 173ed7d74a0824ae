//! The users and roles that may see an event, and their encoding in the header of a record.

use serde::{Deserialize, Serialize};

/// Separates the items of a list in a header field. No identifier contains this character.
pub(crate) const LIST_SEPARATOR: char = '\u{1e}';

/// The users and roles that may see an event, in addition to its sender. Two empty lists mean all members.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Visibility {
    pub users: Vec<String>,
    pub roles: Vec<String>,
}

impl Visibility {
    /// Whether all members may see the event, because no user and no role is named.
    pub fn is_everyone(&self) -> bool {
        self.users.is_empty() && self.roles.is_empty()
    }

    /// Encodes the lists as the field `visibility` of a record's header: items `u=<user>` and `r=<role>`.
    pub fn encode(&self) -> String {
        if self.is_everyone() {
            return String::new();
        }
        let users = self.users.iter().map(|user| format!("u={user}"));
        let roles = self.roles.iter().map(|role| format!("r={role}"));
        users.chain(roles).collect::<Vec<_>>().join(&LIST_SEPARATOR.to_string())
    }

    /// Decodes the field `visibility` of a record's header. Malformed items are ignored.
    pub fn decode(field: &str) -> Self {
        let mut visibility = Self::default();
        for item in field.split(LIST_SEPARATOR) {
            match item.split_once('=') {
                Some(("u", user)) => visibility.users.push(user.to_owned()),
                Some(("r", role)) => visibility.roles.push(role.to_owned()),
                _ => {}
            }
        }
        visibility
    }
}

/// Whether a user with this role may see an event of this sender; `field` is `visibility` in the record's header.
#[must_use]
pub fn is_visible_to(field: &str, sender: &str, user: &str, role: &str) -> bool {
    field.is_empty()
        || sender == user
        || field.split(LIST_SEPARATOR).any(|item| match item.split_once('=') {
            Some(("u", named)) => named == user,
            Some(("r", named)) => named == role,
            _ => false,
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn private_event_is_visible_to_sender_and_named_users_and_roles() {
        let field = Visibility { users: vec!["bob".into()], roles: vec!["admin".into()] }.encode();
        assert!(is_visible_to(&field, "alice", "alice", "guest"));
        assert!(is_visible_to(&field, "alice", "bob", "member"));
        assert!(is_visible_to(&field, "alice", "eve", "admin"));
        assert!(!is_visible_to(&field, "alice", "eve", "member"));
        assert!(!is_visible_to(&field, "alice", "admin", "bob"));
        assert!(is_visible_to("", "alice", "eve", "member"));
    }
}

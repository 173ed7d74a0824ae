//! The message that an edit, a delete or a reaction changes (its target).

use serde::{Deserialize, Serialize};

use crate::{
    ids::Seq,
    visibility::{Visibility, is_visible_to},
};

/// The properties of a message that decide whether a user may change the message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Target {
    pub id: String,
    pub sender: String,
    pub visibility: Visibility,
    pub deleted: bool,
    /// The seq up to which these properties include all events of the room.
    #[serde(default)]
    pub upto: Seq,
    /// Whether the message has attachments. Only then may an edit make the text empty.
    #[serde(default)]
    pub has_attachments: bool,
}

impl Target {
    /// Whether a user with this role may see the message. The sender always may.
    #[must_use]
    pub fn is_visible_to(&self, user: &str, role: &str) -> bool {
        is_visible_to(&self.visibility.encode(), &self.sender, user, role)
    }

    /// The audience of a change of this message: the users (including the sender) and roles that may see the message.
    pub fn audience(&self) -> Visibility {
        let mut audience = self.visibility.clone();
        if !audience.is_everyone() && !audience.users.contains(&self.sender) {
            audience.users.push(self.sender.clone());
        }
        audience
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn change_has_the_audience_of_its_message() {
        let of = |users: &[&str]| Target {
            id: String::new(),
            sender: "alice".into(),
            visibility: Visibility { users: users.iter().map(ToString::to_string).collect(), roles: vec![] },
            deleted: false,
            upto: Seq(0),
            has_attachments: false,
        };
        assert_eq!(of(&["bob"]).audience().users, ["bob", "alice"]);
        assert!(of(&[]).audience().is_everyone());
        assert!(of(&["bob"]).is_visible_to("alice", "guest") && !of(&["bob"]).is_visible_to("eve", "owner"));
    }
}

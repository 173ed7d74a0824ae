//! Every name of the wire, so that pages and tests can be held against the code. A frame that is not here is not of
//! this version.

use super::client::Command;
use crate::message::change::ChangeKind;

/// What a client sends.
pub const CLIENT_FRAMES: [&str; 16] = [
    "auth",
    "room:join",
    "room:leave",
    "message:send",
    "message:edit",
    "message:delete",
    "reaction:add",
    "reaction:remove",
    "message:read",
    "message:delivered",
    "typing:start",
    "typing:stop",
    "presence:set",
    "presence:get",
    "signal",
    "ping",
];

/// What a server sends in answer to one command.
pub const ANSWERS: [&str; 9] =
    ["connected", "auth:ok", "room:joined", "room:left", "ack", "ok", "presence:list", "pong", "error"];

/// Events of a room's log.
pub const LOG_EVENTS: [&str; 10] = [
    "message:new",
    "message:edited",
    "message:deleted",
    "message:void",
    "reaction:added",
    "reaction:removed",
    "member:added",
    "member:changed",
    "member:removed",
    "room:updated",
];

/// What tells a client where it stands, or reaches all connections of a user, or is neither stored nor replayed.
/// The names of `typing` are those of the client's frames.
pub const OTHER_FRAMES: [&str; 10] = [
    "room:caught_up",
    "room:gap",
    "room:added",
    "room:removed",
    "rooms:changed",
    "receipt:read",
    "receipt:delivered",
    "presence",
    "void",
    "draining",
];

impl Command {
    /// Where the name of its frame stands in [`CLIENT_FRAMES`].
    #[must_use]
    pub fn place(&self) -> usize {
        match self {
            Self::Auth { .. } => 0,
            Self::Join { .. } => 1,
            Self::Leave { .. } => 2,
            Self::Send { .. } => 3,
            Self::Change { change, .. } => match change.kind() {
                ChangeKind::Edit => 4,
                ChangeKind::Delete => 5,
                ChangeKind::AddReaction => 6,
                ChangeKind::RemoveReaction => 7,
            },
            Self::Read { .. } => 8,
            Self::Delivered { .. } => 9,
            Self::Typing { started: true, .. } => 10,
            Self::Typing { started: false, .. } => 11,
            Self::PresenceSet { .. } => 12,
            Self::PresenceGet { .. } => 13,
            Self::Signal { .. } => 14,
            Self::Ping => 15,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::client;

    #[test]
    fn each_client_frame_is_understood_and_nothing_else_is() {
        let is_known = |kind: &str| {
            let parsed = client::parse(&format!(r#"{{"type":"{kind}"}}"#), 1);
            parsed.frame.map_or_else(|refusal| refusal.field.as_deref() != Some("type"), |_| true)
        };
        for kind in CLIENT_FRAMES {
            assert!(is_known(kind), "{kind}");
        }
        let other = ANSWERS.iter().chain(&LOG_EVENTS).chain(&OTHER_FRAMES);
        for kind in other {
            assert!(!is_known(kind), "{kind}");
        }
    }

    #[test]
    fn each_command_knows_its_place_among_the_names() {
        let mut places = Vec::new();
        for kind in CLIENT_FRAMES {
            let rest = r#""token":"t","room":"r","client_id":"c","content":"x","seq":1,"emoji":"+","status":"away","users":[],"data":1"#;
            let command = client::parse(&format!(r#"{{"type":"{kind}",{rest}}}"#), 1000).frame.unwrap();
            assert_eq!(command.frame(), kind);
            places.push(command.place());
        }
        assert_eq!(places, (0..places.len()).collect::<Vec<_>>());
    }
}

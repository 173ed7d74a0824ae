//! The names of all frames of this version of the protocol. Tests compare documents and other code with these lists.

use super::client::{Command, RoomCommand};
pub use crate::events::{LOG_EVENTS, VOID};
use crate::message::change::ChangeKind;

/// The names of the frames that clients send.
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

/// The names of the server's frames that answer commands.
pub const ANSWERS: [&str; 9] =
    ["connected", "auth:ok", "room:joined", "room:left", "ack", "ok", "presence:list", "pong", "error"];

/// The names of the server's frames that neither answer commands nor are log events: positions, notices for all
/// connections of a user, live-only frames and the notice of a drain. `typing` and `signal` frames are not listed,
/// because client frames have the same names.
pub const OTHER_FRAMES: [&str; 12] = [
    "room:caught_up",
    "room:gap",
    "room:added",
    "room:removed",
    "rooms:changed",
    "room:activity",
    "rooms:activity",
    "receipt:read",
    "receipt:delivered",
    "presence",
    VOID,
    "draining",
];

impl Command {
    /// The name of the command's frame, which is also the value of the metric label `type`.
    pub fn frame(&self) -> &'static str {
        CLIENT_FRAMES[self.index()]
    }

    /// The index of the command's frame in [`CLIENT_FRAMES`].
    pub fn index(&self) -> usize {
        match self {
            Self::Auth { .. } => 0,
            Self::Join { .. } => 1,
            Self::Leave { .. } => 2,
            Self::PresenceSet { .. } => 12,
            Self::PresenceGet { .. } => 13,
            Self::Ping => 15,
            Self::InRoom { command, .. } => match command {
                RoomCommand::Send(_) => 3,
                RoomCommand::Change(change) => match change.kind() {
                    ChangeKind::Edit => 4,
                    ChangeKind::Delete => 5,
                    ChangeKind::AddReaction => 6,
                    ChangeKind::RemoveReaction => 7,
                },
                RoomCommand::Mark { delivered: false, .. } => 8,
                RoomCommand::Mark { delivered: true, .. } => 9,
                RoomCommand::Typing { started: true } => 10,
                RoomCommand::Typing { started: false } => 11,
                RoomCommand::Signal { .. } => 14,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::client;

    #[test]
    fn only_client_frames_are_parsed_as_commands() {
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
    fn commands_have_the_index_of_their_frame() {
        let mut indices = Vec::new();
        for kind in CLIENT_FRAMES {
            let rest = r#""token":"t","room":"r","client_id":"c","content":"x","seq":1,"emoji":"+","status":"away","users":[],"data":1"#;
            let command = client::parse(&format!(r#"{{"type":"{kind}",{rest}}}"#), 1000).frame.unwrap();
            assert_eq!(command.frame(), kind);
            indices.push(command.index());
        }
        assert_eq!(indices, (0..indices.len()).collect::<Vec<_>>());
    }
}

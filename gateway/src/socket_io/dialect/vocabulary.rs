//! The commands and frames of the protocol with their fields, so that a dialect that misspells one is refused. Pure.

/// Fields that a dialect adds to each frame that has what they are made of: the id of the message by its position, and
/// the time as a number.
const ADDED_FIELDS: [&str; 3] = ["message_id", "reply_to_id", "at_ms"];

/// A command that a dialect may send: its type, its fields, and the type of its answer.
pub(super) struct CommandForm {
    pub kind: &'static str,
    pub fields: &'static [&'static str],
    pub answer: &'static str,
}

const fn command(kind: &'static str, answer: &'static str, fields: &'static [&'static str]) -> CommandForm {
    CommandForm { kind, fields, answer }
}

#[rustfmt::skip]
const COMMANDS: [CommandForm; 15] = [
    command("room:join", "room:joined", &["room", "rooms", "after", "presence"]),
    command("room:leave", "room:left", &["room", "rooms"]),
    command("message:send", "ack", &["room", "client_id", "content", "kind", "reply_to", "reply_to_id", "visible_to",
        "mentions", "attachments", "metadata", "attempt", "ack"]),
    command("message:edit", "ack", &["room", "seq", "message_id", "content", "metadata", "mentions", "id", "client_id",
        "ack"]),
    command("message:delete", "ack", &["room", "seq", "message_id", "id", "client_id", "ack"]),
    command("reaction:add", "ack", &["room", "seq", "message_id", "emoji", "id", "client_id", "ack"]),
    command("reaction:remove", "ack", &["room", "seq", "message_id", "emoji", "id", "client_id", "ack"]),
    command("message:read", "ok", &["room", "seq", "message_id"]),
    command("message:delivered", "ok", &["room", "seq", "message_id"]),
    command("typing:start", "ok", &["room"]),
    command("typing:stop", "ok", &["room"]),
    command("signal", "ok", &["room", "to", "data"]),
    command("presence:set", "ok", &["status"]),
    command("presence:get", "presence:list", &["users"]),
    command("ping", "pong", &[]),
];

#[rustfmt::skip]
const FRAMES: &[(&str, &[&str])] = &[
    ("connected", &["connection", "user", "name", "server_time", "heartbeat_ms", "expires_at", "rooms_version",
        "spread_ms", "limits", "node"]),
    ("auth:ok", &["expires_at"]),
    ("room:joined", &["rooms", "failed", "more"]),
    ("room:left", &["rooms"]),
    ("ack", &["room", "seq", "epoch", "at", "stage", "duplicate", "id", "client_id"]),
    ("ok", &[]),
    ("presence:list", &["users"]),
    ("pong", &["server_time"]),
    ("error", &["room", "code", "message", "reason", "field", "retry_after_ms"]),
    ("message:new", &["room", "seq", "at", "id", "client_id", "sender", "kind", "content", "reply_to", "attachments",
        "metadata", "visible_to", "mentions", "edited_at", "deleted"]),
    ("message:edited", &["room", "seq", "at", "target", "target_id", "content", "metadata", "mentions", "by"]),
    ("message:deleted", &["room", "seq", "at", "target", "target_id", "by"]),
    ("message:void", &["room", "seq", "at", "target", "client_id", "by", "reason", "of", "message"]),
    ("reaction:added", &["room", "seq", "at", "target", "target_id", "emoji", "by"]),
    ("reaction:removed", &["room", "seq", "at", "target", "target_id", "emoji", "by"]),
    ("member:added", &["room", "seq", "at", "user", "name", "picture", "role", "by"]),
    ("member:changed", &["room", "seq", "at", "user", "role", "by"]),
    ("member:removed", &["room", "seq", "at", "user", "by"]),
    ("room:updated", &["room", "seq", "at", "name", "metadata", "archived", "slow_mode_s", "by"]),
    ("typing:start", &["room", "user", "expires_ms"]),
    ("typing:stop", &["room", "user"]),
    ("signal", &["room", "from", "data"]),
    ("presence", &["user", "status", "last_seen"]),
    ("receipt:read", &["room", "marks"]),
    ("receipt:delivered", &["room", "marks"]),
    ("room:caught_up", &["room", "epoch", "seq"]),
    ("room:gap", &["room", "after", "head"]),
    ("room:added", &["room", "kind", "name", "role", "from"]),
    ("room:removed", &["room", "seq"]),
    ("rooms:changed", &["rooms_version", "spread_ms"]),
    ("room:activity", &["room", "seq", "mention", "from"]),
    ("rooms:activity", &["after_ms"]),
    ("draining", &["reconnect_after_ms"]),
    ("close", &["code", "reason"]),
];

/// The command of this type.
pub(super) fn command_form(kind: &str) -> Option<&'static CommandForm> {
    COMMANDS.iter().find(|form| form.kind == kind)
}

/// The fields of the frame of this type, without those that a dialect adds.
pub(super) fn frame_fields(kind: &str) -> Option<&'static [&'static str]> {
    FRAMES.iter().find(|(name, _)| *name == kind).map(|(_, fields)| *fields)
}

/// Whether a reference may begin with this field of a frame.
pub(super) fn is_frame_field(fields: &[&str], name: &str) -> bool {
    name == "type" || fields.contains(&name) || ADDED_FIELDS.contains(&name)
}

#[cfg(test)]
mod tests {
    use tidings_shared::{
        events::VOID,
        protocol::names::{ANSWERS, CLIENT_FRAMES, LOG_EVENTS, OTHER_FRAMES},
    };

    use super::*;

    #[test]
    fn vocabulary_has_every_frame_of_the_protocol() {
        for kind in CLIENT_FRAMES.into_iter().filter(|kind| *kind != "auth") {
            let form = command_form(kind).unwrap_or_else(|| panic!("{kind}"));
            assert!(frame_fields(form.answer).is_some(), "{kind}");
        }
        // `void` comes over HTTP only.
        let frames = ANSWERS.iter().chain(&LOG_EVENTS).chain(&OTHER_FRAMES).filter(|kind| **kind != VOID);
        for kind in frames {
            assert!(frame_fields(kind).is_some(), "{kind}");
        }
    }
}

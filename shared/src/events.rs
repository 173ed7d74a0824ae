//! The wire names of the events in a room's log.

macro_rules! log_events {
    ($($name:ident = $text:literal,)+) => {
        $(pub const $name: &str = $text;)+
        /// The wire names of all events in a room's log.
        pub const LOG_EVENTS: [&str; [$($text),+].len()] = [$($name),+];
    };
}

log_events! {
    MESSAGE_NEW = "message:new",
    MESSAGE_EDITED = "message:edited",
    MESSAGE_DELETED = "message:deleted",
    MESSAGE_VOID = "message:void",
    REACTION_ADDED = "reaction:added",
    REACTION_REMOVED = "reaction:removed",
    MEMBER_ADDED = "member:added",
    MEMBER_CHANGED = "member:changed",
    MEMBER_REMOVED = "member:removed",
    ROOM_UPDATED = "room:updated",
}

/// The type that HTTP answers show instead of an event whose seq is void (a late duplicate or a rejected event).
pub const VOID: &str = "void";

//! Presence is one state (online, away or offline) for each user, over all connections and nodes. Redis holds the
//! states of users who are not offline.
//!
//! A gateway writes the states of its users under its *node lease* (`life` in the names of keys). A lease that is not
//! renewed in time expires and is never valid again. Any gateway then removes the states under this lease. States with
//! an end (the grace period of a closed connection, a poll, a `POST /presence`) expire by themselves. One script
//! compares a user's state with the published state and publishes a change, so if several gateways notice the change,
//! only one of them publishes it.
//!
//! Users are distributed over 16 partitions (`<u>` = two digits), so that all keys of one script call are in one
//! cluster slot. In a cluster the tag is `{00}`, `{04}`, `{08}` and so on: that of every fourth partition of the log.
//! Then the keys of [`ExclusiveTask`] begin with `{00}:`, and each partition has a channel `{00}:presence`,
//! `{04}:presence` and so on.
//!
//! | key | type | content |
//! | --- | --- | --- |
//! | `{u<u>}:presence:user:<user>` | hash | states of a user, and the published state; deleted when the user is offline |
//! | `{u<u>}:presence:due` | sorted set | user → time when a state expires, or when the sweep publishes a change |
//! | `{u<u>}:presence:lives` | sorted set | node lease → time when the lease expires |
//! | `{u<u>}:presence:life:<lease>` | set | users with a state under this lease |
//! | `{u<u>}:presence:gone` | hash | user → time when last seen, until persistence has stored the time |
//! | `{u<u>}:presence:told` | stream | the last 500 changes, for nodes that missed them; expires after 60 s |
//! | `presence:sweeper`, `presence:writer` | strings | exist while a node has reserved an [`ExclusiveTask`] |
//! | `presence` | channel | changes of presence, see [`PresenceChange`] |
//! | `{p}:members:<room>` | string | the cached members of a small room, see [`members`] |
//!
//! The heads of the scripts (`presence/*.lua`) describe their arguments and answers.

mod changes;
mod keys;
mod lists;
pub mod members;
mod node_leases;
mod reader;
mod rooms;
mod scripts;
mod user_states;

use std::time::Duration;

pub use changes::{PresenceChange, changes_after};
pub use keys::{NodeLease, PARTITIONS, PresencePartition, channels, is_presence_channel};
pub use lists::{list_for_viewer, states_by_user};
pub use node_leases::{
    ExclusiveTask, begin_lease, claim_task, clock_ms, due_users, end_lease, expired_leases, postpone_users,
    remove_stored_last_seen, renew_lease, unstored_last_seen, users_of_expired_lease,
};
pub use reader::PresenceReader;
pub use rooms::{CachedRooms, cached_rooms, retain_small_rooms};
pub use user_states::{
    HoldKind, NodeState, PresenceState, WriteOutcome, hold_states, publish_states, remove_states, states,
    write_states,
};

use crate::protocol::Status;

/// Maximum number of members of a small room. Presence is not sent to larger rooms, to limit the number of frames.
pub const MAX_SMALL_ROOM_MEMBERS: usize = 100;
/// Maximum number of a user's rooms to which a change of the user's presence is sent.
pub const MAX_NOTIFIED_ROOMS: usize = 200;
/// Interval between two renewals of a node lease. A lease lasts three times as long (`combine.lua`).
pub const RENEW_EVERY: Duration = Duration::from_secs(5);
/// How long a user who uses the long poll stays online after the last answer.
pub const POLL_HOLD: Duration = Duration::from_secs(30);
/// How long a state that was set by `POST /presence` is valid.
pub const HTTP_HOLD: Duration = Duration::from_secs(60);

/// The letter by which Redis holds a status; empty for offline (`None`).
fn letter_of_status(status: Option<Status>) -> &'static str {
    match status {
        None => "",
        Some(Status::Away) => "a",
        Some(Status::Online) => "o",
    }
}

fn status_of_letter(letter: &str) -> Option<Status> {
    match letter {
        "a" => Some(Status::Away),
        "o" => Some(Status::Online),
        _ => None,
    }
}

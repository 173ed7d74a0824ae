//! Presence: one state for each user over all connections and nodes, kept in Redis while the user is not offline.
//!
//! A gateway writes the states of its users under its *node lease* (`life` in the names of keys). A lease that is not
//! renewed expires and is never renewed again; any gateway then removes the states under it. States with an end (the
//! grace period of a closed connection, a poll, a `POST /presence`) expire by themselves. One script changes the
//! published state of a user and publishes it, so only one of several gateways that notice a change publishes it.
//!
//! Users are distributed over 16 partitions (`u` = two digits), so that all keys of one script call are in one cluster
//! slot.
//!
//! | key | type | what |
//! | --- | --- | --- |
//! | `{u<u>}:presence:user:<user>` | hash | states of a user, and the published state; deleted when the user is offline |
//! | `{u<u>}:presence:due` | sorted set | user → when a state expires, or a change must be published |
//! | `{u<u>}:presence:lives` | sorted set | node lease → when it expires |
//! | `{u<u>}:presence:life:<lease>` | set | users with a state under this lease |
//! | `{u<u>}:presence:gone` | hash | user → when last seen, until persistence has stored it |
//! | `{u<u>}:presence:told` | stream | the last 500 changes, for nodes that missed them; expires a minute after the last |
//! | `presence:sweeper`, `presence:writer` | strings | exist while a node runs the sweep, or stores when users were last seen |
//! | `presence` | channel | changes: see [`PresenceChange`] |
//! | `{p}:members:<room>` | string | members of a small room, see [`members`] |
//!
//! The heads of the scripts (`presence/*.lua`) describe their arguments and answers.

mod changes;
mod keys;
pub mod members;
mod node_leases;
mod people;
mod rooms;
mod scripts;

use std::time::Duration;

pub use changes::{PresenceChange, changes_after};
pub use keys::{NodeLease, PARTITIONS, PresencePartition};
pub use node_leases::{
    ExclusiveTask, begin, claim, claim_task, due_users, end, expired_leases, last_seen_stored, postpone,
    renew, unstored_last_seen,
};
pub use people::{HoldKind, State, StateChange, WriteOutcome, hold, publish, put, reap, states};
pub use rooms::{CachedRooms, cached_rooms, retain_small_rooms};

use crate::protocol::Status;

/// The channel of all changes.
pub const CHANNEL: &str = "presence";
/// Most members of a room that receives presence; in larger rooms presence would cost too many frames.
pub const MAX_SMALL_ROOM_MEMBERS: usize = 100;
/// Most rooms of a user that receive a change.
pub const MAX_NOTIFIED_ROOMS: usize = 200;
/// Interval between two renewals of a node lease; the lease is three times as long (`weigh.lua`).
pub const RENEW_EVERY: Duration = Duration::from_secs(5);
/// How long a user who polls stays online after the last answer.
pub const POLL_HOLD: Duration = Duration::from_secs(30);
/// How long the state of a `POST /presence` is valid.
pub const HTTP_HOLD: Duration = Duration::from_secs(60);

/// The letter of a status in Redis.
fn letter(status: Option<Status>) -> &'static str {
    match status {
        None => "",
        Some(Status::Away) => "a",
        Some(Status::Online) => "o",
    }
}

fn of_letter(letter: &str) -> Option<Status> {
    match letter {
        "a" => Some(Status::Away),
        "o" => Some(Status::Online),
        _ => None,
    }
}

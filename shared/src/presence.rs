//! Who is here: one state for each user over all connections and nodes, kept in Redis for as long as they are here.
//!
//! A gateway tells what it holds of a user under the name of one *life*: from one beginning of its lease to the end
//! of it. A life that is not renewed is over, never comes back, and what it held is reaped by any gateway. What holds
//! for a time only (the grace of a closed connection, a poll, a `POST /presence`) is found by its end.
//! What is told of a user changes in one script, which publishes it, so that one of many who see it does.
//!
//! Users are shared out over 16 partitions (`u` = two digits): all that a script touches lies in one cluster slot.
//!
//! | key | type | what |
//! | --- | --- | --- |
//! | `{u<u>}:presence:user:<user>` | hash | what is held of a user, and what was told last; gone with them |
//! | `{u<u>}:presence:due` | sorted set | user → when something of theirs runs out or is to be told |
//! | `{u<u>}:presence:lives` | sorted set | life → end of its lease |
//! | `{u<u>}:presence:life:<life>` | set | users that a life holds |
//! | `{u<u>}:presence:gone` | hash | user → when they were seen last, until persistence has written it down |
//! | `{u<u>}:presence:told` | stream | the last 500 changes, gone a minute after the last: for those who did not hear them |
//! | `presence:sweeper`, `presence:writer` | strings | there while somebody sweeps, or writes down who went |
//! | `presence` | channel | what is to be told: see [`Told`] |
//! | `{p}:members:<room>` | string | members of a small room, see [`members`] |
//!
//! The scripts tell what they take and answer at their heads (`presence/*.lua`).

mod keys;
mod lives;
pub mod members;
mod people;
mod rooms;
mod scripts;
mod told;

use std::time::Duration;

pub use keys::{PARTITIONS, Partition};
pub use lives::{Life, Turn, begin, claim, drained, dues, end, gone, lapsed, put_off, renew, turn};
pub use people::{Hold, Put, PutOutcome, State, hold, put, reap, states, tell};
pub use rooms::{CachedRooms, cached_rooms, small};
pub use told::{Told, missed};

use crate::protocol::Status;

/// The channel of everything that is told.
pub const CHANNEL: &str = "presence";
/// Presence is told in rooms of up to this many members: in larger ones it would cost more than it is worth.
pub const SMALL_ROOM: usize = 100;
/// Rooms of a user that are looked at when something is to be told; whoever has more is told in these.
pub const ROOMS_LOOKED_AT: usize = 200;
/// Between two renewals of a lease, which is three times as long (`weigh.lua`).
pub const RENEW_EVERY: Duration = Duration::from_secs(5);
/// How long a poller is here after their last answer.
pub const POLL_HOLD: Duration = Duration::from_secs(30);
/// How long `POST /presence` holds.
pub const HTTP_HOLD: Duration = Duration::from_secs(60);

/// Of two states of the same person the one that counts; `None` is offline.
#[must_use]
pub fn higher(one: Option<Status>, other: Option<Status>) -> Option<Status> {
    if rank(one) >= rank(other) { one } else { other }
}

/// Offline, away, online: in this order.
#[must_use]
pub fn rank(status: Option<Status>) -> u8 {
    match status {
        None => 0,
        Some(Status::Away) => 1,
        Some(Status::Online) => 2,
    }
}

/// The letter that stands for a status in Redis.
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

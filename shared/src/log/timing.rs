//! The round trips to Redis whose durations are reported.

use std::time::Duration;

use crate::named_enum::named_enum;

named_enum! {
    /// The purpose of a round trip; its name is the value of the metric label `step`.
    pub enum RoundTrip {
        /// Appends one event to a room's log.
        Append = "append",
        /// Reads head, marks and tail of a room.
        Read = "read",
        /// Reads the heads of many rooms.
        Heads = "heads",
        /// Moves read and delivered marks.
        Mark = "mark",
        /// Publishes live-only frames.
        Live = "live",
        /// Checks the connection.
        Ping = "ping",
        /// Subscribes to a channel, until it is confirmed.
        Subscribe = "subscribe",
        /// Reads accounts, memberships and their versions.
        People = "people",
        /// Reads or writes presence.
        Presence = "presence",
    }
}

/// Called after each round trip, on the thread that made it.
pub(super) type Timings = Box<dyn Fn(RoundTrip, Duration) + Send + Sync>;

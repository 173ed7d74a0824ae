//! The purposes of round trips to Redis, whose durations are reported as metrics.

use std::time::Duration;

use crate::named_enum::named_enum;

named_enum! {
    /// The purpose of a round trip to Redis. Its name is the value of the metric label `step`.
    pub enum RoundTrip {
        /// Appends events to rooms' logs.
        Append = "append",
        /// Reads head, membership marks and tail of a room.
        Read = "read",
        /// Reads the heads of many rooms.
        Heads = "heads",
        /// Moves read and delivered marks of a room's members.
        Mark = "mark",
        /// Publishes live-only frames, such as typing.
        Live = "live",
        /// Checks the connection with PING.
        Ping = "ping",
        /// Subscribes to channels, and waits for the confirmation.
        Subscribe = "subscribe",
        /// Reads accounts, memberships and their versions.
        People = "people",
        /// Reads or writes presence.
        Presence = "presence",
        /// Reads or writes the address of a gateway.
        Nodes = "nodes",
    }
}

/// A function that is called with the duration of each round trip, on the thread that made the round trip.
pub(super) type TimingObserver = Box<dyn Fn(RoundTrip, Duration) + Send + Sync>;

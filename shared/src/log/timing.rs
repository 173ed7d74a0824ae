//! The round trips to Redis whose durations are reported.

use std::time::Duration;

/// The purpose of a round trip.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Appends one event to a room's log.
    Append,
    /// Reads head, marks and tail of a room.
    Read,
    /// Reads the heads of many rooms.
    Heads,
    /// Moves read and delivered marks.
    Mark,
    /// Publishes live-only frames.
    Live,
    /// Checks the connection.
    Ping,
    /// Subscribes to a channel, until it is confirmed.
    Subscribe,
    /// Reads accounts, memberships and their versions.
    People,
    /// Reads or writes presence.
    Presence,
}

impl Step {
    /// All steps, in the order of the enum.
    pub const ALL: [Self; 9] = [
        Self::Append,
        Self::Read,
        Self::Heads,
        Self::Mark,
        Self::Live,
        Self::Ping,
        Self::Subscribe,
        Self::People,
        Self::Presence,
    ];

    /// The value of the metric label `step`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Append => "append",
            Self::Read => "read",
            Self::Heads => "heads",
            Self::Mark => "mark",
            Self::Live => "live",
            Self::Ping => "ping",
            Self::Subscribe => "subscribe",
            Self::People => "people",
            Self::Presence => "presence",
        }
    }
}

/// Called after each round trip, on the thread that made it.
pub(super) type Timings = Box<dyn Fn(Step, Duration) + Send + Sync>;

//! How long round trips to Redis take, told to whoever wants to know. Who does not pays nothing for it.

use std::time::{Duration, Instant};

use super::commands::Log;

/// What a round trip is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// One event into a room's log.
    Append,
    /// Head, marks and tail of a room.
    Read,
    /// Heads of many rooms.
    Heads,
    /// Read and delivered marks.
    Mark,
    /// Frames that are neither stored nor replayed.
    Live,
    /// Whether Redis is there.
    Ping,
    /// A channel, until it is confirmed.
    Subscribe,
    /// Accounts, memberships and their versions.
    People,
    /// Who is here.
    Presence,
}

impl Step {
    /// All of them, in order.
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

/// Is told of each round trip, from whichever thread made it.
pub(super) type Timings = Box<dyn Fn(Step, Duration) + Send + Sync>;

impl Log {
    /// Has each round trip told from now on. Counts once.
    pub fn tell_timings(&self, told: impl Fn(Step, Duration) + Send + Sync + 'static) {
        let _ = self.timings.set(Box::new(told));
    }

    /// Waits for a round trip, and tells how long it took, however it ended.
    pub async fn timed<T>(&self, step: Step, trip: impl Future<Output = T>) -> T {
        let Some(tell) = self.timings.get() else { return trip.await };
        let begun = Instant::now();
        let answer = trip.await;
        tell(step, begun.elapsed());
        answer
    }
}

//! The questions that are asked, each answered by one [`crate::results::Scenario`].

pub mod cold_join;
pub mod cost;
pub mod fanout;
pub mod history;
pub mod idle;
pub mod latency;
pub mod mixed;
pub mod slow;
pub mod small_rooms;
pub mod stored;
pub mod storm;
pub mod telemetry;
pub mod world;

/// How much is to be done.
#[derive(Debug, Clone, Copy)]
pub struct Scale {
    /// Small sizes, to see that all of it works; its figures mean nothing.
    pub quick: bool,
    /// How often each figure is measured.
    pub samples: usize,
}

impl Scale {
    /// How often a figure is measured that takes long and varies little, or is there for comparison only.
    #[must_use]
    pub fn few(&self) -> usize {
        self.samples.min(3)
    }

    /// The full number, or with [`quick`](Self::quick) the small one.
    #[must_use]
    pub fn or<T>(&self, full: T, quick: T) -> T {
        if self.quick { quick } else { full }
    }
}

//! The scenarios; each returns one [`crate::results::Scenario`].

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
pub mod subject;
pub mod telemetry;
pub mod world;

/// The scale of a run.
#[derive(Debug, Clone, Copy)]
pub struct Scale {
    /// Small sizes, to check that everything works; the figures mean nothing.
    pub quick: bool,
    /// How often each figure is measured.
    pub samples: usize,
}

impl Scale {
    /// Number of samples for a figure that takes long and varies little, or is only for comparison.
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

//! The scenarios. Each one returns a [`crate::results::Scenario`].

mod blocks;
pub mod cold_join;
pub mod cost;
pub mod fanout;
pub mod feed;
pub mod history;
pub mod idle;
pub mod latency;
pub mod mixed;
pub mod neighbours;
pub mod restart;
pub mod search;
pub mod shards;
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
    /// Whether sizes are small, to check that everything works. The figures then mean nothing.
    pub quick: bool,
    /// How often each figure is measured.
    pub samples: usize,
    /// Sizes from the command line.
    pub sizes: Sizes,
}

/// Sizes of `storm --tails`, `neighbours` and `restart`. A scenario has a default for each size.
#[derive(Debug, Clone, Copy, Default, clap::Args)]
pub struct Sizes {
    /// storm --tails: clients that reconnect; neighbours: members of the hot room, and pollers; restart: clients.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
    pub clients: Option<u32>,
    /// storm --tails: rooms with full tails; neighbours: quiet rooms; restart: rooms of each client.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
    pub rooms: Option<u32>,
    /// storm --tails: messages per second of the other clients; neighbours: messages per second in the hot room.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
    pub rate: Option<u32>,
    /// neighbours: parallel searches.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
    pub searches: Option<u32>,
    /// neighbours: how long each part lasts.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
    pub seconds: Option<u32>,
}

impl Scale {
    /// Number of samples for other servers, and for figures that take long to measure and vary little: at most 3.
    #[must_use]
    pub fn few_samples(&self) -> usize {
        self.samples.min(3)
    }

    /// Returns `quick` in a [`quick`](Self::quick) run, otherwise `full`.
    #[must_use]
    pub fn choose<T>(&self, full: T, quick: T) -> T {
        if self.quick { quick } else { full }
    }
}

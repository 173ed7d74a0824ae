//! The guard of the hot paths: compares the instructions of a delivery, a send, a handshake and a stored message with
//! the expected numbers. It counts instructions and not time, because time varies on a shared machine
//! (docs/decisions/0020-instruction-counts.md).

use std::path::{Path, PathBuf};

use anyhow::Result;

pub mod bounds;
pub mod callgrind;
mod gateway;
mod persistence;
mod system;

/// A counted operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Count {
    Delivery,
    Send,
    Handshake,
    Stored,
    Page,
}

impl Count {
    /// All counts, in the order of their file.
    pub const ALL: [Count; 5] = [Count::Delivery, Count::Send, Count::Handshake, Count::Stored, Count::Page];

    /// Its name in the file.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Count::Delivery => "gateway: a delivery",
            Count::Send => "gateway: a send, stored",
            Count::Handshake => "gateway: a handshake and a join",
            Count::Stored => "persistence: a message stored",
            Count::Page => "persistence: a page of history",
        }
    }

    /// Runs a system for it and counts.
    ///
    /// # Errors
    /// When the system fails, or counting fails.
    pub async fn take(self, options: &CountOptions) -> Result<u64> {
        match self {
            Count::Delivery => gateway::deliveries(options).await,
            Count::Send => gateway::sends(options).await,
            Count::Handshake => gateway::handshakes(options).await,
            Count::Stored => persistence::stored(options).await,
            Count::Page => persistence::pages(options).await,
        }
    }
}

/// Options of counting.
#[derive(Debug, Clone)]
pub struct CountOptions {
    /// The folder for files of counts.
    pub folder: PathBuf,
    /// The share of messages that are traced and exported; `None`: there is no collector.
    pub trace_ratio: Option<f64>,
}

/// The file with the expected numbers of this repository.
#[must_use]
pub fn bounds_file() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("guard.json")
}

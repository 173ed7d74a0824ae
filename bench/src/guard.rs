//! A guard of the hot paths: how many instructions a delivery, a send, a handshake and a stored message take, against
//! what is expected of them. Instructions and not time, which on a shared machine is another each time
//! (docs/decisions/0020-instruction-counts.md).

use std::path::{Path, PathBuf};

use anyhow::Result;

pub mod bounds;
pub mod callgrind;
mod gateway;
mod persistence;
mod system;

/// What is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Count {
    Delivery,
    Send,
    Handshake,
    Stored,
    Page,
}

impl Count {
    /// All of them, in the order of their file.
    pub const ALL: [Count; 5] = [Count::Delivery, Count::Send, Count::Handshake, Count::Stored, Count::Page];

    /// What its expectation is filed under.
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
    /// When the system does not do what it is asked for, or cannot be counted.
    pub async fn take(self, manner: &Manner) -> Result<u64> {
        match self {
            Count::Delivery => gateway::deliveries(manner).await,
            Count::Send => gateway::sends(manner).await,
            Count::Handshake => gateway::handshakes(manner).await,
            Count::Stored => persistence::stored(manner).await,
            Count::Page => persistence::pages(manner).await,
        }
    }
}

/// How it is counted.
#[derive(Debug, Clone)]
pub struct Manner {
    /// Where files of counts go.
    pub folder: PathBuf,
    /// The share of messages that are traced, and told to a collector; `None`: there is none.
    pub trace_ratio: Option<f64>,
}

/// Where the expectations of this repository are.
#[must_use]
pub fn bounds_file() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("guard.json")
}

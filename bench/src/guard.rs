//! The guard of the hot paths: compares the instructions of a delivery, a send, a handshake, a stored message and a
//! history page with the expected numbers. It counts instructions and not time, because time varies on a shared machine
//! (docs/decisions/0020-instruction-counts.md).

use std::path::{Path, PathBuf};

use anyhow::Result;

pub mod append_partitions;
pub mod bounds;
pub mod callgrind;
mod gateway;
mod persistence;
mod system;

/// An operation whose instructions are counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CountedOperation {
    Delivery,
    Send,
    Handshake,
    StoredMessage,
    HistoryPage,
}

impl CountedOperation {
    /// All operations, in the order of `bench/guard.json`.
    pub const ALL: [CountedOperation; 5] = [
        CountedOperation::Delivery,
        CountedOperation::Send,
        CountedOperation::Handshake,
        CountedOperation::StoredMessage,
        CountedOperation::HistoryPage,
    ];

    /// The name of the operation in `bench/guard.json`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            CountedOperation::Delivery => "gateway: a delivery",
            CountedOperation::Send => "gateway: a send, stored",
            CountedOperation::Handshake => "gateway: a handshake and a join",
            CountedOperation::StoredMessage => "persistence: a message stored",
            CountedOperation::HistoryPage => "persistence: a page of history",
        }
    }

    /// Starts a system, runs the operation, and returns the instructions per operation.
    ///
    /// # Errors
    /// When the system fails, or counting fails.
    pub async fn measure(self, options: &CountOptions) -> Result<u64> {
        match self {
            CountedOperation::Delivery => gateway::instructions_per_delivery(options).await,
            CountedOperation::Send => gateway::instructions_per_send(options).await,
            CountedOperation::Handshake => gateway::instructions_per_handshake(options).await,
            CountedOperation::StoredMessage => persistence::instructions_per_stored_message(options).await,
            CountedOperation::HistoryPage => persistence::instructions_per_page(options).await,
        }
    }
}

/// Options of counting.
#[derive(Debug, Clone)]
pub struct CountOptions {
    /// The folder for the output files of callgrind.
    pub folder: PathBuf,
    /// The share of messages that are traced and exported. With `None` tracing is off.
    pub trace_ratio: Option<f64>,
}

/// The path of `bench/guard.json`, the file with the expected numbers.
#[must_use]
pub fn bounds_file() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("guard.json")
}

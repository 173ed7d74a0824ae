//! What one listener has received in a room at the end of a run, in the same form for every client. Pure.

use std::sync::Arc;

use crate::recorder::{Received, Recorder, Violations};

/// The messages and the position of one listener in one room.
#[derive(Debug, Clone, Default)]
pub struct RoomView {
    /// The messages without voids, in the order of arrival.
    pub messages: Vec<Arc<Received>>,
    /// All messages above this seq, up to the cursor, must be present. `None` requires none.
    pub start: Option<u64>,
    /// The seq of the listener's cursor.
    pub cursor: Option<u64>,
    /// Violations of the protocol by the server.
    pub violations: Violations,
}

impl From<&Recorder> for RoomView {
    fn from(recorder: &Recorder) -> RoomView {
        RoomView {
            messages: recorder.messages().cloned().collect(),
            start: recorder.start(),
            cursor: recorder.cursor().map(|cursor| cursor.seq),
            violations: recorder.violations().clone(),
        }
    }
}

//! One listener's view of a room at the end, whichever client it used; this is compared. Pure.

use std::sync::Arc;

use crate::recorder::{Received, Recorder, Violations};

/// See the module.
#[derive(Debug, Clone, Default)]
pub struct Heard {
    /// The messages without voids, in the order of arrival.
    pub messages: Vec<Arc<Received>>,
    /// Everything above this seq, up to the cursor, must be present; `None`: nothing is required.
    pub start: Option<u64>,
    /// Its position.
    pub cursor: Option<u64>,
    /// Violations of the server.
    pub violations: Violations,
}

impl From<&Recorder> for Heard {
    fn from(recorder: &Recorder) -> Heard {
        Heard {
            messages: recorder.messages().cloned().collect(),
            start: recorder.start(),
            cursor: recorder.cursor().map(|cursor| cursor.seq),
            violations: recorder.violations().clone(),
        }
    }
}

//! What one listener holds of a room in the end, whichever client it spoke through: what is compared. Pure.

use std::sync::Arc;

use crate::recorder::{Received, Recorder, Violations};

/// See the module.
#[derive(Debug, Clone, Default)]
pub struct Heard {
    /// The messages that count, in the order in which they came.
    pub messages: Vec<Arc<Received>>,
    /// Everything above this seq, up to the cursor, must be held; `None`: it never came so far.
    pub start: Option<u64>,
    /// How far it has come.
    pub cursor: Option<u64>,
    /// What was done that may not be done.
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

//! How far an accepted event has come: what its sender is answered, whichever way the command came.

use std::time::Duration;

use super::{
    append::{Accepted, AppendError},
    commands::Log,
    stored::Stored,
};
use crate::{
    error::Refusal,
    ids::RoomId,
    message::AckStage,
    sabotage::{self, Sabotage},
};

/// What became of a client id's first event is known at once, or is not waited for by who asks for `accepted`.
const KNOWN_WITHIN: Duration = Duration::from_millis(250);

impl Accepted {
    /// Whether a sender who asks for this stage can be answered without waiting.
    #[must_use]
    pub fn answers(&self, wanted: AckStage) -> bool {
        wanted == AckStage::Accepted && !self.duplicate && self.ingest.is_some()
    }
}

impl Log {
    /// Waits as far as the sender wants to, and tells where the event stands and how safe it is. What became of an
    /// earlier one of the same client id is told to whoever asks for `accepted` too, when it is known.
    ///
    /// # Errors
    /// `bad_request` with reason `rejected` when it could not be written, `unavailable` when it is not known to be
    /// stored in time.
    pub async fn reach(
        &self,
        room: &RoomId,
        wanted: AckStage,
        mut accepted: Accepted,
    ) -> Result<(Accepted, AckStage), Refusal> {
        if sabotage::is(Sabotage::Stored) {
            return Ok((accepted, AckStage::Stored));
        }
        if accepted.answers(wanted) {
            return Ok((accepted, AckStage::Accepted));
        }
        let waits = wanted == AckStage::Stored || accepted.ingest.is_none();
        let stored = if waits {
            self.wait_stored(room, &accepted).await
        } else {
            let known = tokio::time::timeout(KNOWN_WITHIN, self.wait_stored(room, &accepted)).await;
            known.unwrap_or(Stored::Unavailable)
        };
        match stored {
            Stored::Here => {}
            Stored::First { seq, id, at_ms } => {
                accepted = Accepted { seq, id, at_ms, duplicate: true, ..accepted };
            }
            Stored::Rejected => return Err(AppendError::Rejected.into()),
            Stored::Unavailable if !waits => return Ok((accepted, AckStage::Accepted)),
            Stored::Unavailable => {
                let rule = "accepted, but not known to be stored; repeat with the same client_id";
                return Err(Refusal::unavailable(rule));
            }
        }
        Ok((accepted, AckStage::Stored))
    }
}

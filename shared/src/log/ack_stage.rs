//! Waits until an accepted event has reached the ack stage that its sender wants. Frames and HTTP requests share this
//! code.

use std::time::Duration;

use super::{
    append::{Accepted, AppendError},
    commands::Log,
    stored::Stored,
};
use crate::{error::Refusal, ids::RoomId, message::AckStage};

/// How long a sender who wants `accepted` waits for the outcome of an earlier event with the same client id.
const DUPLICATE_OUTCOME_TIMEOUT: Duration = Duration::from_millis(250);

impl Accepted {
    /// Whether a sender who wants this ack stage can be answered at once, without waiting for PostgreSQL.
    pub fn may_ack_at_once(&self, wanted: AckStage) -> bool {
        wanted == AckStage::Accepted && !self.duplicate && self.ingest.is_some()
    }

    /// Returns the event that PostgreSQL stores. For a late duplicate this is the first event with the same client id.
    /// Refuses if the event was rejected, or if it is unknown whether the event is stored.
    pub fn as_stored(self, stored: Stored) -> Result<Self, Refusal> {
        match stored {
            Stored::AsAccepted => Ok(self),
            Stored::First { seq, id, at_ms } => Ok(Self { seq, id, at_ms, duplicate: true, ..self }),
            Stored::Rejected => Err(AppendError::Rejected.into()),
            Stored::Unavailable => Err(Refusal::unavailable(
                "accepted, but not known to be stored; repeat with the same client_id",
            )),
        }
    }
}

impl Log {
    /// Waits until the event has reached the wanted ack stage. Returns the event, and the stage that it has reached. A
    /// duplicate whose sender wants only `accepted` waits up to 250 ms for the outcome of the first event. Refuses with
    /// reason `rejected` if the event could not be stored, and with `unavailable` if the service does not know in time
    /// whether the event is stored.
    pub async fn wait_for_stage(
        &self,
        room: &RoomId,
        wanted: AckStage,
        accepted: Accepted,
    ) -> Result<(Accepted, AckStage), Refusal> {
        if accepted.may_ack_at_once(wanted) {
            return Ok((accepted, AckStage::Accepted));
        }
        let must_be_stored = wanted == AckStage::Stored || accepted.ingest.is_none();
        let stored = if must_be_stored {
            self.wait_stored(room, &accepted).await
        } else {
            let outcome =
                tokio::time::timeout(DUPLICATE_OUTCOME_TIMEOUT, self.wait_stored(room, &accepted)).await;
            outcome.unwrap_or(Stored::Unavailable)
        };
        if !must_be_stored && stored == Stored::Unavailable {
            return Ok((accepted, AckStage::Accepted));
        }
        Ok((accepted.as_stored(stored)?, AckStage::Stored))
    }
}

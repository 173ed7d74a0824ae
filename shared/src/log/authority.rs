//! What the log needs of PostgreSQL: gateways ask persistence over its internal listener, persistence asks itself.

use std::time::Duration;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::target::Target;
use crate::ids::{ClientId, Epoch, RoomId, Seq, UserId};

/// The epoch that a Redis process was given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OpenedEpoch {
    pub epoch: Epoch,
    /// How long ago, so that nobody compares clocks.
    pub age: Duration,
}

/// What became of a room that was to be seeded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SeedOutcome {
    Seeded,
    NoSuchRoom,
    /// Its partition is held by another just now: ask again.
    Later,
}

/// A client id that PostgreSQL knows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Known {
    /// The message stands at `seq`.
    Stored { seq: Seq, id: String, at_ms: i64 },
    /// It was accepted once and could not be written.
    Rejected,
}

/// How far some users have come in a room, as far as it is stored.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredMarks {
    /// The room's stored head.
    pub head: Seq,
    /// Read and delivered marks, in the order of the users; `None`: not a member.
    pub marks: Vec<Option<(Seq, Seq)>>,
}

/// Why PostgreSQL's side did not answer.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum AuthorityError {
    /// Out of reach, or too slow: try again later.
    #[error("persistence is unavailable: {0}")]
    Unavailable(String),
    /// Persistence reaches another Redis process than the one asked for: which of the two is in use is not known here.
    #[error("persistence reaches another Redis process")]
    OtherProcess,
    /// The epoch asked for is not the one in use (any more): open it again.
    #[error("the epoch is past")]
    PastEpoch,
}

/// PostgreSQL's say in the log.
#[async_trait]
pub trait Authority: Send + Sync + 'static {
    /// The epoch of the Redis process `run_id`; a new one when it is not the process opened last.
    async fn open_epoch(&self, run_id: &str) -> Result<OpenedEpoch, AuthorityError>;

    /// Writes the heads of rooms into Redis, for an epoch that is open; one outcome per room, in order.
    async fn seed(&self, epoch: Epoch, rooms: &[RoomId]) -> Result<Vec<SeedOutcome>, AuthorityError>;

    /// Whether this sender used this client id in this room before.
    async fn look_up(
        &self,
        room: &RoomId,
        sender: &UserId,
        client_id: &ClientId,
    ) -> Result<Option<Known>, AuthorityError>;

    /// How far users have come in a room.
    async fn marks(&self, room: &RoomId, users: &[UserId]) -> Result<StoredMarks, AuthorityError>;

    /// The message at a place that is at or below the room's head. Waits a while when the place is not yet stored.
    async fn target(&self, room: &RoomId, seq: Seq) -> Result<Option<Target>, AuthorityError>;
}

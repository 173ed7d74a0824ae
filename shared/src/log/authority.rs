//! What the log needs from PostgreSQL. Gateways ask the internal listener of persistence; persistence itself asks its
//! database.

use std::time::Duration;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::{
    ids::{ClientId, Epoch, RoomId, Seq, UserId},
    message::Target,
};

/// The epoch of a Redis process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OpenedEpoch {
    pub epoch: Epoch,
    /// How long ago the epoch was opened; a duration, so that clocks of two machines are not compared.
    pub age: Duration,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SeedOutcome {
    Seeded,
    NoSuchRoom,
    /// Another transaction has locked the room's partition: ask again.
    Later,
}

/// A client id that PostgreSQL knows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum KnownClientId {
    /// The message is stored at `seq`.
    Stored { seq: Seq, id: String, at_ms: i64 },
    /// The message was accepted once, but could not be stored.
    Rejected,
}

/// The stored read and delivered marks of some users in a room.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredMarks {
    /// The room's stored head.
    pub head: Seq,
    /// The read and the delivered mark of each user, in the order of the users; `None`: not a member.
    pub marks: Vec<Option<(Seq, Seq)>>,
}

#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum AuthorityError {
    /// The authority is not reachable, or too slow: try again later.
    #[error("persistence is unavailable: {0}")]
    Unavailable(String),
    /// Persistence is connected to another Redis process than the caller. It is not known which of the two processes is
    /// in use.
    #[error("persistence reaches another Redis process")]
    OtherProcess,
    /// The requested epoch is not in use (any more): open the epoch again.
    #[error("the epoch has ended")]
    EpochEnded,
}

/// The decisions about the log that only PostgreSQL can make.
#[async_trait]
pub trait Authority: Send + Sync + 'static {
    /// The epoch of the Redis process `run_id`; a new epoch if this is not the process that was opened last.
    async fn open_epoch(&self, run_id: &str) -> Result<OpenedEpoch, AuthorityError>;

    /// Writes the heads of rooms into Redis, for an epoch that is open; one outcome per room, in order.
    async fn seed(&self, epoch: Epoch, rooms: &[RoomId]) -> Result<Vec<SeedOutcome>, AuthorityError>;

    /// Whether this sender used this client id in this room before.
    async fn look_up(
        &self,
        room: &RoomId,
        sender: &UserId,
        client_id: &ClientId,
    ) -> Result<Option<KnownClientId>, AuthorityError>;

    /// The read and delivered marks of users in a room.
    async fn marks(&self, room: &RoomId, users: &[UserId]) -> Result<StoredMarks, AuthorityError>;

    /// The message at a position at or below the room's head. Waits for a while if this position is not stored yet.
    async fn target(&self, room: &RoomId, seq: Seq) -> Result<Option<Target>, AuthorityError>;
}

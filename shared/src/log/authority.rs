//! The questions of the room log that only PostgreSQL can answer. A gateway sends them to the internal listener of
//! persistence. Persistence itself asks its database.

use std::time::Duration;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::keys::Partition;
use crate::{
    ids::{ClientId, Epoch, RoomId, Seq, UserId},
    message::Target,
};

/// An epoch (one lifetime of the data of some partitions in Redis) that PostgreSQL has opened for a Redis process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OpenedEpoch {
    pub epoch: Epoch,
    /// Time since the epoch was opened. It is a duration and not a point in time, because the clocks of two machines
    /// may differ.
    pub age: Duration,
}

/// The result of seeding one room, which is writing its head into Redis for the present epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SeedOutcome {
    Seeded,
    NoSuchRoom,
    /// The room cannot be seeded yet, e.g. because its partition is locked; the caller must ask again.
    Later,
}

/// The stored outcome of a message with a given room, sender and client id.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum KnownClientId {
    /// The message is stored at `seq`.
    Stored { seq: Seq, id: String, at_ms: i64 },
    /// The message was accepted once, but could not be stored.
    Rejected,
}

/// The read and delivered marks of some users in a room, as they are stored in PostgreSQL.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredMarks {
    /// The last seq of the room that is stored in PostgreSQL.
    pub head: Seq,
    /// The read and the delivered mark of each user, in the order of the users, or `None` if the user is not a member.
    pub marks: Vec<Option<(Seq, Seq)>>,
}

/// Why a question to persistence has no answer.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum AuthorityError {
    /// Persistence is not reachable, or too slow; the caller may try again later.
    #[error("persistence is unavailable: {0}")]
    Unavailable(String),
    /// Persistence is connected to another Redis process than the caller, and it is unknown which of the two is in use.
    /// Or PostgreSQL has lost commits: its newest epoch is earlier than that of the process.
    #[error(
        "persistence opens no epoch for this Redis process: persistence is connected to another one, or PostgreSQL has lost commits"
    )]
    OtherProcess,
    /// The requested epoch is not in use; the caller must open an epoch again.
    #[error("the epoch has ended")]
    EpochEnded,
    /// PostgreSQL does not hold the requested event yet; the caller may ask again when more is stored.
    #[error("the event is not stored yet")]
    NotStored,
}

/// Persistence with its database, which opens epochs, seeds rooms and answers questions about stored data.
#[async_trait]
pub trait Authority: Send + Sync + 'static {
    /// Returns the epoch of each partition at the Redis process `run_id`, in any order. Opens one new epoch for all
    /// partitions whose epoch was opened last for another process, or before the process was last promoted, or whose
    /// data have left the process meanwhile. Leaves out the partitions that the process does not serve. No partition
    /// may be named twice.
    async fn open_epochs(
        &self,
        run_id: &str,
        partitions: &[Partition],
    ) -> Result<Vec<(Partition, OpenedEpoch)>, AuthorityError>;

    /// Writes the heads of rooms into Redis for the open epoch `epoch`. Returns one outcome per room, in their order.
    async fn seed(&self, epoch: Epoch, rooms: &[RoomId]) -> Result<Vec<SeedOutcome>, AuthorityError>;

    /// Returns the stored outcome of the message with this room, sender and client id, or `None` if PostgreSQL does not
    /// know the message.
    async fn look_up(
        &self,
        room: &RoomId,
        sender: &UserId,
        client_id: &ClientId,
    ) -> Result<Option<KnownClientId>, AuthorityError>;

    /// Returns the stored read and delivered marks of users in a room, in the order of the users.
    async fn marks(&self, room: &RoomId, users: &[UserId]) -> Result<StoredMarks, AuthorityError>;

    /// Returns the stored roles of users in a room, in the order of the users. The role of a user who is not a member is
    /// `None`.
    async fn roles(&self, room: &RoomId, users: &[UserId]) -> Result<Vec<Option<String>>, AuthorityError>;

    /// Returns the message at a seq that is not above the room's head, or `None` if the event there is not a message.
    /// Fails at once with [`AuthorityError::NotStored`] if the event is not stored yet.
    async fn target(&self, room: &RoomId, seq: Seq) -> Result<Option<Target>, AuthorityError>;
}

//! The result of writing a batch: what its COMMIT stored, or why nothing was written.

use std::collections::BTreeMap;
use std::time::SystemTime;

use sea_orm::DbErr;
use thiserror::Error;
use tidings_shared::{
    ids::{RoomId, Seq},
    log::keys::Partition,
};

use super::failure;
use crate::batch::{HeadAdvance, Hole, MembershipChange, RoomActivity};

/// A record that became a void. Written to Redis with the watermark, because its sender must be notified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exception {
    pub room: RoomId,
    pub seq: Seq,
    /// `<seq> <id> <at_ms>` of the first message with the same client id, or `rejected`.
    pub outcome: String,
}

/// What the COMMIT of a batch stored.
#[derive(Debug, Default)]
pub struct WrittenBatch {
    pub exceptions: Vec<Exception>,
    pub messages: usize,
    pub events: usize,
    pub voids: usize,
    pub dead_letters: usize,
    pub left_out: usize,
    /// When the messages were appended to the log, ms since 1970.
    pub appended_at_ms: Vec<u64>,
    pub heads: BTreeMap<RoomId, HeadAdvance>,
    /// For each partition the last event of the batch that an earlier batch stored.
    pub stored_before: BTreeMap<Partition, (RoomId, Seq)>,
    pub committing_at: Option<SystemTime>,
    /// Membership changes to announce. Contains changes that an earlier batch already stored, because this process or
    /// an earlier owner may have failed to announce them.
    pub memberships: Vec<StoredMembership>,
    /// The events that may concern users who have not joined the room.
    pub activity: Vec<RoomActivity>,
}

/// A stored membership change, with the data for its notice.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredMembership {
    pub change: MembershipChange,
    /// Kind and name of the room, if the change added a user who is still a member; otherwise None.
    pub room: Option<(String, Option<String>)>,
}

/// Why nothing of a batch was written.
#[derive(Debug, Error)]
pub enum WriteError {
    /// The rows of these partitions have another token or epoch than the batch claims.
    #[error("the rows of {} partitions are not as expected", .0.len())]
    Lost(Vec<Partition>),
    /// An earlier attempt, whose answer was lost, committed a batch with this number.
    #[error("the number of the batch is taken")]
    NumberTaken,
    /// PostgreSQL does not have the previous batch of this process any more.
    #[error("the number of the previous batch is missing")]
    PreviousMissing,
    #[error("{} would get a hole: its head is {}, and the next record is {}", .0.room, .0.head, .0.found)]
    Hole(Hole),
    /// A client id (or a seq) of the batch is already used. The next attempt must check the client ids.
    #[error("a client id is taken")]
    ClientIdTaken,
    /// PostgreSQL refused the data of a record in the batch, and would refuse it again.
    #[error("{}", failure::redacted_cause(.0))]
    Data(DbErr),
    /// Another failure, such as a time limit or unexpected stored data. One record of the batch may be the cause.
    #[error("{}", failure::redacted_cause(.0))]
    Stuck(DbErr),
    /// The database is unavailable. A retry may succeed.
    #[error("{}", failure::redacted_cause(.0))]
    Transient(DbErr),
}

impl From<DbErr> for WriteError {
    fn from(error: DbErr) -> Self {
        if failure::is_data_error(&error) {
            Self::Data(error)
        } else if failure::is_connection_error(&error) {
            Self::Transient(error)
        } else {
            Self::Stuck(error)
        }
    }
}

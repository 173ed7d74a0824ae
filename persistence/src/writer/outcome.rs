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
use crate::batch::{HeadAdvance, Hole, MembershipChange};

/// A record that became a void. Written with the watermark, so that its sender is notified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exception {
    pub room: RoomId,
    pub seq: Seq,
    /// `<seq> <id> <at_ms>` of the first message with the same client id, or `rejected`.
    pub outcome: String,
}

/// The result of a committed batch.
#[derive(Debug, Default)]
pub struct Written {
    pub exceptions: Vec<Exception>,
    pub messages: usize,
    pub events: usize,
    pub voids: usize,
    pub dead_letters: usize,
    pub left_out: usize,
    /// When the messages were appended to the log, ms since 1970.
    pub appended_at_ms: Vec<i64>,
    /// The moves of the rooms' heads.
    pub heads: BTreeMap<RoomId, HeadAdvance>,
    /// When the COMMIT was sent.
    pub committing_at: Option<SystemTime>,
    /// Changed memberships, including changes that an earlier batch stored.
    pub memberships: Vec<StoredMembership>,
}

/// A membership change that is stored, with what its notice needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredMembership {
    pub change: MembershipChange,
    /// Kind and name of the room; None unless the change added a user who is still a member.
    pub room: Option<(String, Option<String>)>,
}

/// Why nothing of a batch was written.
#[derive(Debug, Error)]
pub enum WriteError {
    #[error("the rows of {} partitions are not as expected", .0.len())]
    Lost(Vec<Partition>),
    #[error("{} would get a hole: its head is {}, and the next record is {}", .0.room, .0.head, .0.found)]
    Hole(Hole),
    /// A client id (or a seq) of the batch is already used. The next attempt must check the client ids.
    #[error("a client id is taken")]
    ClientIdTaken,
    /// PostgreSQL refused the data of a record in the batch, and would refuse it again.
    #[error("{}", failure::without_data(.0))]
    Data(DbErr),
    /// Another failure, such as a time limit or unexpected stored data. One record of the batch may be the cause.
    #[error("{}", failure::without_data(.0))]
    Stuck(DbErr),
    /// The database is unavailable. A retry may succeed.
    #[error("{}", failure::without_data(.0))]
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

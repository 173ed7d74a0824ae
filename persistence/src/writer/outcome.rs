//! What a batch led to: the result of its COMMIT, or why nothing was written.

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

/// A record that is not stored as its sender sent it: it became a void.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exception {
    pub room: RoomId,
    pub seq: Seq,
    /// `<first seq> <first id> <first at_ms>`, or `rejected`.
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
    /// How far heads moved.
    pub heads: BTreeMap<RoomId, HeadAdvance>,
    /// When the COMMIT began.
    pub committing_at: Option<SystemTime>,
    /// Changed memberships, including those of records that were stored before.
    pub memberships: Vec<StoredMembership>,
}

/// A stored change of a membership.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredMembership {
    pub change: MembershipChange,
    /// For an added member: kind and name of the room.
    pub room: Option<(String, Option<String>)>,
}

/// Why nothing was written.
#[derive(Debug, Error)]
pub enum WriteError {
    #[error("the rows of {} partitions are not as expected", .0.len())]
    Lost(Vec<Partition>),
    #[error("{} would get a hole: its head is {}, and the next record is {}", .0.room, .0.head, .0.found)]
    Hole(Hole),
    /// A client id (or a position) of the batch is taken. The client ids must be checked.
    #[error("a client id is taken")]
    Taken,
    /// A record of the batch is refused, and will be refused again.
    #[error("{}", failure::without_data(.0))]
    Data(DbErr),
    /// Another failure: a limit was hit, or stored data is not as expected. One record among many may be the cause.
    #[error("{}", failure::without_data(.0))]
    Stuck(DbErr),
    /// The database is unavailable: a retry may work.
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

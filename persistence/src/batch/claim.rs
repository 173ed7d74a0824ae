//! Leases of partitions, and the state of a partition's row that a batch must find.

use tidings_shared::{
    ids::Epoch,
    log::{IngestId, keys::Partition},
};

/// The right to write a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lease {
    pub partition: Partition,
    /// Fencing token: each change of owner increments it.
    pub token: i64,
}

/// The state that a batch must find in the partition's row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PartitionClaim {
    pub lease: Lease,
    pub epoch: Epoch,
    /// The last record of the partition that is stored: `last_id` of its row.
    pub committed: IngestId,
}

/// A partition's share of a batch: the expected state of its row, and its position afterwards.
#[derive(Debug, Clone, Copy)]
pub struct BatchClaim {
    pub expected: PartitionClaim,
    pub upto: IngestId,
}

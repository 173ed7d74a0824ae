//! Leases of partitions, and the state that a batch must find in the row of its partition.

use tidings_shared::{
    ids::Epoch,
    log::{IngestId, keys::Partition},
};

/// The right of this replica to write a partition for a limited time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lease {
    pub partition: Partition,
    /// The fencing token. It grows with each change of owner, so that writes of a former owner are refused.
    pub token: i64,
}

/// The state that a batch must find in the row of its partition. If the row differs, the batch is not written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PartitionClaim {
    pub lease: Lease,
    pub epoch: Epoch,
    /// The stream id of the last stored record of the partition: `last_id` of its row.
    pub committed: IngestId,
}

/// One partition of a batch: the expected state of its row, and the stream position after the batch.
#[derive(Debug, Clone, Copy)]
pub struct BatchClaim {
    pub expected: PartitionClaim,
    pub upto: IngestId,
}

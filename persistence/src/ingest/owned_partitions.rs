//! The table of the partitions that this replica owns, with the positions up to which each is read and committed. Pure.
//!
//! A partition is *unsettled* while its reading position is not decided: after its lease was taken, after its watermark
//! could not be written, and in a new epoch. Settling decides the position and starts a new *pass* of reading. Records
//! that an earlier pass read are discarded.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use tidings_shared::{
    ids::Epoch,
    log::{IngestId, keys::Partition},
};

use crate::batch::{Lease, PartitionClaim};

/// The position after which a pass reads the stream of a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReadPosition {
    pub partition: Partition,
    pub pass: u64,
    pub after: IngestId,
}

#[derive(Debug)]
enum SettlingState {
    Unsettled { not_before: Instant },
    Settled { epoch: Epoch, pass: u64, committed: IngestId, read: IngestId },
}

#[derive(Debug)]
struct OwnedPartition {
    token: i64,
    state: SettlingState,
}

/// The partitions that this replica owns, each settled or unsettled.
#[derive(Debug, Default)]
pub struct OwnedPartitions {
    held: BTreeMap<Partition, OwnedPartition>,
    passes: u64,
}

impl OwnedPartitions {
    /// Adds the partition of a lease. The partition is unsettled, and is due for settling at `now`.
    pub fn add(&mut self, lease: Lease, now: Instant) {
        let state = SettlingState::Unsettled { not_before: now };
        self.held.insert(lease.partition, OwnedPartition { token: lease.token, state });
    }

    /// Removes a partition, because its lease was lost or is above the share of this replica.
    pub fn remove(&mut self, partition: Partition) {
        self.held.remove(&partition);
    }

    /// The owned partitions, settled or not, in ascending order.
    #[must_use]
    pub fn partitions(&self) -> Vec<Partition> {
        self.held.keys().copied().collect()
    }

    /// Removes the partitions that exceed `share` from the table, and returns them.
    pub fn remove_surplus(&mut self, share: usize) -> Vec<Partition> {
        let surplus: Vec<Partition> = self.held.keys().skip(share).copied().collect();
        surplus.iter().for_each(|partition| self.remove(*partition));
        surplus
    }

    /// Number of owned partitions, settled or not.
    #[must_use]
    pub fn count(&self) -> usize {
        self.held.len()
    }

    /// Applies the result of a renewal: `rows` are the leases that this replica has in PostgreSQL. Removes partitions
    /// that are missing in `rows` and returns their number. Adds partitions that are only in `rows`, because the answer
    /// to their acquisition or release was lost. Unsettles partitions that another replica moved to a later epoch.
    pub fn apply_renewal(&mut self, rows: &[(Lease, Epoch)], now: Instant) -> usize {
        let before = self.held.len();
        self.held.retain(|partition, holding| {
            rows.iter().any(|(lease, _)| lease.partition == *partition && lease.token == holding.token)
        });
        let lost = before - self.held.len();
        for (lease, row_epoch) in rows {
            if !self.held.contains_key(&lease.partition) {
                self.add(*lease, now);
            }
            if let Some(OwnedPartition { state, .. }) = self.held.get_mut(&lease.partition)
                && matches!(state, SettlingState::Settled { epoch, .. } if *epoch < *row_epoch)
            {
                *state = SettlingState::Unsettled { not_before: now };
            }
        }
        lost
    }

    /// Makes a partition unsettled. It is due for settling after `pause`.
    pub fn unsettle(&mut self, partition: Partition, now: Instant, pause: Duration) {
        if let Some(holding) = self.held.get_mut(&partition) {
            holding.state = SettlingState::Unsettled { not_before: now + pause };
        }
    }

    /// Makes all partitions unsettled. They are due for settling at once.
    pub fn unsettle_all(&mut self, now: Instant) {
        self.held.values_mut().for_each(|holding| {
            holding.state = SettlingState::Unsettled { not_before: now };
        });
    }

    /// Unsettles partitions that were settled in an earlier epoch than the one of their session. Partitions for which
    /// `current` returns None do not change. Returns whether it unsettled any.
    pub fn unsettle_earlier_epochs(
        &mut self,
        current: impl Fn(Partition) -> Option<Epoch>,
        now: Instant,
    ) -> bool {
        let mut any = false;
        for (partition, holding) in &mut self.held {
            let Some(current) = current(*partition) else { continue };
            if matches!(holding.state, SettlingState::Settled { epoch, .. } if epoch < current) {
                holding.state = SettlingState::Unsettled { not_before: now };
                any = true;
            }
        }
        any
    }

    /// The leases of the partitions that are due for settling.
    #[must_use]
    pub fn due_for_settling(&self, now: Instant) -> Vec<Lease> {
        let due = |(partition, holding): (&Partition, &OwnedPartition)| {
            let due = matches!(holding.state, SettlingState::Unsettled { not_before } if not_before <= now);
            due.then_some(Lease { partition: *partition, token: holding.token })
        };
        self.held.iter().filter_map(due).collect()
    }

    /// When the next partition is due for settling, among the partitions that can be settled; None if all of these are
    /// settled.
    #[must_use]
    pub fn next_settling_at(&self, can_be_settled: impl Fn(Partition) -> bool) -> Option<Instant> {
        let at = |(partition, holding): (&Partition, &OwnedPartition)| match holding.state {
            SettlingState::Unsettled { not_before } if can_be_settled(*partition) => Some(not_before),
            _ => None,
        };
        self.held.iter().filter_map(at).min()
    }

    /// Makes the partition settled in `epoch`: all records up to `committed` are stored, and reading starts there.
    pub fn mark_settled(&mut self, lease: Lease, epoch: Epoch, committed: IngestId) {
        self.passes += 1;
        let pass = self.passes;
        if let Some(holding) = self.held.get_mut(&lease.partition).filter(|held| held.token == lease.token) {
            holding.state = SettlingState::Settled { epoch, pass, committed, read: committed };
        }
    }

    /// The reading positions of the partitions that are settled in the epoch that `current` returns for them.
    #[must_use]
    pub fn read_positions(&self, current: impl Fn(Partition) -> Option<Epoch>) -> Vec<ReadPosition> {
        let position = |(partition, holding): (&Partition, &OwnedPartition)| match holding.state {
            SettlingState::Settled { epoch, pass, read, .. } if current(*partition) == Some(epoch) => {
                Some(ReadPosition { partition: *partition, pass, after: read })
            }
            _ => None,
        };
        self.held.iter().filter_map(position).collect()
    }

    /// Each owned partition with its committed position, or with the start of the stream if the partition is unsettled.
    #[must_use]
    pub fn committed_positions(&self) -> Vec<(Partition, IngestId)> {
        let position = |(partition, holding): (&Partition, &OwnedPartition)| match holding.state {
            SettlingState::Settled { committed, .. } => (*partition, committed),
            SettlingState::Unsettled { .. } => (*partition, IngestId::default()),
        };
        self.held.iter().map(position).collect()
    }

    /// Moves the reading position to `upto`. Returns false if the pass has ended; then the records must be discarded.
    pub fn advance_read(&mut self, partition: Partition, in_pass: u64, upto: IngestId) -> bool {
        match self.held.get_mut(&partition).map(|holding| &mut holding.state) {
            Some(SettlingState::Settled { pass, read, .. }) if *pass == in_pass => {
                *read = upto;
                true
            }
            _ => false,
        }
    }

    /// The state that a batch must find in the partition's row. The pass `in_pass` read the batch from `after` on. None
    /// if that pass has ended. Also None if the committed position is not `after`: this ends the pass, because the
    /// batch would skip records.
    pub fn claim(
        &mut self,
        partition: Partition,
        in_pass: u64,
        after: IngestId,
        now: Instant,
    ) -> Option<PartitionClaim> {
        let holding = self.held.get_mut(&partition)?;
        match holding.state {
            SettlingState::Settled { epoch, pass, committed, .. } if pass == in_pass => {
                if committed == after {
                    return Some(PartitionClaim {
                        lease: Lease { partition, token: holding.token },
                        epoch,
                        committed,
                    });
                }
                holding.state = SettlingState::Unsettled { not_before: now };
                None
            }
            _ => None,
        }
    }

    /// Sets the committed position of a partition after a batch was committed up to `upto`. Does nothing if another
    /// pass has begun, because the new pass reads these records again.
    pub fn advance_committed(&mut self, partition: Partition, in_pass: u64, upto: IngestId) {
        if let Some(SettlingState::Settled { pass, committed, .. }) =
            self.held.get_mut(&partition).map(|holding| &mut holding.state)
            && *pass == in_pass
        {
            *committed = upto;
        }
    }
}

#[cfg(test)]
mod tests;

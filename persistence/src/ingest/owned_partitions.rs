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

    /// Unsettles partitions that were settled in an earlier epoch than `current`. Returns whether it unsettled any.
    pub fn unsettle_earlier_epochs(&mut self, current: Epoch, now: Instant) -> bool {
        let mut any = false;
        for holding in self.held.values_mut() {
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

    /// When the next partition is due for settling; None if all are settled.
    #[must_use]
    pub fn next_settling_at(&self) -> Option<Instant> {
        let at = |holding: &OwnedPartition| match holding.state {
            SettlingState::Unsettled { not_before } => Some(not_before),
            SettlingState::Settled { .. } => None,
        };
        self.held.values().filter_map(at).min()
    }

    /// Makes the partition settled in `epoch`: all records up to `committed` are stored, and reading starts there.
    pub fn mark_settled(&mut self, lease: Lease, epoch: Epoch, committed: IngestId) {
        self.passes += 1;
        let pass = self.passes;
        if let Some(holding) = self.held.get_mut(&lease.partition).filter(|held| held.token == lease.token) {
            holding.state = SettlingState::Settled { epoch, pass, committed, read: committed };
        }
    }

    /// The reading positions of the partitions that are settled in the epoch `current`.
    #[must_use]
    pub fn read_positions(&self, current: Epoch) -> Vec<ReadPosition> {
        let position = |(partition, holding): (&Partition, &OwnedPartition)| match holding.state {
            SettlingState::Settled { epoch, pass, read, .. } if epoch == current => {
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
mod tests {
    use super::*;

    const PARTITION: Partition = Partition(3);
    const LEASE: Lease = Lease { partition: PARTITION, token: 7 };

    fn id(ms: u64) -> IngestId {
        IngestId { ms, n: 0 }
    }

    fn settled() -> OwnedPartitions {
        let mut owned = OwnedPartitions::default();
        owned.add(LEASE, Instant::now());
        owned.mark_settled(LEASE, Epoch(2), id(5));
        owned
    }

    #[test]
    fn gained_partition_is_read_only_after_settling() {
        let (mut owned, now) = (OwnedPartitions::default(), Instant::now());
        owned.add(LEASE, now);
        assert_eq!(owned.read_positions(Epoch(2)), []);
        assert_eq!(owned.due_for_settling(now), [LEASE]);
        owned.mark_settled(LEASE, Epoch(2), id(5));
        assert_eq!(owned.read_positions(Epoch(2))[0].after, id(5));
        assert_eq!(owned.read_positions(Epoch(3)), [], "the streams of another epoch");
        assert_eq!(owned.due_for_settling(now), []);
    }

    #[test]
    fn records_of_an_earlier_pass_are_not_written() {
        let (mut owned, now) = (settled(), Instant::now());
        let old = owned.read_positions(Epoch(2))[0].pass;
        assert!(owned.advance_read(PARTITION, old, id(9)));
        assert!(owned.claim(PARTITION, old, id(5), now).is_some());
        owned.unsettle(PARTITION, now, Duration::ZERO);
        assert_eq!(owned.claim(PARTITION, old, id(5), now), None);
        owned.mark_settled(LEASE, Epoch(2), id(6));
        assert!(!owned.advance_read(PARTITION, old, id(9)));
        assert_eq!(owned.claim(PARTITION, old, id(6), now), None);
        let new = owned.read_positions(Epoch(2))[0];
        let committed = owned.claim(PARTITION, new.pass, id(6), now).unwrap().committed;
        assert_eq!((new.after, committed), (id(6), id(6)));
    }

    #[test]
    fn gap_after_the_committed_position_ends_the_pass() {
        let (mut owned, now) = (settled(), Instant::now());
        let pass = owned.read_positions(Epoch(2))[0].pass;
        // A batch up to 7 was given up; the following one must not be written.
        assert!(owned.advance_read(PARTITION, pass, id(7)) && owned.advance_read(PARTITION, pass, id(9)));
        assert_eq!(owned.claim(PARTITION, pass, id(7), now), None);
        assert_eq!(owned.due_for_settling(now), [LEASE], "read again from the watermark");
        assert_eq!(owned.claim(PARTITION, pass, id(5), now), None, "nothing of this pass may be written");
    }

    #[test]
    fn batch_after_the_last_written_one_is_accepted() {
        let (mut owned, now) = (settled(), Instant::now());
        let pass = owned.read_positions(Epoch(2))[0].pass;
        owned.advance_committed(PARTITION, pass, id(7));
        assert_eq!(owned.claim(PARTITION, pass, id(7), now).unwrap().committed, id(7));
    }

    #[test]
    fn settling_with_an_old_token_is_ignored() {
        let mut owned = OwnedPartitions::default();
        owned.add(Lease { partition: PARTITION, token: 8 }, Instant::now());
        owned.mark_settled(LEASE, Epoch(2), id(5));
        assert_eq!(owned.read_positions(Epoch(2)), []);
    }

    #[test]
    fn renewal_finds_lost_gained_and_switched_partitions() {
        let (mut owned, now) = (settled(), Instant::now());
        assert_eq!(owned.apply_renewal(&[(LEASE, Epoch(2))], now), 0);
        assert_eq!(owned.due_for_settling(now), []);
        assert_eq!(owned.apply_renewal(&[(LEASE, Epoch(3))], now), 0);
        assert_eq!(owned.due_for_settling(now), [LEASE]);
        let unknown = Lease { partition: Partition(4), token: 1 };
        assert_eq!(owned.apply_renewal(&[(unknown, Epoch(3))], now), 1);
        assert_eq!(owned.due_for_settling(now), [unknown], "gained, though its answer was lost");
        let again = Lease { token: 9, ..unknown };
        assert_eq!(owned.apply_renewal(&[(again, Epoch(3))], now), 1);
        assert_eq!(owned.due_for_settling(now), [again], "lost, and taken anew");
    }

    #[test]
    fn lost_partitions_do_not_count_towards_the_share() {
        let (mut owned, now) = (OwnedPartitions::default(), Instant::now());
        let lease = |partition| Lease { partition: Partition(partition), token: 1 };
        (0..6).for_each(|partition| owned.add(lease(partition), now));
        let renewed: Vec<(Lease, Epoch)> = (1..5).map(|partition| (lease(partition), Epoch(1))).collect();
        assert_eq!(owned.apply_renewal(&renewed, now), 2);
        assert_eq!(owned.remove_surplus(3), [Partition(4)]);
        assert_eq!(owned.partitions(), [1, 2, 3].map(Partition));
        assert_eq!(owned.remove_surplus(3), []);
    }

    #[test]
    fn later_session_epoch_unsettles_earlier_partitions() {
        let (mut owned, now) = (settled(), Instant::now());
        assert!(!owned.unsettle_earlier_epochs(Epoch(2), now));
        assert!(owned.unsettle_earlier_epochs(Epoch(3), now));
        assert_eq!(owned.due_for_settling(now), [LEASE]);
    }

    #[test]
    fn pause_delays_settling() {
        let (mut owned, now) = (settled(), Instant::now());
        owned.unsettle(PARTITION, now, Duration::from_secs(1));
        assert_eq!(owned.due_for_settling(now), []);
        assert_eq!(owned.next_settling_at(), Some(now + Duration::from_secs(1)));
        assert_eq!(owned.due_for_settling(now + Duration::from_secs(1)), [LEASE]);
    }
}

//! Which partitions this replica owns and how far each is read and committed. Pure: a table under one short lock.
//!
//! A partition is *unsettled* until its place in the stream is decided (after taking the lease, after a watermark
//! that could not be told, in a new epoch). Settling begins a new *pass*; what was read in an earlier pass is void.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use tidings_shared::{
    ids::Epoch,
    log::{IngestId, keys::Partition},
};

/// The right to write a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lease {
    pub partition: Partition,
    /// Fencing token: each change of owner counts it up.
    pub token: i64,
}

/// What the guard of a batch must find in the partition's row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Standing {
    pub lease: Lease,
    pub epoch: Epoch,
    /// The row's `last_id`.
    pub committed: IngestId,
}

/// Where to read on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Position {
    pub partition: Partition,
    pub pass: u64,
    pub after: IngestId,
}

#[derive(Debug)]
enum State {
    Unsettled { not_before: Instant },
    Settled { epoch: Epoch, pass: u64, committed: IngestId, read: IngestId },
}

#[derive(Debug)]
struct Holding {
    token: i64,
    state: State,
}

/// See the module.
#[derive(Debug, Default)]
pub struct Holdings {
    held: BTreeMap<Partition, Holding>,
    passes: u64,
}

impl Holdings {
    pub fn gained(&mut self, lease: Lease, now: Instant) {
        let state = State::Unsettled { not_before: now };
        self.held.insert(lease.partition, Holding { token: lease.token, state });
    }

    pub fn lost(&mut self, partition: Partition) {
        self.held.remove(&partition);
    }

    #[must_use]
    pub fn partitions(&self) -> Vec<Partition> {
        self.held.keys().copied().collect()
    }

    /// Gives up what is held above a share; tells what.
    pub fn give_up_above(&mut self, share: usize) -> Vec<Partition> {
        let surplus: Vec<Partition> = self.held.keys().skip(share).copied().collect();
        surplus.iter().for_each(|partition| self.lost(*partition));
        surplus
    }

    #[must_use]
    pub fn len(&self) -> usize {
        self.held.len()
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.held.is_empty()
    }

    /// Takes what a renewal found: leases that are not among them are lost, those that we did not know of (their
    /// taking or release went unanswered) are gained, and a partition that another replica has switched to a later
    /// epoch is to be settled anew. Tells how many were lost.
    pub fn renewed(&mut self, rows: &[(Lease, Epoch)], now: Instant) -> usize {
        let before = self.held.len();
        self.held.retain(|partition, holding| {
            rows.iter().any(|(lease, _)| lease.partition == *partition && lease.token == holding.token)
        });
        let lost = before - self.held.len();
        for (lease, row_epoch) in rows {
            if !self.held.contains_key(&lease.partition) {
                self.gained(*lease, now);
            }
            if let Some(Holding { state, .. }) = self.held.get_mut(&lease.partition)
                && matches!(state, State::Settled { epoch, .. } if *epoch < *row_epoch)
            {
                *state = State::Unsettled { not_before: now };
            }
        }
        lost
    }

    /// The place of this partition in its stream is to be decided again, no sooner than after `pause`.
    pub fn unsettle(&mut self, partition: Partition, now: Instant, pause: Duration) {
        if let Some(holding) = self.held.get_mut(&partition) {
            holding.state = State::Unsettled { not_before: now + pause };
        }
    }

    /// Unsettles what was settled in an epoch before this one. True when there was any.
    pub fn unsettle_before(&mut self, current: Epoch, now: Instant) -> bool {
        let mut any = false;
        for holding in self.held.values_mut() {
            if matches!(holding.state, State::Settled { epoch, .. } if epoch < current) {
                holding.state = State::Unsettled { not_before: now };
                any = true;
            }
        }
        any
    }

    /// What is to be settled now.
    #[must_use]
    pub fn unsettled(&self, now: Instant) -> Vec<Lease> {
        let due = |(partition, holding): (&Partition, &Holding)| {
            let due = matches!(holding.state, State::Unsettled { not_before } if not_before <= now);
            due.then_some(Lease { partition: *partition, token: holding.token })
        };
        self.held.iter().filter_map(due).collect()
    }

    /// When the next settling is due.
    #[must_use]
    pub fn next_settling(&self) -> Option<Instant> {
        let at = |holding: &Holding| match holding.state {
            State::Unsettled { not_before } => Some(not_before),
            State::Settled { .. } => None,
        };
        self.held.values().filter_map(at).min()
    }

    /// The partition's row now stands at `committed` in `epoch`; reading begins there.
    pub fn settled(&mut self, lease: Lease, epoch: Epoch, committed: IngestId) {
        self.passes += 1;
        let pass = self.passes;
        if let Some(holding) = self.held.get_mut(&lease.partition).filter(|held| held.token == lease.token) {
            holding.state = State::Settled { epoch, pass, committed, read: committed };
        }
    }

    /// Where to read on in streams of this epoch.
    #[must_use]
    pub fn positions(&self, current: Epoch) -> Vec<Position> {
        let position = |(partition, holding): (&Partition, &Holding)| match holding.state {
            State::Settled { epoch, pass, read, .. } if epoch == current => {
                Some(Position { partition: *partition, pass, after: read })
            }
            _ => None,
        };
        self.held.iter().filter_map(position).collect()
    }

    /// Each owned partition with where it is committed; the start of the stream while it is unsettled.
    #[must_use]
    pub fn places(&self) -> Vec<(Partition, IngestId)> {
        let place = |(partition, holding): (&Partition, &Holding)| match holding.state {
            State::Settled { committed, .. } => (*partition, committed),
            State::Unsettled { .. } => (*partition, IngestId::default()),
        };
        self.held.iter().map(place).collect()
    }

    /// Moves the reading position; false when the pass is over, and what was read is void.
    pub fn was_read(&mut self, partition: Partition, in_pass: u64, upto: IngestId) -> bool {
        match self.held.get_mut(&partition).map(|holding| &mut holding.state) {
            Some(State::Settled { pass, read, .. }) if *pass == in_pass => {
                *read = upto;
                true
            }
            _ => false,
        }
    }

    /// What a batch of this pass, read from `after` on, must find. `None` when the pass is over, or when something
    /// between `after` and what is committed was left out: then the pass ends here, before a batch skips records.
    pub fn standing(
        &mut self,
        partition: Partition,
        in_pass: u64,
        after: IngestId,
        now: Instant,
    ) -> Option<Standing> {
        let holding = self.held.get_mut(&partition)?;
        match holding.state {
            State::Settled { epoch, pass, committed, .. } if pass == in_pass => {
                if committed == after {
                    return Some(Standing {
                        lease: Lease { partition, token: holding.token },
                        epoch,
                        committed,
                    });
                }
                holding.state = State::Unsettled { not_before: now };
                None
            }
            _ => None,
        }
    }

    /// A batch was committed up to `upto`.
    pub fn wrote(&mut self, partition: Partition, in_pass: u64, upto: IngestId) {
        if let Some(State::Settled { pass, committed, .. }) =
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

    const P: Partition = Partition(3);
    const LEASE: Lease = Lease { partition: P, token: 7 };

    fn id(ms: u64) -> IngestId {
        IngestId { ms, n: 0 }
    }

    fn settled() -> Holdings {
        let mut holdings = Holdings::default();
        holdings.gained(LEASE, Instant::now());
        holdings.settled(LEASE, Epoch(2), id(5));
        holdings
    }

    #[test]
    fn a_gained_partition_is_read_only_once_it_is_settled() {
        let (mut holdings, now) = (Holdings::default(), Instant::now());
        holdings.gained(LEASE, now);
        assert_eq!(holdings.positions(Epoch(2)), []);
        assert_eq!(holdings.unsettled(now), [LEASE]);
        holdings.settled(LEASE, Epoch(2), id(5));
        assert_eq!(holdings.positions(Epoch(2))[0].after, id(5));
        assert_eq!(holdings.positions(Epoch(3)), [], "the streams of another epoch");
        assert_eq!(holdings.unsettled(now), []);
    }

    #[test]
    fn what_was_read_before_a_settling_is_not_written_after_it() {
        let (mut holdings, now) = (settled(), Instant::now());
        let old = holdings.positions(Epoch(2))[0].pass;
        assert!(holdings.was_read(P, old, id(9)));
        assert!(holdings.standing(P, old, id(5), now).is_some());
        holdings.unsettle(P, now, Duration::ZERO);
        assert_eq!(holdings.standing(P, old, id(5), now), None);
        holdings.settled(LEASE, Epoch(2), id(6));
        assert!(!holdings.was_read(P, old, id(9)));
        assert_eq!(holdings.standing(P, old, id(6), now), None);
        let new = holdings.positions(Epoch(2))[0];
        let committed = holdings.standing(P, new.pass, id(6), now).unwrap().committed;
        assert_eq!((new.after, committed), (id(6), id(6)));
    }

    #[test]
    fn what_does_not_follow_on_what_is_committed_ends_the_pass() {
        let (mut holdings, now) = (settled(), Instant::now());
        let pass = holdings.positions(Epoch(2))[0].pass;
        // A batch up to 7 was given up; the one behind it must not be written.
        assert!(holdings.was_read(P, pass, id(7)) && holdings.was_read(P, pass, id(9)));
        assert_eq!(holdings.standing(P, pass, id(7), now), None);
        assert_eq!(holdings.unsettled(now), [LEASE], "read again from the watermark");
        assert_eq!(holdings.standing(P, pass, id(5), now), None, "nothing of this pass any more");
    }

    #[test]
    fn what_follows_on_what_was_just_written_is_written() {
        let (mut holdings, now) = (settled(), Instant::now());
        let pass = holdings.positions(Epoch(2))[0].pass;
        holdings.wrote(P, pass, id(7));
        assert_eq!(holdings.standing(P, pass, id(7), now).unwrap().committed, id(7));
    }

    #[test]
    fn a_settling_under_a_lease_that_changed_hands_does_not_count() {
        let mut holdings = Holdings::default();
        holdings.gained(Lease { partition: P, token: 8 }, Instant::now());
        holdings.settled(LEASE, Epoch(2), id(5));
        assert_eq!(holdings.positions(Epoch(2)), []);
    }

    #[test]
    fn a_renewal_tells_what_is_lost_and_what_others_have_switched() {
        let (mut holdings, now) = (settled(), Instant::now());
        assert_eq!(holdings.renewed(&[(LEASE, Epoch(2))], now), 0);
        assert_eq!(holdings.unsettled(now), []);
        assert_eq!(holdings.renewed(&[(LEASE, Epoch(3))], now), 0);
        assert_eq!(holdings.unsettled(now), [LEASE]);
        let unknown = Lease { partition: Partition(4), token: 1 };
        assert_eq!(holdings.renewed(&[(unknown, Epoch(3))], now), 1);
        assert_eq!(holdings.unsettled(now), [unknown], "ours, though nobody told us");
        let again = Lease { token: 9, ..unknown };
        assert_eq!(holdings.renewed(&[(again, Epoch(3))], now), 1);
        assert_eq!(holdings.unsettled(now), [again], "lost, and taken anew");
    }

    #[test]
    fn what_was_just_lost_does_not_count_towards_the_share() {
        let (mut holdings, now) = (Holdings::default(), Instant::now());
        let lease = |partition| Lease { partition: Partition(partition), token: 1 };
        (0..6).for_each(|partition| holdings.gained(lease(partition), now));
        let renewed: Vec<(Lease, Epoch)> = (1..5).map(|partition| (lease(partition), Epoch(1))).collect();
        assert_eq!(holdings.renewed(&renewed, now), 2);
        assert_eq!(holdings.give_up_above(3), [Partition(4)]);
        assert_eq!(holdings.partitions(), [1, 2, 3].map(Partition));
        assert_eq!(holdings.give_up_above(3), []);
    }

    #[test]
    fn a_later_epoch_of_the_session_unsettles_all_of_earlier_ones() {
        let (mut holdings, now) = (settled(), Instant::now());
        assert!(!holdings.unsettle_before(Epoch(2), now));
        assert!(holdings.unsettle_before(Epoch(3), now));
        assert_eq!(holdings.unsettled(now), [LEASE]);
    }

    #[test]
    fn a_pause_holds_a_settling_back() {
        let (mut holdings, now) = (settled(), Instant::now());
        holdings.unsettle(P, now, Duration::from_secs(1));
        assert_eq!(holdings.unsettled(now), []);
        assert_eq!(holdings.next_settling(), Some(now + Duration::from_secs(1)));
        assert_eq!(holdings.unsettled(now + Duration::from_secs(1)), [LEASE]);
    }
}

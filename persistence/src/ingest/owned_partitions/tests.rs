//! Tests of the table of owned partitions: which partitions are read, settled and claimed.

use super::*;

const PARTITION: Partition = Partition(3);
const LEASE: Lease = Lease { partition: PARTITION, token: 7 };

fn id(ms: u64) -> IngestId {
    IngestId { ms, n: 0 }
}

/// One session of all partitions, in this epoch.
fn all_in(epoch: u64) -> impl Fn(Partition) -> Option<Epoch> {
    move |_| Some(Epoch(epoch))
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
    assert_eq!(owned.read_positions(all_in(2)), []);
    assert_eq!(owned.due_for_settling(now), [LEASE]);
    owned.mark_settled(LEASE, Epoch(2), id(5));
    assert_eq!(owned.read_positions(all_in(2))[0].after, id(5));
    assert_eq!(owned.read_positions(all_in(3)), [], "the streams of another epoch");
    assert_eq!(owned.due_for_settling(now), []);
}

#[test]
fn records_of_an_earlier_pass_are_not_written() {
    let (mut owned, now) = (settled(), Instant::now());
    let old = owned.read_positions(all_in(2))[0].pass;
    assert!(owned.advance_read(PARTITION, old, id(9)));
    assert!(owned.claim(PARTITION, old, id(5), now).is_some());
    owned.unsettle(PARTITION, now, Duration::ZERO);
    assert_eq!(owned.claim(PARTITION, old, id(5), now), None);
    owned.mark_settled(LEASE, Epoch(2), id(6));
    assert!(!owned.advance_read(PARTITION, old, id(9)));
    assert_eq!(owned.claim(PARTITION, old, id(6), now), None);
    let new = owned.read_positions(all_in(2))[0];
    let committed = owned.claim(PARTITION, new.pass, id(6), now).unwrap().committed;
    assert_eq!((new.after, committed), (id(6), id(6)));
}

#[test]
fn gap_after_the_committed_position_ends_the_pass() {
    let (mut owned, now) = (settled(), Instant::now());
    let pass = owned.read_positions(all_in(2))[0].pass;
    // A batch up to 7 was given up; the following one must not be written.
    assert!(owned.advance_read(PARTITION, pass, id(7)) && owned.advance_read(PARTITION, pass, id(9)));
    assert_eq!(owned.claim(PARTITION, pass, id(7), now), None);
    assert_eq!(owned.due_for_settling(now), [LEASE], "read again from the watermark");
    assert_eq!(owned.claim(PARTITION, pass, id(5), now), None, "nothing of this pass may be written");
}

#[test]
fn batch_after_the_last_written_one_is_accepted() {
    let (mut owned, now) = (settled(), Instant::now());
    let pass = owned.read_positions(all_in(2))[0].pass;
    owned.advance_committed(PARTITION, pass, id(7));
    assert_eq!(owned.claim(PARTITION, pass, id(7), now).unwrap().committed, id(7));
}

#[test]
fn settling_with_an_old_token_is_ignored() {
    let mut owned = OwnedPartitions::default();
    owned.add(Lease { partition: PARTITION, token: 8 }, Instant::now());
    owned.mark_settled(LEASE, Epoch(2), id(5));
    assert_eq!(owned.read_positions(all_in(2)), []);
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
    assert!(!owned.unsettle_earlier_epochs(all_in(2), now));
    assert!(owned.unsettle_earlier_epochs(all_in(3), now));
    assert_eq!(owned.due_for_settling(now), [LEASE]);
}

#[test]
fn partitions_of_other_sessions_stay_settled() {
    let (mut owned, now) = (settled(), Instant::now());
    let other = Lease { partition: Partition(4), token: 7 };
    owned.add(other, now);
    owned.mark_settled(other, Epoch(3), id(8));
    let of_one = |epoch| move |partition: Partition| (partition == PARTITION).then_some(Epoch(epoch));
    let read = |owned: &OwnedPartitions, epoch: u64| {
        owned.read_positions(of_one(epoch)).iter().map(|at| at.partition).collect::<Vec<_>>()
    };
    assert_eq!((read(&owned, 2), read(&owned, 3)), (vec![PARTITION], vec![]));
    assert!(owned.unsettle_earlier_epochs(of_one(4), now));
    assert_eq!(owned.due_for_settling(now), [LEASE], "the other partition has another session");
    assert_eq!(owned.next_settling_at(|partition| partition != PARTITION), None);
}

#[test]
fn pause_delays_settling() {
    let (mut owned, now) = (settled(), Instant::now());
    owned.unsettle(PARTITION, now, Duration::from_secs(1));
    assert_eq!(owned.due_for_settling(now), []);
    assert_eq!(owned.next_settling_at(|_| true), Some(now + Duration::from_secs(1)));
    assert_eq!(owned.due_for_settling(now + Duration::from_secs(1)), [LEASE]);
}

//! Tests of the rule `Prefix`, which is checked while a run lasts.

use super::*;

/// The violations that these snapshots show, each with its head and its new seqs.
fn broken_by(snapshots: &[(u64, &[u64])]) -> Vec<Violation> {
    let mut check = PrefixCheck::new(&[ROOM.to_owned()]);
    for (number, (head, seqs)) in (1..).zip(snapshots) {
        let snapshot = RoomSnapshot { room: ROOM.to_owned(), head: *head, seqs: seqs.to_vec() };
        check.check(Duration::from_secs(number), &snapshot);
    }
    check.into_violations()
}

#[test]
fn growing_log_without_holes_keeps_prefix() {
    assert_eq!(broken_by(&[(0, &[]), (2, &[1, 2]), (2, &[]), (4, &[3, 4])]), []);
}

#[test]
fn hole_that_is_filled_before_the_end_breaks_prefix() {
    let violations = broken_by(&[(2, &[1, 2]), (4, &[4]), (4, &[]), (5, &[5])]);
    let [violation] = violations.as_slice() else { panic!("{violations:?}") };
    assert_eq!((violation.rule, violation.seq), (Rule::Prefix, 3));
    assert!(violation.what.contains("at 2.000 s, while the run lasted: nothing is stored at 3"));
    // The log at the end is complete, so the other rules find nothing.
    assert_eq!(run_received_up_to(4).broken_rules(), []);
}

#[test]
fn event_above_the_head_or_a_lower_head_breaks_prefix() {
    type Snapshot = (u64, &'static [u64]);
    let cases: [([Snapshot; 2], u64); 4] = [
        ([(2, &[1, 2]), (2, &[3])], 3),
        ([(2, &[1, 2]), (3, &[3, 3])], 3),
        ([(2, &[1, 2]), (4, &[3, 3, 4])], 3),
        ([(2, &[1, 2]), (1, &[])], 1),
    ];
    for (snapshots, seq) in cases {
        let violations = broken_by(&snapshots);
        assert_eq!(violations.iter().map(|broken| broken.seq).collect::<Vec<_>>(), [seq], "{snapshots:?}");
    }
}

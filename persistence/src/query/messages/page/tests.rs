//! Tests of pages: where a page ends, and what it says about more messages.

use super::*;
use crate::query::messages::tests::sample;

/// A scan after one step that found these messages, and either the ends of the log or more to search.
fn scan(window: Window, found: &[i64], next: (Option<i64>, Option<i64>)) -> PageScan {
    let mut scan = PageScan::new(window);
    let (older, newer): (Vec<i64>, Vec<i64>) = found.iter().partition(|seq| **seq <= window.pivot);
    scan.older.found = older.into_iter().rev().map(sample).collect();
    scan.newer.found = newer.into_iter().map(sample).collect();
    (scan.older.next, scan.newer.next) = next;
    scan.head = Some(Head::new(1, 100));
    scan
}

fn page_of(scan: PageScan) -> (Vec<i64>, bool, bool) {
    let page = scan.into_page().unwrap();
    (page.messages.iter().map(|message| message.seq).collect(), page.has_before, page.has_after)
}

#[test]
fn page_reports_whether_each_side_has_more() {
    for (window, found, expected) in [
        (Window::last(2), &[7, 8, 9][..], (vec![8, 9], true, false)),
        (Window::last(3), &[7, 8, 9], (vec![7, 8, 9], false, false)),
        (Window::before(8, 2), &[5, 6, 7, 8], (vec![6, 7], true, true)),
        (Window::after(8, 2), &[8, 9, 10, 11], (vec![9, 10], true, true)),
        (Window::after(8, 2), &[9], (vec![9], false, false)),
        (Window::around(8, 3), &[6, 7, 8, 9, 10], (vec![7, 8, 9], true, true)),
        (Window::around(8, 1), &[7, 8, 9], (vec![8], true, true)),
        (Window::last(2), &[], (vec![], false, false)),
    ] {
        let scan = scan(window, found, (None, None));
        assert!(scan.is_complete());
        assert_eq!(page_of(scan), expected, "{window:?} {found:?}");
    }
}

#[test]
fn ranges_of_neighbouring_pages_leave_no_seq_out() {
    for (window, found, expected) in [
        (Window::last(2), &[7, 8, 9][..], 8..=100),
        (Window::last(3), &[7, 8, 9], 1..=100),
        (Window::before(8, 2), &[3, 4, 6, 8], 4..=7),
        (Window::before(4, 2), &[3, 4], 1..=3),
        (Window::after(8, 2), &[8, 10, 12, 13], 9..=12),
        (Window::after(12, 2), &[13], 13..=100),
        (Window::around(8, 3), &[4, 6, 8, 10, 12], 6..=10),
        (Window::around(8, 1), &[7, 8, 9], 8..=8),
        (Window::last(2), &[], 1..=100),
    ] {
        let page = scan(window, found, (None, None)).into_page().unwrap();
        assert_eq!(page.range(window), expected, "{window:?} {found:?}");
    }
}

#[test]
fn long_messages_end_the_page_nearest_to_the_pivot() {
    let long = |seq: i64| (Message { content: "x".repeat(MAX_PAGE_BYTES / 5), ..sample(seq) }, false);
    for (window, found, expected) in [
        (Window::last(9), 1..=6, (vec![3, 4, 5, 6], true, false)),
        (Window::after(0, 9), 1..=6, (vec![1, 2, 3, 4], false, true)),
        (Window::around(4, 9), 1..=8, (vec![3, 4, 5, 6], true, true)),
    ] {
        let mut scan = scan(window, &[], (None, None));
        let (older, newer): (Vec<i64>, Vec<i64>) = found.partition(|seq| *seq <= window.pivot);
        scan.older.add(older.into_iter().rev().map(long));
        scan.newer.add(newer.into_iter().map(long));
        assert!(scan.is_complete());
        assert_eq!(page_of(scan), expected, "{window:?}");
    }
}

#[test]
fn side_whose_rows_sql_ended_is_complete_and_has_more() {
    let mut scan = scan(Window::before(50, 9), &[], (Some(3), None));
    scan.older.add([(sample(40), false), (sample(39), true)].into_iter());
    assert!(scan.is_complete() && scan.has_next_page());
    assert_eq!(page_of(scan), (vec![40], true, false));
}

#[test]
fn unsearched_side_is_reported_to_have_more() {
    let open = |window, found: &[i64]| {
        let scan = scan(window, found, (Some(3), Some(90)));
        (scan.is_complete(), scan.has_next_page(), page_of(scan))
    };
    assert_eq!(open(Window::before(50, 2), &[40]), (false, true, (vec![40], true, true)));
    assert_eq!(open(Window::before(50, 2), &[20, 30, 40, 60]), (true, true, (vec![30, 40], true, true)));
    assert_eq!(open(Window::around(50, 4), &[60]), (false, true, (vec![60], true, true)));
}

#[test]
fn next_page_needs_a_message_or_the_end_of_the_log() {
    let next_page = |window, found: &[i64], next| scan(window, found, next).has_next_page();
    assert!(!next_page(Window::before(50, 2), &[], (Some(3), None)));
    // A newer message does not help a client that reads older ones.
    assert!(!next_page(Window::before(50, 2), &[60], (Some(3), Some(90))));
    assert!(next_page(Window::before(50, 2), &[], (None, Some(90))));
    assert!(next_page(Window::before(50, 2), &[40], (Some(3), None)));
    assert!(!next_page(Window::around(50, 2), &[], (None, Some(90))));
    assert!(next_page(Window::around(50, 2), &[40], (None, Some(90))));
}

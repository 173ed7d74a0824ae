//! Tests: the recorder finds violations by the server, and drops events only where the rules allow it.

use std::sync::Arc;

use serde_json::{Value, json};

use super::{Fill, Interner, Recorder};
use crate::frames::{CaughtUp, Cursor, Gap, JoinedRoom, ServerFrame};
use crate::http::EventsPage;

fn message(seq: u64) -> Value {
    json!({
        "type": "message:new", "room": "r", "seq": seq, "at": "", "id": format!("id-{seq}"), "kind": "text",
        "client_id": format!("c-{seq}"), "sender": { "id": "alice" }, "content": format!("text {seq}"),
    })
}

fn frame(seq: u64) -> ServerFrame {
    ServerFrame::from_value(message(seq))
}

fn cursor(epoch: &str, seq: u64) -> Cursor {
    Cursor { epoch: epoch.to_owned(), seq }
}

fn joined(recorder: &mut Recorder, epoch: &str, head: u64) {
    let room = json!({
        "room": "r", "kind": "private", "role": "member", "head": cursor(epoch, head), "read_seq": 0,
        "members": 2,
    });
    recorder.joined(&serde_json::from_value::<JoinedRoom>(room).unwrap());
}

fn caught_up(recorder: &mut Recorder, epoch: &str, seq: u64) {
    recorder.caught_up(CaughtUp { room: "r".to_owned(), epoch: epoch.to_owned(), seq });
}

fn gap(recorder: &mut Recorder, after: u64, head: Cursor) -> (Option<Fill>, bool) {
    recorder.gap(Gap { room: "r".to_owned(), after, head })
}

fn page(seqs: std::ops::RangeInclusive<u64>) -> EventsPage {
    let next = cursor("1", *seqs.end());
    EventsPage { events: seqs.map(message).collect(), head: next.clone(), next, more: false }
}

/// A recorder that joined at seq 0 and has caught up at `head`.
fn live(head: u64) -> Recorder {
    let mut recorder = Recorder::new("r", Arc::new(Interner::default()));
    recorder.begin(cursor("1", 0));
    joined(&mut recorder, "1", head);
    (1..=head).for_each(|seq| recorder.event(frame(seq)));
    caught_up(&mut recorder, "1", head);
    recorder
}

fn seqs(recorder: &Recorder) -> Vec<u64> {
    recorder.messages().map(|message| message.seq).collect()
}

#[test]
fn events_in_order_are_recorded_without_violation() {
    let mut recorder = live(2);
    recorder.event(frame(3));
    recorder.event(frame(5));
    assert_eq!(seqs(&recorder), [1, 2, 3, 5]);
    assert_eq!(recorder.cursor(), Some(&cursor("1", 5)));
    assert_eq!(recorder.violations().count(), 0);
}

#[test]
fn repeated_event_is_a_duplicate() {
    let mut recorder = live(2);
    recorder.event(frame(3));
    recorder.event(frame(3));
    recorder.event(frame(1));
    assert_eq!(recorder.violations().duplicated, 2);
    assert_eq!(seqs(&recorder), [1, 2, 3]);
}

#[test]
fn event_after_a_later_one_is_out_of_order() {
    let mut recorder = live(0);
    recorder.event(frame(2));
    recorder.event(frame(1));
    assert_eq!((recorder.violations().reordered, recorder.violations().duplicated), (1, 0));
}

#[test]
fn same_seq_with_another_message_is_not_a_duplicate() {
    let mut recorder = live(1);
    let mut other = message(1);
    other["content"] = json!("something else");
    recorder.event(ServerFrame::from_value(other));
    assert_eq!(recorder.violations().reordered, 1);
}

#[test]
fn replay_from_the_cursor_itself_is_a_duplicate() {
    let mut recorder = live(3);
    recorder.disconnected();
    joined(&mut recorder, "1", 4);
    recorder.event(frame(3));
    recorder.event(frame(4));
    assert_eq!(recorder.violations().duplicated, 1);
}

#[test]
fn replay_after_the_cursor_continues_the_record() {
    let mut recorder = live(3);
    recorder.disconnected();
    joined(&mut recorder, "1", 5);
    recorder.event(frame(4));
    recorder.event(frame(5));
    caught_up(&mut recorder, "1", 5);
    assert_eq!(seqs(&recorder), [1, 2, 3, 4, 5]);
    assert_eq!(recorder.violations().count(), 0);
}

#[test]
fn event_without_a_join_is_a_violation() {
    let mut recorder = live(1);
    recorder.disconnected();
    recorder.event(frame(2));
    assert_eq!(recorder.violations().others, 1);
}

#[test]
fn caught_up_below_the_cursor_is_a_violation() {
    let mut recorder = live(3);
    caught_up(&mut recorder, "1", 2);
    assert_eq!(recorder.violations().others, 1);
    assert_eq!(recorder.cursor(), Some(&cursor("1", 3)));
}

#[test]
fn epoch_changes_with_the_first_event_and_not_with_the_join() {
    let mut recorder = live(1);
    recorder.disconnected();
    joined(&mut recorder, "2", 1);
    assert_eq!(recorder.cursor(), Some(&cursor("1", 1)));
    recorder.event(frame(2));
    assert_eq!(recorder.cursor(), Some(&cursor("2", 2)));
}

#[test]
fn gap_discards_events_above_it_and_is_filled_to_its_head() {
    let mut recorder = live(5);
    let (fill, new_epoch) = gap(&mut recorder, 3, cursor("2", 6));
    assert!(new_epoch);
    assert_eq!(seqs(&recorder), [1, 2, 3]);
    let fill = fill.unwrap();
    assert_eq!((fill.after, fill.epoch.as_str(), fill.upto), (3, "2", 6));
    recorder.event(frame(7));
    let fill = recorder.page(&fill, page(4..=5)).unwrap();
    assert_eq!(fill.after, 5);
    assert_eq!(recorder.page(&fill, page(6..=6)), None);
    assert_eq!(seqs(&recorder), [1, 2, 3, 4, 5, 6, 7]);
    assert_eq!(recorder.cursor(), Some(&cursor("2", 7)));
    assert_eq!((recorder.violations().count(), recorder.dropped()), (0, 0));
}

#[test]
fn live_event_below_the_gap_head_is_dropped_and_counted() {
    let mut recorder = live(2);
    let fill = gap(&mut recorder, 2, cursor("1", 3)).0.unwrap();
    recorder.event(frame(3));
    recorder.event(frame(4));
    recorder.page(&fill, page(3..=3));
    assert_eq!(seqs(&recorder), [1, 2, 3, 4]);
    assert_eq!((recorder.violations().count(), recorder.dropped()), (0, 1));
}

#[test]
fn caught_up_during_a_fill_applies_after_it() {
    let mut recorder = live(2);
    let (fill, _) = gap(&mut recorder, 2, cursor("2", 4));
    recorder.event(frame(5));
    caught_up(&mut recorder, "3", 5);
    recorder.event(frame(6));
    assert_eq!(recorder.cursor(), Some(&cursor("2", 2)));
    assert_eq!(recorder.page(&fill.unwrap(), page(3..=4)), None);
    assert_eq!(seqs(&recorder), [1, 2, 3, 4, 5, 6]);
    assert_eq!(recorder.cursor(), Some(&cursor("3", 6)));
    assert_eq!(recorder.violations().count(), 0);
}

#[test]
fn events_of_a_page_above_the_gap_head_come_live() {
    let mut recorder = live(2);
    let fill = gap(&mut recorder, 2, cursor("1", 3)).0.unwrap();
    recorder.page(&fill, page(3..=5));
    recorder.event(frame(4));
    recorder.event(frame(5));
    assert_eq!(seqs(&recorder), [1, 2, 3, 4, 5]);
    assert_eq!(recorder.violations().count(), 0);
}

#[test]
fn duplicate_among_held_events_of_a_fill_is_found() {
    let mut recorder = live(2);
    let fill = gap(&mut recorder, 2, cursor("1", 3)).0.unwrap();
    recorder.event(frame(4));
    recorder.event(frame(4));
    recorder.page(&fill, page(3..=3));
    assert_eq!(recorder.violations().duplicated, 1);
}

#[test]
fn second_gap_invalidates_pages_of_the_first_fill() {
    let mut recorder = live(2);
    let first = gap(&mut recorder, 2, cursor("1", 9)).0.unwrap();
    let second = gap(&mut recorder, 1, cursor("2", 3)).0.unwrap();
    assert_eq!(recorder.page(&first, page(3..=9)), None);
    assert_eq!(seqs(&recorder), [1]);
    recorder.page(&second, page(2..=3));
    assert_eq!(seqs(&recorder), [1, 2, 3]);
    assert_eq!(recorder.violations().count(), 0);
}

#[test]
fn page_that_repeats_an_event_is_a_violation() {
    let mut recorder = live(2);
    let fill = gap(&mut recorder, 2, cursor("1", 4)).0.unwrap();
    recorder.page(&fill, page(2..=4));
    assert_eq!(recorder.violations().duplicated, 1);
}

#[test]
fn void_message_does_not_count() {
    let mut recorder = live(2);
    let void = json!({
        "type": "message:void", "room": "r", "seq": 3, "at": "", "target": 2, "client_id": "c-2",
        "by": "alice", "reason": "duplicate", "of": 1,
    });
    recorder.event(ServerFrame::from_value(void));
    assert_eq!(seqs(&recorder), [1]);
    assert_eq!(recorder.violations().count(), 0);
}

#[test]
fn join_without_a_cursor_starts_at_the_head() {
    let mut recorder = Recorder::new("r", Arc::new(Interner::default()));
    joined(&mut recorder, "1", 7);
    caught_up(&mut recorder, "1", 7);
    recorder.event(frame(8));
    assert_eq!((recorder.start(), seqs(&recorder)), (Some(7), vec![8]));
}

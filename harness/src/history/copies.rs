//! The views of listeners: the rules `Order`, `Complete`, `Private`, `Agreement` and `Protocol`.
//! This module applies the protocol's rules for clients to the recorded frames. So it knows which events each listener
//! must have at the end, without the client's own state.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use super::audience::Audiences;
use super::{CheckCounts, Entry, EntryKind, Event, Rule, StoredLog, Violation};
use crate::frames::Cursor;

/// The first event that any listener received at each position (room, epoch, seq), and the user of this listener.
type FirstReceptions<'a> = HashMap<(&'a str, String, u64), (&'a str, Arc<Event>)>;

pub(super) fn check(
    entries: &[Entry],
    stored: &BTreeMap<String, StoredLog>,
    checked: &mut CheckCounts,
    violations: &mut Vec<Violation>,
) {
    let mut copies: BTreeMap<(&str, &str), ListenerView> = BTreeMap::new();
    let mut first_receptions = FirstReceptions::new();
    let audiences = Audiences::from_entries(entries);
    for entry in entries {
        if entry.room.is_empty() {
            if entry.what == EntryKind::Lost {
                for ((_, user), copy) in &mut copies {
                    if *user == entry.user {
                        copy.phase = Phase::Away;
                    }
                }
            }
            continue;
        }
        let copy = copies.entry((&entry.room, &entry.user)).or_default();
        let log = stored.get(&entry.room);
        let mut collector = ViolationCollector {
            entry,
            first_receptions: &mut first_receptions,
            audiences: &audiences,
            violations,
            log,
        };
        copy.apply(&mut collector, checked);
    }
    let nothing = StoredLog::default();
    for ((room, user), copy) in &copies {
        copy.check_complete(room, user, stored.get(*room).unwrap_or(&nothing), checked, violations);
    }
}

#[derive(Debug, Default, PartialEq)]
enum Phase {
    #[default]
    Away,
    /// The listener joins again on the same connection. Frames that come before the answer belong to the previous join.
    Rejoining,
    Joined,
    /// A gap is being filled up to this head; live frames wait.
    Filling {
        head: u64,
        waiting: Vec<WaitingFrame>,
    },
}

/// A frame that arrived while a gap was being filled.
#[derive(Debug, PartialEq)]
enum WaitingFrame {
    Event(Arc<Event>),
    CaughtUp(Cursor),
}

/// One listener's view of one room.
#[derive(Debug, Default)]
struct ListenerView {
    phase: Phase,
    cursor: Option<Cursor>,
    /// The head in `room:joined`, until the first event or a `room:caught_up` or `room:gap` decides which epoch
    /// applies.
    joined_head: Option<Cursor>,
    /// The listener must receive all events above this seq.
    start: Option<u64>,
    held: BTreeMap<u64, Arc<Event>>,
}

/// Collects the violations that one entry of the history shows.
struct ViolationCollector<'a, 'b> {
    entry: &'a Entry,
    first_receptions: &'b mut FirstReceptions<'a>,
    audiences: &'b Audiences<'a>,
    violations: &'b mut Vec<Violation>,
    log: Option<&'a StoredLog>,
}

impl ViolationCollector<'_, '_> {
    fn break_rule(&mut self, rule: Rule, seq: u64, what: String) {
        let (room, user) = (self.entry.room.clone(), self.entry.user.clone());
        self.violations.push(Violation { rule, room, seq, user, what });
    }

    /// Checks that the user may receive an event, even if the client then discards the event.
    fn check_audience(&mut self, event: &Event) {
        if !self.audiences.may_receive(&self.entry.room, event, self.log, &self.entry.user) {
            self.break_rule(Rule::Private, event.seq, format!("{event:?} is not for them"));
        }
    }
}

impl ListenerView {
    fn apply<'a>(&mut self, collector: &mut ViolationCollector<'a, '_>, checked: &mut CheckCounts) {
        match &collector.entry.what {
            EntryKind::Joining(from) => {
                if self.phase != Phase::Away {
                    self.phase = Phase::Rejoining;
                }
                if self.cursor.is_none() {
                    self.start = from.as_ref().map(|cursor| cursor.seq);
                    self.cursor.clone_from(from);
                }
            }
            EntryKind::Joined(head) => {
                self.phase = Phase::Joined;
                self.joined_head = Some(head.clone());
            }
            EntryKind::Event(event) => self.apply_event(collector, event),
            EntryKind::CaughtUp(cursor) => self.apply_caught_up(collector, cursor, checked),
            EntryKind::Gap { after, head } => self.apply_gap(collector, *after, head, checked),
            EntryKind::Page { after, upto, next, events } => {
                self.apply_page(collector, (*after, *upto, *next), events, checked)
            }
            EntryKind::Connected | EntryKind::Lost | EntryKind::Sent { .. } | EntryKind::Answered { .. } => {}
        }
    }

    fn apply_event(&mut self, collector: &mut ViolationCollector<'_, '_>, event: &Arc<Event>) {
        collector.check_audience(event);
        match &mut self.phase {
            Phase::Away => {
                collector.break_rule(Rule::Protocol, event.seq, format!("{event:?} came without a join"));
            }
            Phase::Rejoining => {}
            Phase::Filling { waiting, .. } => waiting.push(WaitingFrame::Event(event.clone())),
            Phase::Joined => {
                if let Some(head) = self.joined_head.take() {
                    let seq = self.cursor.as_ref().map_or(head.seq, |cursor| cursor.seq);
                    self.start.get_or_insert(seq);
                    self.cursor = Some(Cursor { epoch: head.epoch, seq });
                }
                self.add_event(collector, event);
            }
        }
    }

    fn apply_caught_up(
        &mut self,
        collector: &mut ViolationCollector<'_, '_>,
        at: &Cursor,
        checked: &mut CheckCounts,
    ) {
        match &mut self.phase {
            Phase::Rejoining => return,
            Phase::Away => {
                collector.break_rule(Rule::Protocol, at.seq, "room:caught_up came out of place".to_owned());
                return;
            }
            Phase::Filling { waiting, .. } => return waiting.push(WaitingFrame::CaughtUp(at.clone())),
            Phase::Joined => {}
        }
        if let Some(cursor) = self.cursor.as_ref().filter(|cursor| cursor.seq > at.seq) {
            let what = format!("caught up at {}, below {}", at.seq, cursor.seq);
            collector.break_rule(Rule::Protocol, at.seq, what);
        }
        // The epoch changes without a gap if PostgreSQL had everything that Redis lost.
        if self.cursor.as_ref().is_some_and(|cursor| cursor.epoch != at.epoch) {
            checked.new_epochs += 1;
        }
        self.joined_head = None;
        self.start.get_or_insert(at.seq);
        self.cursor = Some(at.clone());
    }

    fn apply_gap(
        &mut self,
        collector: &mut ViolationCollector<'_, '_>,
        after: u64,
        head: &Cursor,
        checked: &mut CheckCounts,
    ) {
        match self.phase {
            Phase::Rejoining => return,
            Phase::Away => {
                collector.break_rule(Rule::Protocol, after, "room:gap came without a join".to_owned());
                return;
            }
            Phase::Joined | Phase::Filling { .. } => {}
        }
        checked.gaps += 1;
        if let Some(cursor) = &self.cursor {
            if cursor.epoch != head.epoch {
                checked.new_epochs += 1;
            } else if after < cursor.seq {
                let what = format!("a gap from {after} on takes back what was given up to {cursor:?}");
                collector.break_rule(Rule::Protocol, after, what);
            }
        }
        let seq = self.cursor.as_ref().map_or(after, |cursor| cursor.seq.min(after));
        self.held.split_off(&(seq + 1));
        self.start = Some(self.start.map_or(seq, |start| start.min(seq)));
        self.joined_head = None;
        self.cursor = Some(Cursor { epoch: head.epoch.clone(), seq });
        self.phase = Phase::Filling { head: head.seq, waiting: Vec::new() };
        self.finish_fill_if_complete(collector, checked);
    }

    fn apply_page(
        &mut self,
        collector: &mut ViolationCollector<'_, '_>,
        (after, upto, next): (u64, u64, u64),
        events: &[Arc<Event>],
        checked: &mut CheckCounts,
    ) {
        events.iter().for_each(|event| collector.check_audience(event));
        let filling = matches!(self.phase, Phase::Filling { .. });
        if !filling || self.cursor.as_ref().is_none_or(|cursor| cursor.seq != after) {
            // The page belongs to a fill that has ended.
            return;
        }
        for event in events.iter().filter(|event| event.seq <= upto) {
            self.add_event(collector, event);
        }
        if let Some(cursor) = self.cursor.as_mut() {
            cursor.seq = cursor.seq.max(next.min(upto));
        }
        self.finish_fill_if_complete(collector, checked);
    }

    fn finish_fill_if_complete(
        &mut self,
        collector: &mut ViolationCollector<'_, '_>,
        checked: &mut CheckCounts,
    ) {
        let Phase::Filling { head, waiting } = &mut self.phase else { return };
        let filled = self.cursor.as_ref().map_or(0, |cursor| cursor.seq);
        if filled < *head {
            return;
        }
        let waiting = std::mem::take(waiting);
        self.phase = Phase::Joined;
        for frame in &waiting {
            match frame {
                WaitingFrame::Event(event) if event.seq <= filled => {}
                WaitingFrame::Event(event) => self.add_event(collector, event),
                WaitingFrame::CaughtUp(at) => self.apply_caught_up(collector, at, checked),
            }
        }
    }

    /// Adds an event to the view. Its seq must be above the cursor.
    fn add_event(&mut self, collector: &mut ViolationCollector<'_, '_>, event: &Arc<Event>) {
        let Some(cursor) = self.cursor.as_mut() else {
            collector.break_rule(
                Rule::Protocol,
                event.seq,
                format!("{event:?} came before any head was received"),
            );
            return;
        };
        if event.seq <= cursor.seq {
            let again = if self.held.get(&event.seq) == Some(event) { "again" } else { "late" };
            let what = format!("{event:?} came {again}, at or below {cursor:?}");
            collector.break_rule(Rule::Order, event.seq, what);
            return;
        }
        cursor.seq = event.seq;
        let epoch = cursor.epoch.clone();
        self.held.insert(event.seq, event.clone());
        if event.kind == "void" {
            return;
        }
        let key = (collector.entry.room.as_str(), epoch, event.seq);
        let (first, other) = collector
            .first_receptions
            .entry(key)
            .or_insert_with(|| (&collector.entry.user, event.clone()))
            .clone();
        if !is_same_reception(&other, event) {
            let what = format!("{event:?} in {cursor:?}, where {first} was given {other:?}");
            collector.break_rule(Rule::Agreement, event.seq, what);
        }
    }

    /// Checks after the last entry that the listener has all events that it must have, and that all its events are
    /// stored.
    fn check_complete(
        &self,
        room: &str,
        user: &str,
        log: &StoredLog,
        checked: &mut CheckCounts,
        violations: &mut Vec<Violation>,
    ) {
        let mut break_rule = |rule, seq, what| {
            violations.push(Violation { rule, room: room.to_owned(), seq, user: user.to_owned(), what });
        };
        let voids = self.held.values().filter(|event| event.kind == "message:void");
        let told_void: HashSet<u64> = voids.filter_map(|void| void.about.parse().ok()).collect();
        let mut client_ids = HashMap::new();
        for (seq, event) in &self.held {
            checked.deliveries += 1;
            let voided = event.kind == "void" || told_void.contains(seq);
            if !voided
                && event.kind == "message:new"
                && let Some(first) = client_ids.insert(&event.client_id, seq)
            {
                break_rule(Rule::Once, *seq, format!("holds {event:?}, and at {first} as well"));
            }
            match log.events.get(seq).and_then(|events| events.first()) {
                None => break_rule(Rule::Agreement, *seq, format!("holds {event:?}, which is not stored")),
                Some(stored) if !stored.equals_received(event) => {
                    break_rule(Rule::Agreement, *seq, format!("holds {event:?}, stored is {stored:?}"));
                }
                Some(stored) if stored.event.kind == "void" && !voided => {
                    break_rule(Rule::Complete, *seq, format!("holds {event:?}, and received no void for it"));
                }
                Some(_) => {}
            }
        }
        let (Some(start), Some(cursor)) = (self.start, &self.cursor) else { return };
        for (seq, events) in log.events.range(start + 1..) {
            let Some(stored) = events.first() else { continue };
            if !stored.is_visible_to(user) {
                checked.hidden += 1;
            } else if !self.held.contains_key(seq) && stored.event.kind != "void" {
                let what = format!("lacks {stored:?} (owed above {start}, ended at {cursor:?})");
                break_rule(Rule::Complete, *seq, what);
            }
        }
    }
}

/// Whether two listeners received the same event. The texts of a message may differ, because a listener may have read
/// the message over HTTP after an edit or delete.
fn is_same_reception(one: &Event, other: &Event) -> bool {
    let about = one.kind == "message:new" || one.about == other.about;
    about && one.kind == other.kind && one.id == other.id && one.client_id == other.client_id
}

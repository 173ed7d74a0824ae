//! The views of listeners: the rules `Order`, `Complete`, `Private`, `Agreement` and `Protocol`.
//! The position of each listener in a room is computed by the protocol's rules for clients, so the events it must have
//! at the end are known without asking the client.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use super::audience::Audiences;
use super::{Checked, Entry, Event, Rule, Stored, StoredEvent, Violation, What};
use crate::frames::Cursor;

/// The first event that a listener received at each position: (room, epoch, seq).
type Given<'a> = HashMap<(&'a str, String, u64), (&'a str, Arc<Event>)>;

pub(super) fn check(
    entries: &[Entry],
    stored: &BTreeMap<String, Stored>,
    checked: &mut Checked,
    violations: &mut Vec<Violation>,
) {
    let mut copies: BTreeMap<(&str, &str), Copy> = BTreeMap::new();
    let mut given = Given::new();
    let audiences = Audiences::of(entries);
    for entry in entries {
        if entry.room.is_empty() {
            if entry.what == What::Lost {
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
        let mut judge = Judge { entry, given: &mut given, audiences: &audiences, violations, log };
        copy.follow(&mut judge, checked);
    }
    let nothing = Stored::default();
    for ((room, user), copy) in &copies {
        copy.conclude(room, user, stored.get(*room).unwrap_or(&nothing), checked, violations);
    }
}

#[derive(Debug, Default, PartialEq)]
enum Phase {
    #[default]
    Away,
    /// It joins again on the same connection: frames that still come belong to the previous join.
    Asking,
    Joined,
    /// A gap is being filled up to this head; live events wait.
    Filling {
        head: u64,
        waiting: Vec<Arc<Event>>,
    },
}

/// One listener's view of one room.
#[derive(Debug, Default)]
struct Copy {
    phase: Phase,
    cursor: Option<Cursor>,
    /// The head in `room:joined`, until the first event shows that its epoch applies.
    told: Option<Cursor>,
    /// The listener must get everything above this.
    start: Option<u64>,
    held: BTreeMap<u64, Arc<Event>>,
}

/// Collects the violations.
struct Judge<'a, 'b> {
    entry: &'a Entry,
    given: &'b mut Given<'a>,
    audiences: &'b Audiences<'a>,
    violations: &'b mut Vec<Violation>,
    log: Option<&'a Stored>,
}

impl Judge<'_, '_> {
    fn break_rule(&mut self, rule: Rule, seq: u64, what: String) {
        let (room, user) = (self.entry.room.clone(), self.entry.user.clone());
        self.violations.push(Violation { rule, room, seq, user, what });
    }

    /// Counts an event as received, whatever the client does with it.
    fn received(&mut self, event: &Event) {
        if !self.audiences.allow(&self.entry.room, event, self.log, &self.entry.user) {
            self.break_rule(Rule::Private, event.seq, format!("{event:?} is not for them"));
        }
    }
}

impl Copy {
    fn follow<'a>(&mut self, judge: &mut Judge<'a, '_>, checked: &mut Checked) {
        match &judge.entry.what {
            What::Joining(from) => {
                if self.phase != Phase::Away {
                    self.phase = Phase::Asking;
                }
                if self.cursor.is_none() {
                    self.start = from.as_ref().map(|cursor| cursor.seq);
                    self.cursor.clone_from(from);
                }
            }
            What::Joined(head) => {
                self.phase = Phase::Joined;
                self.told = Some(head.clone());
            }
            What::Event(event) => self.event(judge, event),
            What::CaughtUp(cursor) => self.caught_up(judge, cursor, checked),
            What::Gap { after, head } => self.gap(judge, *after, head, checked),
            What::Page { after, upto, next, events } => self.page(judge, (*after, *upto, *next), events),
            What::Connected | What::Lost | What::Sent { .. } | What::Answered { .. } => {}
        }
    }

    fn event(&mut self, judge: &mut Judge<'_, '_>, event: &Arc<Event>) {
        judge.received(event);
        match &mut self.phase {
            Phase::Away => {
                judge.break_rule(Rule::Protocol, event.seq, format!("{event:?} came without a join"));
            }
            Phase::Asking => {}
            Phase::Filling { waiting, .. } => waiting.push(event.clone()),
            Phase::Joined => {
                if let Some(told) = self.told.take() {
                    let seq = self.cursor.as_ref().map_or(told.seq, |cursor| cursor.seq);
                    self.start.get_or_insert(seq);
                    self.cursor = Some(Cursor { epoch: told.epoch, seq });
                }
                self.take(judge, event);
            }
        }
    }

    fn caught_up(&mut self, judge: &mut Judge<'_, '_>, at: &Cursor, checked: &mut Checked) {
        match self.phase {
            Phase::Asking => return,
            Phase::Away | Phase::Filling { .. } => {
                judge.break_rule(Rule::Protocol, at.seq, "room:caught_up came out of place".to_owned());
                return;
            }
            Phase::Joined => {}
        }
        if let Some(cursor) = self.cursor.as_ref().filter(|cursor| cursor.seq > at.seq) {
            let what = format!("caught up at {}, below {}", at.seq, cursor.seq);
            judge.break_rule(Rule::Protocol, at.seq, what);
        }
        // If PostgreSQL had everything that Redis lost, the epoch changes without a gap.
        if self.cursor.as_ref().is_some_and(|cursor| cursor.epoch != at.epoch) {
            checked.new_epochs += 1;
        }
        self.told = None;
        self.start.get_or_insert(at.seq);
        self.cursor = Some(at.clone());
    }

    fn gap(&mut self, judge: &mut Judge<'_, '_>, after: u64, head: &Cursor, checked: &mut Checked) {
        match self.phase {
            Phase::Asking => return,
            Phase::Away => {
                judge.break_rule(Rule::Protocol, after, "room:gap came without a join".to_owned());
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
                judge.break_rule(Rule::Protocol, after, what);
            }
        }
        let seq = self.cursor.as_ref().map_or(after, |cursor| cursor.seq.min(after));
        self.held.split_off(&(seq + 1));
        self.start = Some(self.start.map_or(seq, |start| start.min(seq)));
        self.told = None;
        self.cursor = Some(Cursor { epoch: head.epoch.clone(), seq });
        self.phase = Phase::Filling { head: head.seq, waiting: Vec::new() };
        self.fill_ends(judge);
    }

    fn page(
        &mut self,
        judge: &mut Judge<'_, '_>,
        (after, upto, next): (u64, u64, u64),
        events: &[Arc<Event>],
    ) {
        events.iter().for_each(|event| judge.received(event));
        let filling = matches!(self.phase, Phase::Filling { .. });
        if !filling || self.cursor.as_ref().is_none_or(|cursor| cursor.seq != after) {
            // The page belongs to a fill that has ended.
            return;
        }
        for event in events.iter().filter(|event| event.seq <= upto) {
            self.take(judge, event);
        }
        if let Some(cursor) = self.cursor.as_mut() {
            cursor.seq = cursor.seq.max(next.min(upto));
        }
        self.fill_ends(judge);
    }

    fn fill_ends(&mut self, judge: &mut Judge<'_, '_>) {
        let Phase::Filling { head, waiting } = &mut self.phase else { return };
        let filled = self.cursor.as_ref().map_or(0, |cursor| cursor.seq);
        if filled < *head {
            return;
        }
        let waiting = std::mem::take(waiting);
        self.phase = Phase::Joined;
        for event in waiting.iter().filter(|event| event.seq > filled) {
            self.take(judge, event);
        }
    }

    /// Takes an event, which must be above all previous ones.
    fn take(&mut self, judge: &mut Judge<'_, '_>, event: &Arc<Event>) {
        let Some(cursor) = self.cursor.as_mut() else {
            judge.break_rule(Rule::Protocol, event.seq, format!("{event:?} came before any head was told"));
            return;
        };
        if event.seq <= cursor.seq {
            let again = if self.held.get(&event.seq) == Some(event) { "again" } else { "late" };
            let what = format!("{event:?} came {again}, at or below {cursor:?}");
            judge.break_rule(Rule::Order, event.seq, what);
            return;
        }
        cursor.seq = event.seq;
        let epoch = cursor.epoch.clone();
        self.held.insert(event.seq, event.clone());
        if event.kind == "void" {
            return;
        }
        let key = (judge.entry.room.as_str(), epoch, event.seq);
        let (first, other) =
            judge.given.entry(key).or_insert_with(|| (&judge.entry.user, event.clone())).clone();
        if !are_one(&other, event) {
            let what = format!("{event:?} in {cursor:?}, where {first} was given {other:?}");
            judge.break_rule(Rule::Agreement, event.seq, what);
        }
    }

    /// Checks at the end that the listener has all events it must have, and only stored events.
    fn conclude(
        &self,
        room: &str,
        user: &str,
        log: &Stored,
        checked: &mut Checked,
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
                Some(stored) if !is_same(event, stored) => {
                    break_rule(Rule::Agreement, *seq, format!("holds {event:?}, stored is {stored:?}"));
                }
                Some(stored) if stored.event.kind == "void" && !voided => {
                    break_rule(
                        Rule::Complete,
                        *seq,
                        format!("holds {event:?}, and was not told of its void"),
                    );
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

/// Whether a received event equals the stored one. At the position of a void, a listener may have received the record
/// before it became void. Frames of changes contain no client id.
fn is_same(event: &Event, stored: &StoredEvent) -> bool {
    let Event { kind, id, client_id, about, .. } = &stored.event;
    match kind.as_str() {
        "void" => event.kind == "void" || event.client_id.is_empty() || event.client_id == *client_id,
        "message:new" => {
            event.kind == *kind
                && event.id == *id
                && event.client_id == *client_id
                && (stored.changed || event.about == *about)
        }
        _ => event.kind == *kind && event.about == *about,
    }
}

/// Whether two listeners received the same event. One may have read it from history, after an edit or delete.
fn are_one(one: &Event, other: &Event) -> bool {
    let about = one.kind == "message:new" || one.about == other.about;
    about && one.kind == other.kind && one.id == other.id && one.client_id == other.client_id
}

//! What became of what was sent: the rules `Stored`, `Accepted`, `Once`, `Dense` and `Sent`.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use super::{Answer, Checked, Entry, Rule, Stored, StoredEvent, Violation, What};

/// One message of one sender.
#[derive(Default)]
struct Message<'a> {
    text: &'a str,
    visible_to: &'a [String],
    stored: Vec<(u64, &'a str)>,
    /// When it was first answered `accepted`.
    accepted: Option<Duration>,
}

/// (room, sender, client id)
type Key<'a> = (&'a str, &'a str, &'a str);

pub(super) fn check(
    entries: &[Entry],
    stored: &BTreeMap<String, Stored>,
    checked: &mut Checked,
    violations: &mut Vec<Violation>,
) {
    let messages = gather(entries);
    let mut places: HashMap<Key<'_>, Vec<&StoredEvent>> = HashMap::new();
    for (room, log) in stored {
        dense(room, log, violations);
        for event in log.events.values().flatten().filter(|event| event.event.kind == "message:new") {
            places.entry((room, &event.by, &event.event.client_id)).or_default().push(event);
        }
    }
    for ((room, sender, client_id), found) in &places {
        let mut break_rule = |rule, what| {
            let seq = found.first().map_or(0, |event| event.event.seq);
            violations.push(violation(rule, room, seq, sender, what));
        };
        if found.len() > 1 {
            let seqs: Vec<u64> = found.iter().map(|event| event.event.seq).collect();
            break_rule(Rule::Once, format!("{client_id} stands at {seqs:?}"));
        }
        match messages.get(&(*room, *sender, *client_id)) {
            None => break_rule(Rule::Sent, format!("nobody sent {client_id}")),
            Some(message) => {
                for event in found {
                    let visible = event.visible_to.as_deref().unwrap_or_default();
                    if visible != message.visible_to || !event.changed && event.event.about != message.text {
                        break_rule(Rule::Sent, format!("{client_id} is stored as {event:?}"));
                    }
                }
            }
        }
    }
    for ((room, sender, client_id), message) in &messages {
        let found = places.get(&(*room, *sender, *client_id)).map(Vec::as_slice).unwrap_or_default();
        for (seq, id) in &message.stored {
            checked.stored += 1;
            if !found.iter().any(|event| event.event.seq == *seq && event.event.id == *id) {
                let what = format!("{client_id} was answered stored at {seq} as {id}, and is at {found:?}");
                violations.push(violation(Rule::Stored, room, *seq, sender, what));
            }
        }
        let Some(at) = message.accepted.filter(|_| message.stored.is_empty()) else { continue };
        checked.accepted += 1;
        if found.is_empty() {
            checked.given_up += 1;
            if !was_told(entries, room, sender, client_id, at) {
                let what = format!("{client_id} was accepted, is lost, and its sender was not told");
                violations.push(violation(Rule::Accepted, room, 0, sender, what));
            }
        }
    }
}

fn gather(entries: &[Entry]) -> HashMap<Key<'_>, Message<'_>> {
    let mut messages: HashMap<Key<'_>, Message<'_>> = HashMap::new();
    for entry in entries {
        match &entry.what {
            What::Sent { client_id, text, visible_to } => {
                let message = messages.entry((&entry.room, &entry.user, client_id)).or_default();
                (message.text, message.visible_to) = (text, visible_to);
            }
            What::Answered { client_id, answer } => {
                let message = messages.entry((&entry.room, &entry.user, client_id)).or_default();
                match answer {
                    Answer::Stored { seq, id } => message.stored.push((*seq, id)),
                    Answer::Accepted { .. } => {
                        message.accepted.get_or_insert(entry.at);
                    }
                    Answer::Refused { .. } => {}
                }
            }
            _ => {}
        }
    }
    messages
}

/// By `message:void` of its client id, or by a gap with a new epoch, since it was accepted.
fn was_told(entries: &[Entry], room: &str, sender: &str, client_id: &str, since: Duration) -> bool {
    let mut epoch = None;
    entries.iter().filter(|entry| entry.room == room && entry.user == sender).any(|entry| {
        let late = entry.at >= since;
        let voids = |event: &super::Event| event.kind == "message:void" && event.client_id == client_id;
        match &entry.what {
            What::Event(event) => late && voids(event),
            What::Page { events, .. } => late && events.iter().any(|event| voids(event)),
            What::Gap { head, .. } => {
                let new = epoch.replace(head.epoch.as_str()).is_some_and(|before| before != head.epoch);
                late && new
            }
            What::CaughtUp(cursor) => {
                epoch = Some(cursor.epoch.as_str());
                false
            }
            _ => false,
        }
    })
}

fn dense(room: &str, log: &Stored, violations: &mut Vec<Violation>) {
    let mut break_rule = |seq, what: String| violations.push(violation(Rule::Dense, room, seq, "", what));
    for (expected, (seq, events)) in (1..).zip(&log.events) {
        if *seq != expected {
            break_rule(expected, format!("nothing is stored at {expected}, and something at {seq}"));
            return;
        }
        if events.len() != 1 {
            break_rule(*seq, format!("stored there: {events:?}"));
        }
    }
    let last = log.events.keys().next_back().copied().unwrap_or_default();
    if last != log.head {
        break_rule(last, format!("the last is {last}, the room's head {}", log.head));
    }
}

fn violation(rule: Rule, room: &str, seq: u64, user: &str, what: String) -> Violation {
    Violation { rule, room: room.to_owned(), seq, user: user.to_owned(), what }
}

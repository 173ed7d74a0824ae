//! The outcomes of sent messages: the rules `Stored`, `Accepted`, `Once`, `Dense` and `Sent`.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use super::{AckOutcome, Checked, Entry, Rule, Stored, StoredEvent, Violation, What};

/// One message of one sender.
#[derive(Default)]
struct Message<'a> {
    text: &'a str,
    visible_to: &'a [String],
    stored: Vec<(u64, &'a str)>,
    accepted: Vec<Accepted<'a>>,
}

/// An answer `accepted`.
struct Accepted<'a> {
    at: Duration,
    epoch: &'a str,
    seq: u64,
    id: &'a str,
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
        checked.accepted += u64::from(message.stored.is_empty() && !message.accepted.is_empty());
        checked.given_up += u64::from(found.is_empty() && !message.accepted.is_empty());
        for accepted in &message.accepted {
            let stands =
                |event: &&&StoredEvent| event.event.seq == accepted.seq && event.event.id == accepted.id;
            if !found.iter().any(|event| stands(&event))
                && !was_told(entries, room, sender, client_id, accepted)
            {
                let Accepted { epoch, seq, id, .. } = accepted;
                let what = format!(
                    "{client_id} was accepted at {seq} of epoch {epoch} as {id}, is at {found:?}, and its sender was \
                     not told"
                );
                violations.push(violation(Rule::Accepted, room, *seq, sender, what));
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
                    AckOutcome::Stored { seq, id } => message.stored.push((*seq, id)),
                    AckOutcome::Accepted { epoch, seq, id } => {
                        message.accepted.push(Accepted { at: entry.at, epoch, seq: *seq, id });
                    }
                    AckOutcome::Refused { .. } => {}
                }
            }
            _ => {}
        }
    }
    messages
}

/// Whether the sender was informed of the loss after it was accepted: by `message:void` with its client id, by a gap of
/// a later epoch that begins below it, or by a `room:caught_up` of a later epoch without the message.
fn was_told(entries: &[Entry], room: &str, sender: &str, client_id: &str, accepted: &Accepted<'_>) -> bool {
    let later = |epoch: &str| number(epoch) > number(accepted.epoch);
    let voids = |event: &super::Event| event.kind == "message:void" && event.client_id == client_id;
    let since = entries.iter().filter(|entry| entry.at >= accepted.at);
    since.filter(|entry| entry.room == room && entry.user == sender).any(|entry| match &entry.what {
        What::Event(event) => voids(event),
        What::Page { events, .. } => events.iter().any(|event| voids(event)),
        What::Gap { after, head } => *after < accepted.seq && later(&head.epoch),
        What::CaughtUp(cursor) => later(&cursor.epoch),
        _ => false,
    })
}

fn number(epoch: &str) -> u64 {
    epoch.parse().unwrap_or_default()
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

//! The outcomes of sent messages: the rules `StoredLog`, `AcceptedAnswer`, `Once`, `Dense` and `Sent`.

use std::collections::{BTreeMap, HashMap};
use std::ops::RangeInclusive;
use std::time::Duration;

use super::{AckOutcome, CheckCounts, Entry, EntryKind, Rule, StoredEvent, StoredLog, Violation};

/// A gateway may append a message this long after its client last sent it, and may use a Redis process this long after
/// another one has replaced it.
const MAX_DELAY: Duration = Duration::from_secs(30);

/// One message of one sender: what was sent, and the answers to it.
#[derive(Default)]
struct SentMessage<'a> {
    text: &'a str,
    visible_to: &'a [String],
    stored: Vec<(u64, &'a str)>,
    accepted: Vec<AcceptedAnswer<'a>>,
    /// When the message was first sent, and the last time that it was sent or answered.
    times: Option<(Duration, Duration)>,
    /// How often the client sent `attempt: 1`.
    first_attempts: u32,
}

impl SentMessage<'_> {
    /// Whether a second event may have become a void: Redis lost data between the events, or the client sent
    /// `attempt: 1` twice.
    fn may_be_duplicated(&self, redis_losses: &[RangeInclusive<Duration>]) -> bool {
        let loses = |(first, last): (Duration, Duration)| {
            let meanwhile = |loss: &RangeInclusive<Duration>| {
                first <= loss.end().saturating_add(MAX_DELAY)
                    && *loss.start() <= last.saturating_add(MAX_DELAY)
            };
            redis_losses.iter().any(meanwhile)
        };
        self.first_attempts > 1 || self.times.is_some_and(loses)
    }
}

/// An answer `accepted`.
struct AcceptedAnswer<'a> {
    at: Duration,
    epoch: &'a str,
    seq: u64,
    id: &'a str,
}

/// Identifies a sent message: (room, sender, client id).
type MessageKey<'a> = (&'a str, &'a str, &'a str);

pub(super) fn check(
    entries: &[Entry],
    stored: &BTreeMap<String, StoredLog>,
    redis_losses: &[RangeInclusive<Duration>],
    checked: &mut CheckCounts,
    violations: &mut Vec<Violation>,
) {
    let messages = messages_by_key(entries);
    let mut stored_by_key: HashMap<MessageKey<'_>, Vec<&StoredEvent>> = HashMap::new();
    for (room, log) in stored {
        check_dense(room, log, violations);
        for event in log.events.values().flatten().filter(|event| event.event.kind == "message:new") {
            stored_by_key.entry((room, &event.by, &event.event.client_id)).or_default().push(event);
        }
    }
    for (room, log) in stored {
        for void in log.events.values().flatten().filter(|event| event.event.kind == "void") {
            let key = (&**room, &*void.by, &*void.event.client_id);
            // A void without a message of the same client id was rejected.
            let (Some([first, ..]), Some(message)) =
                (stored_by_key.get(&key).map(Vec::as_slice), messages.get(&key))
            else {
                continue;
            };
            if !message.may_be_duplicated(redis_losses) {
                let what = format!("{} stands at {}, and again as a void", key.2, first.event.seq);
                violations.push(violation(Rule::Once, room, void.event.seq, &void.by, what));
            }
        }
    }
    for ((room, sender, client_id), found) in &stored_by_key {
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
        let found = stored_by_key.get(&(*room, *sender, *client_id)).map(Vec::as_slice).unwrap_or_default();
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
                && !was_informed(entries, room, sender, client_id, accepted)
            {
                let AcceptedAnswer { epoch, seq, id, .. } = accepted;
                let what = format!(
                    "{client_id} was accepted at {seq} of epoch {epoch} as {id}, is at {found:?}, and its sender was \
                     not told"
                );
                violations.push(violation(Rule::Accepted, room, *seq, sender, what));
            }
        }
    }
}

fn messages_by_key(entries: &[Entry]) -> HashMap<MessageKey<'_>, SentMessage<'_>> {
    let mut messages: HashMap<MessageKey<'_>, SentMessage<'_>> = HashMap::new();
    for entry in entries {
        match &entry.what {
            EntryKind::Sent { client_id, text, visible_to, attempt } => {
                let message = messages.entry((&entry.room, &entry.user, client_id)).or_default();
                (message.text, message.visible_to) = (text, visible_to);
                message.first_attempts += u32::from(*attempt == 1);
                message.times = Some((message.times.map_or(entry.at, |(first, _)| first), entry.at));
            }
            EntryKind::Answered { client_id, answer } => {
                let message = messages.entry((&entry.room, &entry.user, client_id)).or_default();
                message.times = Some((message.times.map_or(entry.at, |(first, _)| first), entry.at));
                match answer {
                    AckOutcome::Stored { seq, id } => message.stored.push((*seq, id)),
                    AckOutcome::Accepted { epoch, seq, id } => {
                        message.accepted.push(AcceptedAnswer { at: entry.at, epoch, seq: *seq, id });
                    }
                    AckOutcome::Refused { .. } => {}
                }
            }
            _ => {}
        }
    }
    messages
}

/// Whether the sender learnt that the message is lost, after it was accepted: by a `message:void` with its client id,
/// by a gap of a later epoch that begins below the message, or by a `room:caught_up` of a later epoch without it.
fn was_informed(
    entries: &[Entry],
    room: &str,
    sender: &str,
    client_id: &str,
    accepted: &AcceptedAnswer<'_>,
) -> bool {
    let later = |epoch: &str| epoch_number(epoch) > epoch_number(accepted.epoch);
    let voids = |event: &super::Event| event.kind == "message:void" && event.client_id == client_id;
    let since = entries.iter().filter(|entry| entry.at >= accepted.at);
    since.filter(|entry| entry.room == room && entry.user == sender).any(|entry| match &entry.what {
        EntryKind::Event(event) => voids(event),
        EntryKind::Page { events, .. } => events.iter().any(|event| voids(event)),
        EntryKind::Gap { after, head } => *after < accepted.seq && later(&head.epoch),
        EntryKind::CaughtUp(cursor) => later(&cursor.epoch),
        _ => false,
    })
}

fn epoch_number(epoch: &str) -> u64 {
    epoch.parse().unwrap_or_default()
}

fn check_dense(room: &str, log: &StoredLog, violations: &mut Vec<Violation>) {
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

//! The audience of events: the rule `Private`. The audience of a message is what its sender requested, whether it is
//! stored or not. The audience of a change is that of its message.

use std::collections::{BTreeMap, HashMap};

use super::{Entry, EntryKind, Event, Rule, StoredEvent, StoredLog, Violation};

/// Sender and audience of each sent message, by room and client id. An empty audience means everyone.
pub(super) struct Audiences<'a>(HashMap<(&'a str, &'a str), (&'a str, &'a [String])>);

impl<'a> Audiences<'a> {
    pub fn from_entries(entries: &'a [Entry]) -> Self {
        let sent = entries.iter().filter_map(|entry| match &entry.what {
            EntryKind::Sent { client_id, visible_to, .. } => {
                Some(((&*entry.room, &**client_id), (&*entry.user, &**visible_to)))
            }
            _ => None,
        });
        Self(sent.collect())
    }

    /// Whether this user may receive this event.
    pub fn may_receive(&self, room: &str, event: &Event, log: Option<&StoredLog>, user: &str) -> bool {
        if event.kind == "message:new" {
            let sent = self.0.get(&(room, &*event.client_id));
            return sent.is_none_or(|(sender, visible_to)| {
                visible_to.is_empty() || *sender == user || visible_to.iter().any(|visible| visible == user)
            });
        }
        // In a later epoch the same seq may belong to another message, so only a stored event identifies the target.
        let Some(log) = log else { return true };
        let stored = log.events.get(&event.seq).and_then(|events| events.first());
        let Some(stored) = stored.filter(|stored| stored.event == *event) else { return true };
        stored.is_visible_to(user)
            && changed_message(log, stored).is_none_or(|target| target.is_visible_to(user))
    }
}

/// The stored message that an event changes; `None` if the event changes no message.
fn changed_message<'a>(log: &'a StoredLog, event: &StoredEvent) -> Option<&'a StoredEvent> {
    let target = event.event.about.parse().ok().filter(|_| event.event.kind != "message:new")?;
    log.events.get(&target)?.first().filter(|target| target.event.kind == "message:new")
}

/// Checks that stored changes have no larger audience than their message.
pub(super) fn check(stored: &BTreeMap<String, StoredLog>, violations: &mut Vec<Violation>) {
    for (room, log) in stored {
        for event in log.events.values().flatten() {
            let Some(target) = changed_message(log, event) else { continue };
            let wider = match (&event.visible_to, &target.visible_to) {
                (_, None) => false,
                (None, Some(_)) => true,
                (Some(users), Some(_)) => users.iter().any(|user| !target.is_visible_to(user)),
            };
            if wider {
                let what = format!("{event:?} is for more than what it is about, {target:?}");
                let (room, user) = (room.clone(), String::new());
                violations.push(Violation { rule: Rule::Private, room, seq: event.event.seq, user, what });
            }
        }
    }
}

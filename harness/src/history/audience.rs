//! For whom an event is: the rule `Private`. What was said is judged by what its sender asked for, whether it is stored or
//! not; what changes a message by whom that message is for.

use std::collections::{BTreeMap, HashMap};

use super::{Entry, Event, Rule, Stored, StoredEvent, Violation, What};

/// Of each message that was sent: who sent it, and for whom; nobody named: for all.
pub(super) struct Audiences<'a>(HashMap<(&'a str, &'a str), (&'a str, &'a [String])>);

impl<'a> Audiences<'a> {
    pub fn of(entries: &'a [Entry]) -> Self {
        let sent = entries.iter().filter_map(|entry| match &entry.what {
            What::Sent { client_id, visible_to, .. } => {
                Some(((&*entry.room, &**client_id), (&*entry.user, &**visible_to)))
            }
            _ => None,
        });
        Self(sent.collect())
    }

    /// Whether a user may be given an event.
    pub fn allow(&self, room: &str, event: &Event, log: Option<&Stored>, user: &str) -> bool {
        if event.kind == "message:new" {
            let sent = self.0.get(&(room, &*event.client_id));
            return sent.is_none_or(|(sender, visible_to)| {
                visible_to.is_empty() || *sender == user || visible_to.iter().any(|visible| visible == user)
            });
        }
        // What it is about may be another message in a later epoch: only what is stored says what it was.
        let Some(log) = log else { return true };
        let stored = log.events.get(&event.seq).and_then(|events| events.first());
        let Some(stored) = stored.filter(|stored| stored.event == *event) else { return true };
        stored.is_visible_to(user) && target(log, stored).is_none_or(|target| target.is_visible_to(user))
    }
}

/// The message that an event is about.
fn target<'a>(log: &'a Stored, event: &StoredEvent) -> Option<&'a StoredEvent> {
    let target = event.event.about.parse().ok().filter(|_| event.event.kind != "message:new")?;
    log.events.get(&target)?.first().filter(|target| target.event.kind == "message:new")
}

/// What is stored of a message is for nobody whom the message is not for.
pub(super) fn check(stored: &BTreeMap<String, Stored>, violations: &mut Vec<Violation>) {
    for (room, log) in stored {
        for event in log.events.values().flatten() {
            let Some(target) = target(log, event) else { continue };
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

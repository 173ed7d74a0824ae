//! The stored data at the end of a run, read from PostgreSQL's tables without the services.

use std::collections::BTreeMap;

use anyhow::{Context, Result};

use super::Event;
use crate::postgres::Database;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredEvent {
    /// The event. Its kind is `void` if it was a late duplicate or was rejected.
    pub event: Event,
    /// The user who caused the event.
    pub by: String,
    /// The users who may see the event; `None` if all members may.
    pub visible_to: Option<Vec<String>>,
    /// Whether the message was edited or deleted.
    pub changed: bool,
}

impl StoredEvent {
    /// Whether a received event equals this one. At the position of a void, a listener may have received the record
    /// before it became void. Such a record has the client id of the void, or none if it is a change.
    pub(crate) fn equals_received(&self, received: &Event) -> bool {
        let Event { kind, id, client_id, about, .. } = &self.event;
        match kind.as_str() {
            "void" => {
                received.kind == "void" || received.client_id.is_empty() || received.client_id == *client_id
            }
            "message:new" => {
                received.kind == *kind
                    && received.id == *id
                    && received.client_id == *client_id
                    && (self.changed || received.about == *about)
            }
            _ => received.kind == *kind && received.about == *about,
        }
    }

    /// Whether a user may see the event.
    pub fn is_visible_to(&self, user: &str) -> bool {
        self.by == user
            || self.visible_to.as_ref().is_none_or(|users| users.iter().any(|visible| visible == user))
    }
}

/// The stored log of one room.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StoredLog {
    /// The head of the room, from the table `rooms`.
    pub head: u64,
    /// The events by position. More than one event at a position is a violation.
    pub events: BTreeMap<u64, Vec<StoredEvent>>,
}

/// Reads the logs of all rooms, by room id. Ignores audiences that are given by role, because the recorded runs address
/// only users.
pub async fn read_stored(database: &Database) -> Result<BTreeMap<String, StoredLog>> {
    let mut rooms = BTreeMap::new();
    for row in database.query("SELECT id, head_seq FROM rooms").await? {
        let [id, head] = row.as_slice() else { continue };
        let head = head.parse().context("a head")?;
        rooms.insert(id.clone(), StoredLog { head, events: BTreeMap::new() });
    }
    let rows = "SELECT room_id, seq, 'message:new', id::text, client_id, content, sender_id, \
          visible_users IS NOT NULL, array_to_string(visible_users, ','), deleted OR edited_at IS NOT NULL \
        FROM messages \
        UNION ALL SELECT room_id, seq, type, '', coalesce(client_id, ''), coalesce(target::text, ''), \
          coalesce(actor_id, ''), visible_users IS NOT NULL, array_to_string(visible_users, ','), false FROM events";
    for row in database.query(rows).await? {
        let [room, seq, kind, id, client_id, about, by, private, users, changed] = row.as_slice() else {
            anyhow::bail!("a row of another form: {row:?}")
        };
        let seq = seq.parse().context("a seq")?;
        let event = Event {
            seq,
            kind: kind.clone(),
            id: id.clone(),
            client_id: client_id.clone(),
            about: about.clone(),
        };
        let users = || users.split(',').map(str::to_owned).collect();
        let stored = StoredEvent {
            event,
            by: by.clone(),
            visible_to: (private == "t").then(users),
            changed: changed == "t",
        };
        let room = rooms.get_mut(room).context("an event of no room")?;
        room.events.entry(seq).or_default().push(stored);
    }
    Ok(rooms)
}

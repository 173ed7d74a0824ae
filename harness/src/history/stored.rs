//! The stored data at the end, read from PostgreSQL's tables without the services.

use std::collections::BTreeMap;

use anyhow::{Context, Result};

use super::Event;
use crate::postgres::Database;

/// A stored event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredEvent {
    /// A void has the kind `void`.
    pub event: Event,
    /// Its sender.
    pub by: String,
    /// Its audience; `None`: all members.
    pub visible_to: Option<Vec<String>>,
    /// Whether its text was changed: edited, or deleted.
    pub changed: bool,
}

impl StoredEvent {
    /// Whether a user may see it.
    pub fn is_visible_to(&self, user: &str) -> bool {
        self.by == user
            || self.visible_to.as_ref().is_none_or(|users| users.iter().any(|visible| visible == user))
    }
}

/// A stored room log.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Stored {
    /// The head in the room's row.
    pub head: u64,
    /// By position; more than one event at a position is a violation.
    pub events: BTreeMap<u64, Vec<StoredEvent>>,
}

/// Reads all rooms. Visibility by role is ignored, because histories only use users.
///
/// # Errors
/// When the database cannot be read.
pub async fn read_stored(database: &Database) -> Result<BTreeMap<String, Stored>> {
    let mut rooms = BTreeMap::new();
    for row in database.query("SELECT id, head_seq FROM rooms").await? {
        let [id, head] = row.as_slice() else { continue };
        let head = head.parse().context("a head")?;
        rooms.insert(id.clone(), Stored { head, events: BTreeMap::new() });
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

//! An endpoint, as it is stored. Pure.

use std::collections::BTreeSet;

use chrono::{DateTime, Utc};

/// A registered endpoint.
#[derive(Debug, Clone)]
pub struct Endpoint {
    pub id: String,
    pub url: String,
    pub description: String,
    /// Only events of these rooms; all if empty.
    pub rooms: BTreeSet<String>,
    /// Only events of these types; all if empty.
    pub types: Vec<String>,
    /// Whether an event waits until the earlier events of its room are delivered or dead.
    pub ordered: bool,
    pub disabled_because: Option<String>,
    pub secret: String,
    pub previous_secret: Option<String>,
    /// Until when deliveries are also signed with the previous secret.
    pub previous_until: Option<DateTime<Utc>>,
    /// The position of this endpoint in the feed.
    pub cursor: String,
    pub created_at: DateTime<Utc>,
    pub updated_at: DateTime<Utc>,
}

impl Endpoint {
    /// The secrets that sign at this time, the newest first.
    pub fn secrets(&self, now: DateTime<Utc>) -> Vec<&str> {
        let mut secrets = vec![self.secret.as_str()];
        if self.previous_until.is_some_and(|until| now < until) {
            secrets.extend(self.previous_secret.as_deref());
        }
        secrets
    }

    /// Whether the endpoint gets events of this room.
    pub fn wants_room(&self, room: &str) -> bool {
        self.rooms.is_empty() || self.rooms.contains(room)
    }
}

/// Why an endpoint is disabled, as clients see it.
pub mod reason {
    /// An admin disabled the endpoint.
    pub const ADMIN: &str = "admin";
    /// The endpoint answered 410.
    pub const GONE: &str = "gone";
    /// The endpoint has too many dead letters.
    pub const DEAD_LETTERS: &str = "dead_letters";
}

//! An endpoint, as it is stored. Pure.

use chrono::{DateTime, Utc};

pub use crate::store::endpoints::Model as Endpoint;

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
        self.rooms.is_empty() || self.rooms.iter().any(|wanted| wanted == room)
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

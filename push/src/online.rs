//! Reads from Redis, through the client of the log, whether a user is online.

use std::sync::Arc;
use std::time::Duration;

use tidings_shared::ids::UserId;
use tidings_shared::log::Log;
use tidings_shared::presence::states_by_user;
use tidings_shared::protocol::Status;

/// Time limit of a look-up. After it the user counts as not online: an extra notification is better than a missing one.
const LOOKUP_TIMEOUT: Duration = Duration::from_secs(2);

/// The presence of users.
pub struct PresenceLookup {
    pub log: Arc<Log>,
}

impl PresenceLookup {
    /// Whether a user is online; `away` counts as not online. None if Redis gives no answer.
    pub async fn is_online(&self, user: &UserId) -> Option<bool> {
        let users = [user.clone()];
        let states =
            tokio::time::timeout(LOOKUP_TIMEOUT, states_by_user(&self.log, &users)).await.ok()?.ok()?;
        Some(states.get(user)?.status == Some(Status::Online))
    }
}

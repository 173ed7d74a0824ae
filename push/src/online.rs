//! Reads from Redis whether a user is online.

use std::time::Duration;

use tidings_shared::ids::UserId;
use tidings_shared::log::SessionError;
use tidings_shared::presence::PresenceReader;
use tidings_shared::protocol::Status;

/// Time limit of a look-up. After it the user counts as not online: an extra notification is better than a missing one.
const LOOKUP_TIMEOUT: Duration = Duration::from_secs(2);

/// The presence of users.
pub struct PresenceLookup {
    pub reader: PresenceReader,
}

impl PresenceLookup {
    /// Whether a user is online; `away` counts as not online. None if Redis gives no answer.
    pub async fn is_online(&self, user: &UserId) -> Option<bool> {
        match tokio::time::timeout(LOOKUP_TIMEOUT, self.read(user)).await {
            Ok(Ok(is_online)) => Some(is_online),
            Ok(Err(_)) | Err(_) => {
                self.reader.reset(user);
                None
            }
        }
    }

    /// Whether a user is online. A second attempt finds a Redis process that has taken the place of another one.
    async fn read(&self, user: &UserId) -> Result<bool, SessionError> {
        let state = match self.reader.state(user).await {
            Ok(state) => state,
            Err(error) => {
                tracing::debug!(%error, "presence cannot be read");
                self.reader.reset(user);
                self.reader.state(user).await?
            }
        };
        Ok(state.status == Some(Status::Online))
    }
}

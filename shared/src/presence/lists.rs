//! Reads the presence of users over all shards. In a Redis Cluster, users whose shard does not answer are left out.

use std::collections::HashMap;

use super::{PresencePartition, PresenceState, states};
use crate::{
    ids::UserId,
    internal::presence::LastSeen,
    log::{Log, RoundTrip, SessionError},
    protocol::server::Presence,
};

/// Reads the present states of users. Leaves out users whose shard does not answer. Fails if that is so for all users.
pub async fn states_by_user(
    log: &Log,
    users: &[UserId],
) -> Result<HashMap<UserId, PresenceState>, SessionError> {
    let partition_of = |user: &UserId| PresencePartition::of(user).partition();
    let (mut found, mut failure) = (HashMap::with_capacity(users.len()), None);
    for (session, users) in log.group_by_open_session(users.to_vec(), partition_of).await? {
        let mut connection = session.connection();
        match log.timed(RoundTrip::Presence, states(&mut connection, &users)).await {
            Ok(read) => found.extend(users.into_iter().zip(read)),
            Err(error) => {
                log.discard_if_unusable(&session, &error);
                failure = Some(error);
            }
        }
    }
    if found.is_empty() && !users.is_empty() {
        let no_session = || SessionError::AttemptFailed("no shard of the users has a session".to_owned());
        return Err(failure.map_or_else(no_session, SessionError::Redis));
    }
    Ok(found)
}

/// Returns the presence of `others`, in their order, for a user who shares rooms with the users in `acquainted`. All
/// other users appear as offline. Leaves out users whose presence cannot be read: see [`states_by_user`].
pub async fn list_for_viewer(
    log: &Log,
    acquainted: Vec<LastSeen>,
    others: &[UserId],
) -> Result<Vec<Presence>, SessionError> {
    let users: Vec<UserId> = acquainted.iter().map(|known| known.user.clone()).collect();
    let states = states_by_user(log, &users).await?;
    let last_seen: HashMap<UserId, Option<i64>> =
        acquainted.into_iter().map(|known| (known.user, known.at_ms)).collect();
    let entry = |user: &UserId| {
        let state = match last_seen.get(user) {
            Some(at_ms) => states.get(user)?.with_last_seen(*at_ms),
            None => PresenceState::default(),
        };
        Some(state.on_the_wire(user.clone()))
    };
    Ok(others.iter().filter_map(entry).collect())
}

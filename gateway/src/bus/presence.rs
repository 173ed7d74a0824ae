//! Reads and writes presence in Redis, and asks persistence for the rooms and members that presence needs.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use futures_util::{StreamExt, stream};
use redis::RedisResult;
use tidings_shared::{
    ids::{RoomId, UserId},
    internal::presence::MembersAnswer,
    log::{AuthorityError, BySession, RoundTrip, Session, keys::Partition},
    presence::{self, CachedRooms, PresencePartition, PresenceState},
    protocol::server::Presence,
};

use super::{Bus, LookupError, single_flight::SingleFlight};
use crate::lock::lock;

/// Maximum number of concurrent queries to persistence for the rooms of users. The limit is low, because joins also use
/// persistence and must not be delayed.
const MAX_CONCURRENT_ROOM_QUERIES: usize = 4;
/// Timeout of a query to persistence. After the timeout, presence continues without the answer.
const QUERY_TIMEOUT: Duration = Duration::from_secs(1);
/// After a failed query, the circuit breaker refuses queries to persistence for this time.
const CIRCUIT_OPEN_TIME: Duration = Duration::from_secs(3);
/// Maximum number of reads of a room's member list, and the pause between two reads. A list that lacks the room's last
/// membership change is read again.
const MAX_MEMBERS_READS: usize = 4;
const MEMBERS_READ_PAUSE: Duration = Duration::from_millis(100);

/// Queries to persistence for presence, with a circuit breaker.
#[derive(Default)]
pub(super) struct PresenceQueries {
    members: SingleFlight<RoomId, MembersAnswer>,
    /// Until this time the circuit breaker refuses queries.
    circuit_open_until: Mutex<Option<Instant>>,
}

impl PresenceQueries {
    /// Runs a query, unless the circuit breaker is open.
    async fn run_query<T>(
        &self,
        query: impl Future<Output = Result<T, AuthorityError>>,
    ) -> Result<T, AuthorityError> {
        if lock(&self.circuit_open_until).is_some_and(|until| Instant::now() < until) {
            return Err(AuthorityError::Unavailable(
                "recent queries failed, and the circuit breaker is open".to_owned(),
            ));
        }
        let answer = query.await;
        if answer.is_err() {
            *lock(&self.circuit_open_until) = Some(Instant::now() + CIRCUIT_OPEN_TIME);
        }
        answer
    }
}

async fn with_timeout<T>(
    query: impl Future<Output = Result<T, AuthorityError>>,
) -> Result<T, AuthorityError> {
    let timed_out = |_| Err(AuthorityError::Unavailable("persistence does not answer".to_owned()));
    tokio::time::timeout(QUERY_TIMEOUT, query).await.unwrap_or_else(timed_out)
}

/// The partition of the log that serves the presence of a user.
fn presence_partition(user: &UserId) -> Partition {
    PresencePartition::of(user).partition()
}

impl Bus {
    /// The open sessions, each with its presence partitions. Opens a session only if none is open.
    pub async fn presence_sessions(&self) -> Result<BySession<PresencePartition>, LookupError> {
        let partitions: Vec<PresencePartition> = PresencePartition::all().collect();
        Ok(self.log.group_by_open_session(partitions, |partition| partition.partition()).await?)
    }

    /// Runs a command of [`tidings_shared::presence`] on a session, which must be that of the command's partitions or
    /// users: see [`Bus::presence_sessions`].
    pub async fn run_presence<T>(
        &self,
        session: &Arc<Session>,
        command: impl Future<Output = RedisResult<T>>,
    ) -> Result<T, LookupError> {
        self.timed_query(RoundTrip::Presence, session, command).await
    }

    /// Publishes the presence of each user to the members of the rooms that are listed with the user. Returns how many
    /// changes this call published. Leaves out users whose shard is unreachable, because they stay due.
    pub async fn publish_presence(&self, users: Vec<(UserId, Vec<RoomId>)>) -> Result<u64, LookupError> {
        let by_session = self.log.group_by_open_session(users, |(user, _)| presence_partition(user)).await?;
        let mut count = 0;
        for (session, users) in by_session {
            let mut redis = session.connection();
            let published = presence::publish_states(&mut redis, &users);
            let published = self.run_presence(&session, published).await?;
            count += published.into_iter().filter(|published| *published).count() as u64;
        }
        Ok(count)
    }

    /// Returns the current presence of users. Leaves out users whose shard does not answer.
    pub async fn presence_of(&self, users: &[UserId]) -> Result<HashMap<UserId, PresenceState>, LookupError> {
        Ok(presence::states_by_user(&self.log, users).await?)
    }

    /// Reads the rooms whose members receive each user's presence: at most 200 rooms per user, each with at most
    /// `MAX_SMALL_ROOM_MEMBERS` members. Omits users whose rooms cannot be read, and postpones the publication of their
    /// presence.
    pub async fn load_rooms_to_notify(
        &self,
        users: &[UserId],
    ) -> Result<Vec<(UserId, Vec<RoomId>)>, LookupError> {
        let mut cached = HashMap::with_capacity(users.len());
        for (session, users) in self.log.group_by_open_session(users.to_vec(), Partition::of_user).await? {
            let mut redis = session.connection();
            let found = presence::cached_rooms(&mut redis, &users, self.log.newest_epoch());
            let found = self.run_presence(&session, found).await?;
            cached.extend(users.into_iter().zip(found));
        }
        let lookups: Vec<_> = users.iter().map(|user| self.rooms_of(user, cached.get(user))).collect();
        let rooms: Vec<_> = stream::iter(lookups).buffered(MAX_CONCURRENT_ROOM_QUERIES).collect().await;
        let (mut rooms_by_user, mut unknown) = (Vec::with_capacity(users.len()), Vec::new());
        for (user, rooms) in users.iter().zip(rooms) {
            match rooms {
                Some(rooms) => rooms_by_user.push((user.clone(), rooms)),
                None => unknown.push(user.clone()),
            }
        }
        if !unknown.is_empty() {
            // Without a postponement, these users would stay first among the due users and delay all others.
            for (session, unknown) in self.log.group_by_open_session(unknown, presence_partition).await? {
                let mut redis = session.connection();
                let postponed = presence::postpone_users(&mut redis, &unknown, CIRCUIT_OPEN_TIME);
                self.run_presence(&session, postponed).await?;
            }
        }
        presence::retain_small_rooms(&self.log, &mut rooms_by_user).await?;
        Ok(rooms_by_user)
    }

    /// The rooms of a user: from the cache, or from persistence if they are not cached, too many, or cached in a shard
    /// that is unreachable. `None` if persistence does not answer.
    async fn rooms_of(&self, user: &UserId, cached: Option<&CachedRooms>) -> Option<Vec<RoomId>> {
        match cached {
            Some(CachedRooms::Rooms(rooms)) => Some(rooms.clone()),
            Some(CachedRooms::Many) => {
                self.query_rooms(with_timeout(self.persistence.small_rooms(user))).await
            }
            Some(CachedRooms::NotCached) | None => {
                // This load has no timeout, because a timeout would also cancel the load for joins that share it.
                let loaded = self.query_rooms(self.load_memberships(user)).await;
                loaded.map(|answer| answer.recent.clone())
            }
        }
    }

    async fn query_rooms<T>(&self, query: impl Future<Output = Result<T, AuthorityError>>) -> Option<T> {
        let answer = self.shared.presence.run_query(query).await;
        answer
            .inspect_err(|error| {
                tracing::debug!(%error, "the rooms of a user cannot be read; the user's presence is published later");
                self.shared.metrics.presence_failures.with_label_values(&["rooms"]).inc();
            })
            .ok()
    }

    /// Returns the members of a small room; `None` if the room has too many members, or if persistence has not yet
    /// stored the room's last membership change.
    pub async fn small_room_members(&self, room: &RoomId) -> Result<Option<Vec<UserId>>, LookupError> {
        let session = self.log.session_of(room).await?;
        let mut redis = session.connection();
        for attempt in 0..MAX_MEMBERS_READS {
            if attempt > 0 {
                tokio::time::sleep(MEMBERS_READ_PAUSE).await;
            }
            let cached = presence::members::cached_members(&mut redis, room, session.epoch);
            let cached = self.run_presence(&session, cached).await?;
            if cached.users.is_some() {
                return Ok(cached.users);
            }
            let queries = &self.shared.presence;
            let answer = queries
                .members
                .load(room, queries.run_query(with_timeout(self.persistence.members(room))))
                .await?;
            let Some(users) = answer.users else { return Ok(None) };
            if answer.head >= cached.changed {
                let (epoch, head) = (session.epoch, answer.head);
                let stored = presence::members::cache_members(&mut redis, room, epoch, head, &users);
                self.run_presence(&session, stored).await?;
                return Ok(Some(users));
            }
            // The list lacks a membership change that is not stored yet, so it is read again.
        }
        Ok(None)
    }

    /// Returns the presence of `others`, in the same order, as far as `user` may see it. The presence is empty for
    /// users who share no room with `user`. Leaves out users whose shard does not answer.
    pub async fn presence_for(&self, user: &UserId, others: &[UserId]) -> Result<Vec<Presence>, LookupError> {
        let acquainted = self.persistence.acquainted(user, others).await?;
        Ok(presence::list_for_viewer(&self.log, acquainted, others).await?)
    }
}

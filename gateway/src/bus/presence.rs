//! Presence in Redis, as this node writes and reads it, and the queries to persistence that presence needs.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, Instant},
};

use futures_util::{StreamExt, stream};
use tidings_shared::{
    ids::{RoomId, UserId},
    internal::presence::MembersAnswer,
    log::{AuthorityError, Step},
    presence::{
        self, CachedRooms, ExclusiveTask, Hold, NodeLease, PresencePartition, Put, PutOutcome, State,
    },
    protocol::{Status, server::Presence},
};

use super::{Bus, LookupError, single_flight::SingleFlight};

/// Maximum of users whose rooms persistence is asked for at the same time: presence must not delay joins.
const MAX_CONCURRENT_ROOM_QUERIES: usize = 4;
/// Timeout of a query to persistence. Presence continues without the answer.
const QUERY_TIMEOUT: Duration = Duration::from_secs(1);
/// After a failed query, persistence is not asked again for this time.
const CIRCUIT_OPEN_FOR: Duration = Duration::from_secs(3);
/// How often a member list that is older than the change in Redis is read again, and the pause between two reads.
const MEMBERS_ATTEMPTS: usize = 4;
const MEMBERS_RETRY_AFTER: Duration = Duration::from_millis(100);

/// Queries to persistence for presence, with a circuit breaker.
pub(super) struct PresenceQueries {
    members: SingleFlight<RoomId, MembersAnswer>,
    started: Instant,
    /// End of the circuit breaker's open phase, in milliseconds after `started`.
    circuit_open_until_ms: AtomicU64,
}

impl Default for PresenceQueries {
    fn default() -> Self {
        Self {
            members: SingleFlight::default(),
            started: Instant::now(),
            circuit_open_until_ms: AtomicU64::new(0),
        }
    }
}

impl PresenceQueries {
    /// Runs a query, unless the circuit breaker is open.
    async fn run<T>(
        &self,
        query: impl Future<Output = Result<T, AuthorityError>>,
    ) -> Result<T, AuthorityError> {
        let now_ms = || u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX);
        if now_ms() < self.circuit_open_until_ms.load(Ordering::Relaxed) {
            return Err(AuthorityError::Unavailable(
                "persistence failed a moment ago and is not asked again yet".to_owned(),
            ));
        }
        let answer = query.await;
        if answer.is_err() {
            let open_ms = u64::try_from(CIRCUIT_OPEN_FOR.as_millis()).unwrap_or(u64::MAX);
            self.circuit_open_until_ms.store(now_ms().saturating_add(open_ms), Ordering::Relaxed);
        }
        answer
    }
}

/// Runs a query with a timeout.
async fn with_timeout<T>(
    query: impl Future<Output = Result<T, AuthorityError>>,
) -> Result<T, AuthorityError> {
    let timed_out = |_| Err(AuthorityError::Unavailable("persistence does not answer".to_owned()));
    tokio::time::timeout(QUERY_TIMEOUT, query).await.unwrap_or_else(timed_out)
}

impl Bus {
    /// Starts a lease of this node.
    ///
    /// # Errors
    /// When Redis does not answer.
    pub async fn start_node_lease(&self, life: &NodeLease) -> Result<bool, LookupError> {
        let session = self.log.session().await?;
        self.timed_query(Step::Presence, &session, presence::begin(&mut session.connection(), life)).await
    }

    /// Renews a lease. Returns false if it has expired.
    ///
    /// # Errors
    /// When Redis does not answer.
    pub async fn renew_node_lease(&self, life: &NodeLease) -> Result<bool, LookupError> {
        let session = self.log.session().await?;
        self.timed_query(Step::Presence, &session, presence::renew(&mut session.connection(), life)).await
    }

    /// Ends a lease.
    ///
    /// # Errors
    /// When Redis does not answer.
    pub async fn end_node_lease(&self, life: &NodeLease) -> Result<(), LookupError> {
        let session = self.log.session().await?;
        self.timed_query(Step::Presence, &session, presence::end(&mut session.connection(), life)).await
    }

    /// Writes the presence of users under a lease.
    ///
    /// # Errors
    /// When Redis does not answer.
    pub async fn put_presence(&self, life: &NodeLease, puts: &[Put]) -> Result<Vec<PutOutcome>, LookupError> {
        let session = self.log.session().await?;
        self.timed_query(Step::Presence, &session, presence::put(&mut session.connection(), life, puts)).await
    }

    /// Writes that users are present for a time, without a lease.
    ///
    /// # Errors
    /// When Redis does not answer.
    pub async fn hold_presence(
        &self,
        kind: Hold,
        time: Duration,
        holds: &[(UserId, Option<Status>)],
    ) -> Result<Vec<PutOutcome>, LookupError> {
        let session = self.log.session().await?;
        self.timed_query(
            Step::Presence,
            &session,
            presence::hold(&mut session.connection(), kind, time, holds),
        )
        .await
    }

    /// Publishes the presence of users to the members of these rooms. Returns true for the users whose change this
    /// call published.
    ///
    /// # Errors
    /// When Redis does not answer.
    pub async fn publish_presence(&self, users: &[(UserId, Vec<RoomId>)]) -> Result<Vec<bool>, LookupError> {
        let session = self.log.session().await?;
        self.timed_query(Step::Presence, &session, presence::publish(&mut session.connection(), users)).await
    }

    /// Takes the lock of the sweep. `None`: another node has it.
    ///
    /// # Errors
    /// When Redis does not answer.
    pub async fn lock_sweep(&self, turn: Duration) -> Result<Option<u64>, LookupError> {
        let session = self.log.session().await?;
        self.timed_query(
            Step::Presence,
            &session,
            presence::claim_task(&mut session.connection(), ExclusiveTask::Sweep, turn),
        )
        .await
    }

    /// Expired leases.
    ///
    /// # Errors
    /// When Redis does not answer.
    pub async fn expired_node_leases(
        &self,
        now_ms: u64,
        most: usize,
    ) -> Result<Vec<(PresencePartition, Vec<NodeLease>)>, LookupError> {
        let session = self.log.session().await?;
        self.timed_query(
            Step::Presence,
            &session,
            presence::expired_leases(&mut session.connection(), now_ms, most),
        )
        .await
    }

    /// Users that an expired lease still holds.
    ///
    /// # Errors
    /// When Redis does not answer.
    pub async fn claim_presence(
        &self,
        partition: PresencePartition,
        life: &NodeLease,
        most: usize,
    ) -> Result<Vec<UserId>, LookupError> {
        let session = self.log.session().await?;
        self.timed_query(
            Step::Presence,
            &session,
            presence::claim(&mut session.connection(), partition, life, most),
        )
        .await
    }

    /// Removes the presence of users under an expired lease.
    ///
    /// # Errors
    /// When Redis does not answer.
    pub async fn remove_presence(
        &self,
        life: &NodeLease,
        users: &[UserId],
    ) -> Result<Vec<PutOutcome>, LookupError> {
        let session = self.log.session().await?;
        self.timed_query(Step::Presence, &session, presence::reap(&mut session.connection(), life, users))
            .await
    }

    /// Users whose presence expired or must be published.
    ///
    /// # Errors
    /// When Redis does not answer.
    pub async fn due_presence(&self, now_ms: u64, most: usize) -> Result<Vec<UserId>, LookupError> {
        let session = self.log.session().await?;
        self.timed_query(
            Step::Presence,
            &session,
            presence::due_users(&mut session.connection(), now_ms, most),
        )
        .await
    }

    /// The current presence of users.
    ///
    /// # Errors
    /// When Redis does not answer.
    pub async fn presence_of(&self, users: &[UserId]) -> Result<Vec<State>, LookupError> {
        let session = self.log.session().await?;
        self.timed_query(Step::Presence, &session, presence::states(&mut session.connection(), users)).await
    }

    /// The rooms whose members receive each user's presence: small ones, at most 200. Users whose rooms cannot be
    /// read now are left out, and become due again later.
    ///
    /// # Errors
    /// When Redis does not answer.
    pub async fn rooms_to_notify(&self, users: &[UserId]) -> Result<Vec<(UserId, Vec<RoomId>)>, LookupError> {
        let session = self.log.session().await?;
        let cached = self
            .timed_query(
                Step::Presence,
                &session,
                presence::cached_rooms(&mut session.connection(), users, session.epoch),
            )
            .await?;
        let lookups: Vec<_> =
            users.iter().zip(cached).map(|(user, cached)| self.rooms_of(user, cached)).collect();
        let rooms: Vec<_> = stream::iter(lookups).buffered(MAX_CONCURRENT_ROOM_QUERIES).collect().await;
        let (mut rooms_by_user, mut unknown) = (Vec::with_capacity(users.len()), Vec::new());
        for (user, rooms) in users.iter().cloned().zip(rooms) {
            match rooms {
                Some(rooms) => rooms_by_user.push((user, rooms)),
                None => unknown.push(user),
            }
        }
        if !unknown.is_empty() {
            // Otherwise the users behind them in the queue would never get their turn.
            self.timed_query(
                Step::Presence,
                &session,
                presence::postpone(&mut session.connection(), &unknown, CIRCUIT_OPEN_FOR),
            )
            .await?;
        }
        self.timed_query(
            Step::Presence,
            &session,
            presence::retain_small_rooms(&mut session.connection(), &mut rooms_by_user),
        )
        .await?;
        Ok(rooms_by_user)
    }

    async fn rooms_of(&self, user: &UserId, cached: CachedRooms) -> Option<Vec<RoomId>> {
        match cached {
            CachedRooms::Rooms(rooms) => Some(rooms),
            CachedRooms::Many => self.query_rooms(with_timeout(self.persistence.small_rooms(user))).await,
            CachedRooms::NotCached => {
                // No timeout: joins share this load.
                let loaded = self.query_rooms(self.load_rooms(user)).await;
                loaded.map(|answer| answer.recent.clone())
            }
        }
    }

    async fn query_rooms<T>(&self, query: impl Future<Output = Result<T, AuthorityError>>) -> Option<T> {
        let answer = self.shared.presence.run(query).await;
        answer
            .inspect_err(|error| {
                tracing::debug!(%error, "the rooms of a user cannot be read; the user's presence is published later");
                self.shared.metrics.presence_failures.with_label_values(&["rooms"]).inc();
            })
            .ok()
    }

    /// The members of a small room; `None`: they cannot be read now, or there are too many.
    ///
    /// # Errors
    /// When Redis or persistence does not answer.
    pub async fn members_of(&self, room: &RoomId) -> Result<Option<Vec<UserId>>, LookupError> {
        let session = self.log.session().await?;
        for attempt in 0..MEMBERS_ATTEMPTS {
            if attempt > 0 {
                tokio::time::sleep(MEMBERS_RETRY_AFTER).await;
            }
            let read_cache =
                async { presence::members::cached(&mut session.connection(), room, session.epoch).await };
            let cached = self.timed_query(Step::Presence, &session, read_cache).await?;
            if cached.users.is_some() {
                return Ok(cached.users);
            }
            let queries = &self.shared.presence;
            let answer =
                queries.members.load(room, queries.run(with_timeout(self.persistence.members(room)))).await?;
            let Some(users) = answer.users else { return Ok(None) };
            if answer.head >= cached.changed {
                let (epoch, head) = (session.epoch, answer.head);
                let stored = async {
                    presence::members::keep(&mut session.connection(), room, epoch, head, &users).await
                };
                self.timed_query(Step::Presence, &session, stored).await?;
                return Ok(Some(users));
            }
            // A membership change is not stored yet, so the list is too old.
        }
        Ok(None)
    }

    /// The presence of other users that `user` may see, in the same order: empty for users who share no room with
    /// `user`.
    ///
    /// # Errors
    /// When Redis or persistence does not answer.
    pub async fn presence_for(&self, user: &UserId, others: &[UserId]) -> Result<Vec<Presence>, LookupError> {
        let acquainted = self.persistence.acquainted(user, others).await?;
        let users: Vec<UserId> = acquainted.iter().map(|known| known.user.clone()).collect();
        let states = self.presence_of(&users).await?;
        let mut states: std::collections::HashMap<_, _> = acquainted
            .into_iter()
            .zip(states)
            .map(|(known, state)| (known.user, state.or_seen(known.at_ms)))
            .collect();
        let state_of = |other: &UserId| states.remove(other).unwrap_or_default().on_the_wire(other.clone());
        Ok(others.iter().map(state_of).collect())
    }
}

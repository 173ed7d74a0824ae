//! Presence as this node brings it to Redis and reads it there, and what persistence is asked for it.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, Instant},
};

use futures_util::{StreamExt, stream};
use tidings_shared::{
    ids::{RoomId, UserId},
    internal::presence::MembersAnswer,
    log::{AuthorityError, Step},
    presence::{self, CachedRooms, Hold, Life, Partition, Put, PutOutcome, State, Turn},
    protocol::{Status, server::Presence},
};

use super::{Bus, PeopleError, flights::Flights};

/// Users whose rooms are asked of persistence at once: presence must not keep those waiting who join.
const ROOMS_ASKED_AT_ONCE: usize = 4;
/// Persistence is not waited for longer; presence does without.
const PATIENCE: Duration = Duration::from_secs(1);
/// Persistence that did not answer is not asked again for so long.
const REST: Duration = Duration::from_secs(3);
/// A list of members that is behind what Redis knows is asked for again, so often and with this pause.
const MEMBERS_ROUNDS: usize = 4;
const MEMBERS_PAUSE: Duration = Duration::from_millis(100);

/// What is asked of persistence for presence.
pub(super) struct Parts {
    members: Flights<RoomId, MembersAnswer>,
    started: Instant,
    /// Persistence rests until then, in milliseconds since the start.
    resting_until_ms: AtomicU64,
}

impl Default for Parts {
    fn default() -> Self {
        Self { members: Flights::default(), started: Instant::now(), resting_until_ms: AtomicU64::new(0) }
    }
}

impl Parts {
    /// Asks persistence, unless it did not answer a moment ago.
    async fn ask<T>(
        &self,
        question: impl Future<Output = Result<T, AuthorityError>>,
    ) -> Result<T, AuthorityError> {
        let now_ms = || u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX);
        if now_ms() < self.resting_until_ms.load(Ordering::Relaxed) {
            return Err(AuthorityError::Unavailable("it did not answer a moment ago".to_owned()));
        }
        let answer = question.await;
        if answer.is_err() {
            let rest_ms = u64::try_from(REST.as_millis()).unwrap_or(u64::MAX);
            self.resting_until_ms.store(now_ms().saturating_add(rest_ms), Ordering::Relaxed);
        }
        answer
    }
}

/// Gives a question up that is not answered at once.
async fn in_time<T>(question: impl Future<Output = Result<T, AuthorityError>>) -> Result<T, AuthorityError> {
    let late = |_| Err(AuthorityError::Unavailable("it does not answer".to_owned()));
    tokio::time::timeout(PATIENCE, question).await.unwrap_or_else(late)
}

impl Bus {
    /// Begins a life of this node.
    ///
    /// # Errors
    /// When Redis does not answer, as all here that need it.
    pub async fn begin_presence(&self, life: &Life) -> Result<bool, PeopleError> {
        let session = self.log.session().await?;
        self.asked(Step::Presence, &session, presence::begin(&mut session.connection(), life)).await
    }

    /// Renews the lease of a life; false: it is over.
    ///
    /// # Errors
    /// When Redis does not answer.
    pub async fn renew_presence(&self, life: &Life) -> Result<bool, PeopleError> {
        let session = self.log.session().await?;
        self.asked(Step::Presence, &session, presence::renew(&mut session.connection(), life)).await
    }

    /// Ends a life.
    ///
    /// # Errors
    /// When Redis does not answer.
    pub async fn end_presence(&self, life: &Life) -> Result<(), PeopleError> {
        let session = self.log.session().await?;
        self.asked(Step::Presence, &session, presence::end(&mut session.connection(), life)).await
    }

    /// Notes what a life holds of users.
    ///
    /// # Errors
    /// When Redis does not answer.
    pub async fn put_presence(&self, life: &Life, puts: &[Put]) -> Result<Vec<PutOutcome>, PeopleError> {
        let session = self.log.session().await?;
        self.asked(Step::Presence, &session, presence::put(&mut session.connection(), life, puts)).await
    }

    /// Notes that users are here for a time.
    ///
    /// # Errors
    /// When Redis does not answer.
    pub async fn hold_presence(
        &self,
        kind: Hold,
        time: Duration,
        holds: &[(UserId, Option<Status>)],
    ) -> Result<Vec<PutOutcome>, PeopleError> {
        let session = self.log.session().await?;
        self.asked(Step::Presence, &session, presence::hold(&mut session.connection(), kind, time, holds))
            .await
    }

    /// Tells what users are by now to the members of these rooms; true for those who were told by this.
    ///
    /// # Errors
    /// When Redis does not answer.
    pub async fn tell_presence(&self, users: &[(UserId, Vec<RoomId>)]) -> Result<Vec<bool>, PeopleError> {
        let session = self.log.session().await?;
        self.asked(Step::Presence, &session, presence::tell(&mut session.connection(), users)).await
    }

    /// Takes the turn to sweep; `None`: it is another's.
    ///
    /// # Errors
    /// When Redis does not answer.
    pub async fn sweep_turn(&self, turn: Duration) -> Result<Option<u64>, PeopleError> {
        let session = self.log.session().await?;
        self.asked(Step::Presence, &session, presence::turn(&mut session.connection(), Turn::Sweep, turn))
            .await
    }

    /// Lives that are over.
    ///
    /// # Errors
    /// When Redis does not answer.
    pub async fn lapsed_lives(
        &self,
        now_ms: u64,
        most: usize,
    ) -> Result<Vec<(Partition, Vec<Life>)>, PeopleError> {
        let session = self.log.session().await?;
        self.asked(Step::Presence, &session, presence::lapsed(&mut session.connection(), now_ms, most)).await
    }

    /// Users whom a life that is over still holds.
    ///
    /// # Errors
    /// When Redis does not answer.
    pub async fn claim_presence(
        &self,
        partition: Partition,
        life: &Life,
        most: usize,
    ) -> Result<Vec<UserId>, PeopleError> {
        let session = self.log.session().await?;
        self.asked(
            Step::Presence,
            &session,
            presence::claim(&mut session.connection(), partition, life, most),
        )
        .await
    }

    /// Takes away what a life that is over holds of users.
    ///
    /// # Errors
    /// When Redis does not answer.
    pub async fn reap_presence(&self, life: &Life, users: &[UserId]) -> Result<Vec<PutOutcome>, PeopleError> {
        let session = self.log.session().await?;
        self.asked(Step::Presence, &session, presence::reap(&mut session.connection(), life, users)).await
    }

    /// Users of whom something ran out or is to be told.
    ///
    /// # Errors
    /// When Redis does not answer.
    pub async fn due_presence(&self, now_ms: u64, most: usize) -> Result<Vec<UserId>, PeopleError> {
        let session = self.log.session().await?;
        self.asked(Step::Presence, &session, presence::dues(&mut session.connection(), now_ms, most)).await
    }

    /// What users are now.
    ///
    /// # Errors
    /// When Redis does not answer.
    pub async fn presence_of(&self, users: &[UserId]) -> Result<Vec<State>, PeopleError> {
        let session = self.log.session().await?;
        self.asked(Step::Presence, &session, presence::states(&mut session.connection(), users)).await
    }

    /// The rooms whose members are told of each of these users: small ones, of at most 200. Those whose rooms cannot be
    /// found out now are left out, and are due again in a while.
    ///
    /// # Errors
    /// When Redis does not answer.
    pub async fn rooms_to_tell(&self, users: &[UserId]) -> Result<Vec<(UserId, Vec<RoomId>)>, PeopleError> {
        let session = self.log.session().await?;
        let cached = self
            .asked(
                Step::Presence,
                &session,
                presence::cached_rooms(&mut session.connection(), users, session.epoch),
            )
            .await?;
        let found: Vec<_> =
            users.iter().zip(cached).map(|(user, cached)| self.rooms_of(user, cached)).collect();
        let rooms: Vec<_> = stream::iter(found).buffered(ROOMS_ASKED_AT_ONCE).collect().await;
        let (mut told, mut unknown) = (Vec::with_capacity(users.len()), Vec::new());
        for (user, rooms) in users.iter().cloned().zip(rooms) {
            match rooms {
                Some(rooms) => told.push((user, rooms)),
                None => unknown.push(user),
            }
        }
        if !unknown.is_empty() {
            // Else those behind them would never have their turn.
            self.asked(
                Step::Presence,
                &session,
                presence::put_off(&mut session.connection(), &unknown, REST),
            )
            .await?;
        }
        self.asked(Step::Presence, &session, presence::small(&mut session.connection(), &mut told)).await?;
        Ok(told)
    }

    async fn rooms_of(&self, user: &UserId, cached: CachedRooms) -> Option<Vec<RoomId>> {
        match cached {
            CachedRooms::Rooms(rooms) => Some(rooms),
            CachedRooms::Many => self.found(in_time(self.persistence.small_rooms(user))).await,
            CachedRooms::NotCached => {
                // Shared with those who join, so it is not given up on the way.
                let loaded = self.found(self.load_rooms(user)).await;
                loaded.map(|answer| answer.recent.clone())
            }
        }
    }

    async fn found<T>(&self, question: impl Future<Output = Result<T, AuthorityError>>) -> Option<T> {
        let answer = self.shared.presence.ask(question).await;
        answer
            .inspect_err(|error| {
                tracing::debug!(%error, "nobody can be told of a user");
                self.shared.metrics.presence_failures.with_label_values(&["rooms"]).inc();
            })
            .ok()
    }

    /// The members of a small room; `None`: they cannot be found out now, or are too many.
    ///
    /// # Errors
    /// When neither Redis nor persistence can tell.
    pub async fn members_of(&self, room: &RoomId) -> Result<Option<Vec<UserId>>, PeopleError> {
        let session = self.log.session().await?;
        for round in 0..MEMBERS_ROUNDS {
            if round > 0 {
                tokio::time::sleep(MEMBERS_PAUSE).await;
            }
            let asked =
                async { presence::members::cached(&mut session.connection(), room, session.epoch).await };
            let cached = self.asked(Step::Presence, &session, asked).await?;
            if cached.users.is_some() {
                return Ok(cached.users);
            }
            let parts = &self.shared.presence;
            let answer = parts.members.ask(room, parts.ask(in_time(self.persistence.members(room)))).await?;
            let Some(users) = answer.users else { return Ok(None) };
            if answer.head >= cached.changed {
                let (epoch, head) = (session.epoch, answer.head);
                let kept = async {
                    presence::members::keep(&mut session.connection(), room, epoch, head, &users).await
                };
                self.asked(Step::Presence, &session, kept).await?;
                return Ok(Some(users));
            }
            // A membership changed that is not stored yet.
        }
        Ok(None)
    }

    /// What `user` may know of these users, in the same order: nothing of those with whom they share no room.
    ///
    /// # Errors
    /// When Redis or persistence cannot tell.
    pub async fn presence_for(&self, user: &UserId, others: &[UserId]) -> Result<Vec<Presence>, PeopleError> {
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

//! Reads accounts and memberships: from the cache in Redis, or from persistence if they are not cached.

use std::sync::Arc;

use redis::RedisError;
use thiserror::Error;
use tidings_shared::{
    auth::Identity,
    error::Refusal,
    ids::{Epoch, RoomId, UserId},
    internal::{ConnectUserRequest, RoomsAnswer},
    log::{Authority as _, AuthorityError, RoundTrip, Session, SessionError},
    membership::{self, Account, Membership},
};

use super::{Bus, single_flight::SingleFlight};
use crate::hub::Roles;

/// The reason why an account, a membership or presence cannot be read.
#[derive(Debug, Error)]
pub enum LookupError {
    #[error(transparent)]
    Session(#[from] SessionError),
    #[error("Redis: {0}")]
    Redis(#[from] RedisError),
    #[error(transparent)]
    Persistence(#[from] AuthorityError),
}

impl From<LookupError> for Refusal {
    fn from(error: LookupError) -> Self {
        tracing::debug!(%error, "an account or membership cannot be read");
        Refusal::unavailable("your account or membership cannot be checked now; retry")
    }
}

/// A join of `"mine"` joins at most this number of rooms. If the cache has more rooms of a user, PostgreSQL selects the
/// most recently active rooms, because the cache has no order.
const MAX_UNORDERED_ROOMS: usize = 200;

/// The loads of memberships in progress, by user and epoch.
pub(super) type MembershipLoads = SingleFlight<(UserId, Epoch), Arc<RoomsAnswer>>;

/// A user's membership in a room, which includes all changes up to the base of `epoch`. Redis has a membership mark for
/// every later change that the snapshot does not include.
#[derive(Debug, Clone)]
pub struct MembershipSnapshot {
    pub epoch: Epoch,
    /// `None` if the user is not a member.
    pub membership: Option<Membership>,
}

impl Bus {
    /// Returns the account of a connecting user. If the cached account does not match the name and picture of
    /// `identity`, persistence creates or updates the account. `None` means that the user is unknown and that
    /// persistence is configured not to create unknown users.
    pub async fn connect_user(&self, identity: &Identity) -> Result<Option<Account>, LookupError> {
        let session = self.log.session().await?;
        let user = &identity.user;
        let mut redis = session.connection();
        let cached = membership::cached_account(&mut redis, user, session.epoch);
        let cached = self.timed_query(RoundTrip::People, &session, cached).await?;
        if let Some(account) = cached
            && (identity.name.is_none() || identity.name == account.name)
            && (identity.picture.is_none() || identity.picture == account.picture)
        {
            return Ok(Some(account));
        }
        let (name, picture) = (identity.name.clone(), identity.picture.clone());
        Ok(self.persistence.connect_user(&ConnectUserRequest { user: user.clone(), name, picture }).await?)
    }

    /// Reads a user's membership in a room.
    pub async fn membership_snapshot(
        &self,
        user: &UserId,
        room: &RoomId,
    ) -> Result<MembershipSnapshot, LookupError> {
        let mut snapshots = self.membership_snapshots(user, std::slice::from_ref(room)).await?;
        Ok(snapshots.pop().expect("there is one snapshot per room"))
    }

    /// Reads a user's memberships in `rooms`, in the same order.
    pub async fn membership_snapshots(
        &self,
        user: &UserId,
        rooms: &[RoomId],
    ) -> Result<Vec<MembershipSnapshot>, LookupError> {
        let session = self.log.session().await?;
        let epoch = session.epoch;
        let mut redis = session.connection();
        let cached = membership::cached_in(&mut redis, user, epoch, rooms);
        let cached = self.timed_query(RoundTrip::People, &session, cached).await?;
        let memberships = match cached {
            Some(memberships) => memberships,
            None => {
                let loaded = self.load_rooms_in(user, epoch).await?;
                rooms.iter().map(|room| loaded.rooms.get(room).cloned()).collect()
            }
        };
        Ok(memberships.into_iter().map(|membership| MembershipSnapshot { epoch, membership }).collect())
    }

    /// Reads the stored roles of `users` in a room. `epoch` is the epoch in which the room's head was read before.
    pub async fn roles(&self, room: &RoomId, epoch: Epoch, users: &[UserId]) -> Result<Roles, LookupError> {
        let roles = self.persistence.roles(room, users).await?;
        let roles = roles.into_iter().map(|role| role.map(String::into_boxed_str));
        Ok(Roles { epoch, by_user: users.iter().cloned().zip(roles).collect() })
    }

    /// A user's most recently active rooms, at most 200, and whether the user has more rooms.
    pub async fn my_rooms(&self, user: &UserId) -> Result<(Vec<RoomId>, bool), LookupError> {
        let session = self.log.session().await?;
        let mut redis = session.connection();
        let cached = membership::all_cached(&mut redis, user, session.epoch);
        let cached = self.timed_query(RoundTrip::People, &session, cached).await?;
        match cached {
            Some(rooms) if rooms.len() <= MAX_UNORDERED_ROOMS => Ok((rooms.into_keys().collect(), false)),
            _ => {
                let answer = self.load_rooms(user).await?;
                Ok((answer.recent.clone(), answer.rooms.len() > answer.recent.len()))
            }
        }
    }

    /// Whether a user is a member of a room. Does not fill the cache, because a client may name any user.
    pub async fn is_member(&self, user: &UserId, room: &RoomId) -> Result<bool, LookupError> {
        let session = self.log.session().await?;
        let rooms = std::slice::from_ref(room);
        let mut redis = session.connection();
        let cached = membership::cached_in(&mut redis, user, session.epoch, rooms);
        let cached = self.timed_query(RoundTrip::People, &session, cached).await?;
        if let Some(memberships) = cached {
            return Ok(memberships.iter().any(Option::is_some));
        }
        let stored = self.persistence.marks(room, std::slice::from_ref(user)).await?;
        Ok(stored.marks.iter().any(Option::is_some))
    }

    /// Loads a user's memberships from PostgreSQL, for the epoch of the current session.
    pub(super) async fn load_rooms(&self, user: &UserId) -> Result<Arc<RoomsAnswer>, AuthorityError> {
        let epoch = self.log.current_session().map_or(Epoch::default(), |session| session.epoch);
        self.load_rooms_in(user, epoch).await
    }

    /// Loads a user's memberships from PostgreSQL. One load per user and epoch runs at a time, and all callers that
    /// arrived before it began share its result.
    async fn load_rooms_in(&self, user: &UserId, epoch: Epoch) -> Result<Arc<RoomsAnswer>, AuthorityError> {
        let load = async { self.persistence.rooms(user, epoch).await.map(Arc::new) };
        self.loads.load(&(user.clone(), epoch), load).await
    }

    /// Runs a Redis command on a session and records its duration. A failed command may end the session.
    pub(super) async fn timed_query<T>(
        &self,
        purpose: RoundTrip,
        session: &Arc<Session>,
        query: impl Future<Output = Result<T, RedisError>>,
    ) -> Result<T, LookupError> {
        self.log.timed(purpose, query).await.map_err(|error| {
            self.log.discard_if_unusable(session, &error);
            error.into()
        })
    }
}

//! Reads accounts and memberships: from the cache in Redis, or from persistence if they are not cached.

use std::sync::Arc;

use redis::RedisError;
use thiserror::Error;
use tidings_shared::{
    auth::Identity,
    error::Refusal,
    ids::{Epoch, RoomId, UserId},
    internal::{ConnectUserRequest, EnterRoomRequest, UserRooms},
    log::{Authority as _, AuthorityError, RoundTrip, Session, SessionError, keys::Partition},
    membership::{self, Account, Membership},
    presence::{self, CachedRooms},
};

use super::{Bus, single_flight::SingleFlight};
use crate::hub::StoredRoles;

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

/// The loads of memberships in progress, by user and epoch.
pub(super) type MembershipLoads = SingleFlight<(UserId, Epoch), Arc<UserRooms>>;

/// A user's membership in a room, which includes all changes up to the base of `epoch`, an epoch of the room's
/// partition. Redis has a membership mark for every later change that the snapshot does not include.
#[derive(Debug, Clone)]
pub struct MembershipSnapshot {
    pub epoch: Epoch,
    /// `None` if the user is not a member.
    pub membership: Option<Membership>,
}

impl Bus {
    /// Returns the account of a connecting user. If the stored account does not match the name and picture of
    /// `identity`, persistence creates or updates the account. `None` means that the user is unknown and that
    /// persistence is configured not to create unknown users.
    pub async fn connect_user(&self, identity: &Identity) -> Result<Option<Account>, LookupError> {
        let user = &identity.user;
        let session = self.log.session_of_user(user).await?;
        let mut redis = session.connection();
        let cached = membership::cached_account(&mut redis, user, session.epoch);
        let has_claims = |account: &Account| {
            (identity.name.is_none() || identity.name == account.name)
                && (identity.picture.is_none() || identity.picture == account.picture)
        };
        let cached = self.timed_query(RoundTrip::People, &session, cached).await?;
        let known = match cached.filter(has_claims) {
            Some(account) => Some(account),
            // Many users connect at once after a new epoch, so their accounts are loaded together.
            None => self.persistence.load_account(user).await?.filter(has_claims),
        };
        if known.is_some() {
            return Ok(known);
        }
        let (name, picture) = (identity.name.clone(), identity.picture.clone());
        Ok(self.persistence.connect_user(&ConnectUserRequest { user: user.clone(), name, picture }).await?)
    }

    /// Reads a user's membership in one room.
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
        let session = self.log.session_of_user(user).await?;
        let epochs: Vec<Epoch> = rooms.iter().map(|room| self.epoch_of(room, &session)).collect();
        let latest = epochs.iter().copied().fold(session.epoch, Epoch::max);
        let mut redis = session.connection();
        let cached = membership::cached_in(&mut redis, user, latest, rooms);
        let cached = self.timed_query(RoundTrip::People, &session, cached).await?;
        let memberships = match cached {
            Some(memberships) => memberships,
            None => {
                let loaded = self.load_memberships_in(user, latest).await?;
                rooms.iter().map(|room| loaded.rooms.get(room).cloned()).collect()
            }
        };
        let snapshots = memberships.into_iter().zip(epochs);
        Ok(snapshots.map(|(membership, epoch)| MembershipSnapshot { epoch, membership }).collect())
    }

    /// The present epoch of a room's partition. It is 0, which is no epoch of a head, if the partition has no session.
    /// `session` is the session of the user who is looked up.
    fn epoch_of(&self, room: &RoomId, session: &Session) -> Epoch {
        let partition = Partition::of(room);
        if session.partitions.contains(partition) {
            return session.epoch;
        }
        self.log.current_session(partition).map_or(Epoch::default(), |session| session.epoch)
    }

    /// Reads the roles of `users` in a room from PostgreSQL. The caller has read the room's head in `epoch` before.
    pub async fn stored_roles(
        &self,
        room: &RoomId,
        epoch: Epoch,
        users: &[UserId],
    ) -> Result<StoredRoles, LookupError> {
        let roles = self.persistence.roles(room, users).await?;
        let roles = roles.into_iter().map(|role| role.map(String::into_boxed_str));
        Ok(StoredRoles { epoch, by_user: users.iter().cloned().zip(roles).collect() })
    }

    /// Makes a user a member of a public room, which is created with this name if it does not exist. Returns when the
    /// membership is stored. Refuses a user who may not join the room.
    pub async fn enter_room(&self, identity: &Identity, room: &RoomId, name: String) -> Result<(), Refusal> {
        let request = EnterRoomRequest {
            user: identity.user.clone(),
            room: room.clone(),
            name: Some(name),
            is_admin: identity.admin,
        };
        let answer = self.persistence.enter_room(&request).await.map_err(LookupError::from)?;
        answer.refused.map_or(Ok(()), Err)
    }

    /// Reads a user's most recently active rooms, at most 200. Also returns whether the user has more rooms.
    pub async fn recent_rooms(&self, user: &UserId) -> Result<(Vec<RoomId>, bool), LookupError> {
        let session = self.log.session_of_user(user).await?;
        let mut redis = session.connection();
        let cached = presence::cached_rooms(&mut redis, std::slice::from_ref(user), self.log.newest_epoch());
        match self.timed_query(RoundTrip::People, &session, cached).await?.pop() {
            Some(CachedRooms::Rooms(rooms)) => Ok((rooms, false)),
            // The cached rooms have no order, so PostgreSQL selects the most recently active rooms.
            Some(CachedRooms::Many) => Ok((self.persistence.recent_rooms(user).await?, true)),
            _ => {
                let answer = self.load_memberships(user).await?;
                Ok((answer.recent.clone(), answer.rooms.len() > answer.recent.len()))
            }
        }
    }

    /// Whether a user is a member of a room. Does not fill the cache, because a client may name any user.
    pub async fn is_member(&self, user: &UserId, room: &RoomId) -> Result<bool, LookupError> {
        let session = self.log.session_of_user(user).await?;
        let rooms = std::slice::from_ref(room);
        let mut redis = session.connection();
        let latest = session.epoch.max(self.epoch_of(room, &session));
        let cached = membership::cached_in(&mut redis, user, latest, rooms);
        let cached = self.timed_query(RoundTrip::People, &session, cached).await?;
        if let Some(memberships) = cached {
            return Ok(memberships.iter().any(Option::is_some));
        }
        let stored = self.persistence.marks(room, std::slice::from_ref(user)).await?;
        Ok(stored.marks.iter().any(Option::is_some))
    }

    /// Loads a user's memberships from PostgreSQL, for the newest epoch that this node knows.
    pub(super) async fn load_memberships(&self, user: &UserId) -> Result<Arc<UserRooms>, AuthorityError> {
        self.load_memberships_in(user, self.log.newest_epoch()).await
    }

    /// Loads a user's memberships from PostgreSQL. One load per user and epoch runs at a time, and all callers that
    /// arrived before it began share its result.
    async fn load_memberships_in(
        &self,
        user: &UserId,
        epoch: Epoch,
    ) -> Result<Arc<UserRooms>, AuthorityError> {
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

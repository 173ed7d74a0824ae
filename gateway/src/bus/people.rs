//! Accounts and memberships as the gateway learns them: from the cache in Redis, else from persistence.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Instant,
};

use redis::RedisError;
use thiserror::Error;
use tidings_shared::{
    auth::Identity,
    error::Refusal,
    ids::{RoomId, Seq, UserId},
    internal::{ConnectUserRequest, RoomsAnswer},
    log::{AuthorityError, Session, SessionError},
    membership::{self, Account, Membership},
};

use super::Bus;

/// Why an account or a membership is not known.
#[derive(Debug, Error)]
pub enum PeopleError {
    #[error(transparent)]
    Session(#[from] SessionError),
    #[error("Redis: {0}")]
    Redis(#[from] RedisError),
    #[error(transparent)]
    Persistence(#[from] AuthorityError),
}

impl From<PeopleError> for Refusal {
    fn from(error: PeopleError) -> Self {
        tracing::debug!(%error, "account or membership unknown");
        Refusal::unavailable("who you are to this room cannot be found out now; try again")
    }
}

/// Above this many rooms "mine" needs an order, which only PostgreSQL knows.
const MINE: usize = 200;

type Load = Arc<tokio::sync::Mutex<Option<(Instant, Arc<RoomsAnswer>)>>>;

/// Loads of memberships that somebody waits for, by user.
#[derive(Default)]
pub(super) struct Loads(Mutex<HashMap<UserId, Load>>);

impl Loads {
    fn of(&self, user: &UserId) -> Load {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).entry(user.clone()).or_default().clone()
    }

    /// Forgets a load when nobody else waits for it.
    fn done(&self, user: &UserId, load: Load) {
        let mut loads = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        drop(load);
        if loads.get(user).is_some_and(|load| Arc::strong_count(load) == 1) {
            loads.remove(user);
        }
    }
}

impl Bus {
    /// The account of whoever connects: created or brought up to date when the cache does not already say the same.
    ///
    /// # Errors
    /// When neither Redis nor persistence can tell.
    pub async fn connect_user(&self, identity: &Identity) -> Result<Account, PeopleError> {
        let session = self.log.session().await?;
        let user = &identity.user;
        let cached =
            self.cached(&session, membership::account(&mut session.connection(), user, session.epoch).await)?;
        if let Some(account) = cached
            && (identity.name.is_none() || identity.name == account.name)
            && (identity.picture.is_none() || identity.picture == account.picture)
        {
            return Ok(account);
        }
        let (name, picture) = (identity.name.clone(), identity.picture.clone());
        Ok(self.persistence.connect_user(&ConnectUserRequest { user: user.clone(), name, picture }).await?)
    }

    /// The wire's `rooms_version` of a user.
    ///
    /// # Errors
    /// When Redis does not answer.
    pub async fn rooms_version(&self, user: &UserId) -> Result<String, PeopleError> {
        let session = self.log.session().await?;
        let counter = self.cached(&session, membership::version(&mut session.connection(), user).await)?;
        Ok(membership::wire_version(session.epoch, counter))
    }

    /// How a user stands in a room; `None`: not a member.
    ///
    /// # Errors
    /// When neither Redis nor persistence can tell.
    pub async fn membership(&self, user: &UserId, room: &RoomId) -> Result<Option<Membership>, PeopleError> {
        let session = self.log.session().await?;
        let rooms = std::slice::from_ref(room);
        let cached = membership::of(&mut session.connection(), user, session.epoch, rooms).await;
        match self.cached(&session, cached)? {
            Some(mut memberships) => Ok(memberships.pop().flatten()),
            None => Ok(self.load_rooms(user).await?.rooms.get(room).cloned()),
        }
    }

    /// A user's most recently active rooms, at most 200, and whether there are more.
    ///
    /// # Errors
    /// When neither Redis nor persistence can tell.
    pub async fn my_rooms(&self, user: &UserId) -> Result<(Vec<RoomId>, bool), PeopleError> {
        let session = self.log.session().await?;
        let cached = membership::all(&mut session.connection(), user, session.epoch).await;
        match self.cached(&session, cached)? {
            Some(rooms) if rooms.len() <= MINE => Ok((rooms.into_keys().collect(), false)),
            _ => {
                let answer = self.load_rooms(user).await?;
                Ok((answer.recent.clone(), answer.rooms.len() > answer.recent.len()))
            }
        }
    }

    /// Moves the cached read position of a user forward.
    pub async fn advance_read(&self, user: &UserId, room: &RoomId, seq: Seq) {
        let Ok(session) = self.log.session().await else { return };
        let moved = membership::advance_read(&mut session.connection(), user, room, seq).await;
        // A cache that stays behind is caught up by its next fill.
        let _ = self.cached(&session, moved);
    }

    /// Loads a user's memberships from PostgreSQL: one load at a time, shared by all who asked before it began.
    async fn load_rooms(&self, user: &UserId) -> Result<Arc<RoomsAnswer>, AuthorityError> {
        let asked = Instant::now();
        let load = self.loads.of(user);
        let answer = {
            let mut last = load.lock().await;
            match &*last {
                Some((began, answer)) if *began >= asked => Ok(answer.clone()),
                _ => {
                    let began = Instant::now();
                    let answer = self.persistence.rooms(user).await.map(Arc::new);
                    *last = answer.as_ref().ok().map(|answer| (began, answer.clone()));
                    answer
                }
            }
        };
        self.loads.done(user, load);
        answer
    }

    fn cached<T>(&self, session: &Arc<Session>, read: Result<T, RedisError>) -> Result<T, PeopleError> {
        read.map_err(|error| {
            self.log.failed(session, &error);
            error.into()
        })
    }
}

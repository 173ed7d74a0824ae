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
    ids::{Epoch, RoomId, UserId},
    internal::{ConnectUserRequest, RoomsAnswer},
    log::{Authority as _, AuthorityError, Session, SessionError, Step},
    membership::{self, Account, Membership},
};

use super::Bus;
use crate::hub::Roles;

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

type Load = Arc<tokio::sync::Mutex<Option<(Instant, Epoch, Arc<RoomsAnswer>)>>>;

/// How a user stands in a room, as of a place at or above the base of `epoch`; a later change has a mark there.
#[derive(Debug, Clone)]
pub struct Standing {
    pub epoch: Epoch,
    /// `None`: not a member.
    pub membership: Option<Membership>,
}

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
    /// `None`: not known, and users are not created by connecting.
    ///
    /// # Errors
    /// When neither Redis nor persistence can tell.
    pub async fn connect_user(&self, identity: &Identity) -> Result<Option<Account>, PeopleError> {
        let session = self.log.session().await?;
        let user = &identity.user;
        let cached = self
            .asked(
                Step::People,
                &session,
                membership::account(&mut session.connection(), user, session.epoch),
            )
            .await?;
        if let Some(account) = cached
            && (identity.name.is_none() || identity.name == account.name)
            && (identity.picture.is_none() || identity.picture == account.picture)
        {
            return Ok(Some(account));
        }
        let (name, picture) = (identity.name.clone(), identity.picture.clone());
        Ok(self.persistence.connect_user(&ConnectUserRequest { user: user.clone(), name, picture }).await?)
    }

    /// How a user stands in a room; `None`: not a member.
    ///
    /// # Errors
    /// When neither Redis nor persistence can tell.
    pub async fn membership(&self, user: &UserId, room: &RoomId) -> Result<Option<Membership>, PeopleError> {
        Ok(self.standing(user, room).await?.membership)
    }

    /// As [`Bus::membership`], with the epoch in which it counts.
    ///
    /// # Errors
    /// When neither Redis nor persistence can tell.
    pub async fn standing(&self, user: &UserId, room: &RoomId) -> Result<Standing, PeopleError> {
        let mut standings = self.standings(user, std::slice::from_ref(room)).await?;
        Ok(standings.pop().expect("there is a standing for each room"))
    }

    /// How a user stands in some rooms, in their order.
    ///
    /// # Errors
    /// When neither Redis nor persistence can tell.
    pub async fn standings(&self, user: &UserId, rooms: &[RoomId]) -> Result<Vec<Standing>, PeopleError> {
        let session = self.log.session().await?;
        let epoch = session.epoch;
        let cached = self
            .asked(Step::People, &session, membership::of(&mut session.connection(), user, epoch, rooms))
            .await?;
        let memberships = match cached {
            Some(memberships) => memberships,
            None => {
                let loaded = self.load_rooms_in(user, epoch).await?;
                rooms.iter().map(|room| loaded.rooms.get(room).cloned()).collect()
            }
        };
        Ok(memberships.into_iter().map(|membership| Standing { epoch, membership }).collect())
    }

    /// The stored roles of users in a room of which a head was read in this epoch.
    ///
    /// # Errors
    /// When persistence cannot tell.
    pub async fn roles(&self, room: &RoomId, epoch: Epoch, users: &[UserId]) -> Result<Roles, PeopleError> {
        let roles = self.persistence.roles(room, users).await?;
        let roles = roles.into_iter().map(|role| role.map(String::into_boxed_str));
        Ok(Roles { epoch, of: users.iter().cloned().zip(roles).collect() })
    }

    /// A user's most recently active rooms, at most 200, and whether there are more.
    ///
    /// # Errors
    /// When neither Redis nor persistence can tell.
    pub async fn my_rooms(&self, user: &UserId) -> Result<(Vec<RoomId>, bool), PeopleError> {
        let session = self.log.session().await?;
        let cached = self
            .asked(Step::People, &session, membership::all(&mut session.connection(), user, session.epoch))
            .await?;
        match cached {
            Some(rooms) if rooms.len() <= MINE => Ok((rooms.into_keys().collect(), false)),
            _ => {
                let answer = self.load_rooms(user).await?;
                Ok((answer.recent.clone(), answer.rooms.len() > answer.recent.len()))
            }
        }
    }

    /// Whether somebody else is a member of a room. Asked for anybody, so it fills no cache.
    ///
    /// # Errors
    /// When neither Redis nor persistence can tell.
    pub async fn is_member(&self, user: &UserId, room: &RoomId) -> Result<bool, PeopleError> {
        let session = self.log.session().await?;
        let rooms = std::slice::from_ref(room);
        let cached = self
            .asked(
                Step::People,
                &session,
                membership::of(&mut session.connection(), user, session.epoch, rooms),
            )
            .await?;
        if let Some(memberships) = cached {
            return Ok(memberships.iter().any(Option::is_some));
        }
        let stored = self.persistence.marks(room, std::slice::from_ref(user)).await?;
        Ok(stored.marks.iter().any(Option::is_some))
    }

    /// Loads a user's memberships from PostgreSQL, to be used in the epoch of the session.
    pub(super) async fn load_rooms(&self, user: &UserId) -> Result<Arc<RoomsAnswer>, AuthorityError> {
        let epoch = self.log.current_session().map_or(Epoch::default(), |session| session.epoch);
        self.load_rooms_in(user, epoch).await
    }

    /// Loads a user's memberships from PostgreSQL: one load at a time, shared by all who asked before it began.
    async fn load_rooms_in(&self, user: &UserId, epoch: Epoch) -> Result<Arc<RoomsAnswer>, AuthorityError> {
        let asked = Instant::now();
        let load = self.loads.of(user);
        let answer = {
            let mut last = load.lock().await;
            match &*last {
                Some((began, of, answer)) if *began >= asked && *of == epoch => Ok(answer.clone()),
                _ => {
                    let began = Instant::now();
                    let answer = self.persistence.rooms(user, epoch).await.map(Arc::new);
                    *last = answer.as_ref().ok().map(|answer| (began, epoch, answer.clone()));
                    answer
                }
            }
        };
        self.loads.done(user, load);
        answer
    }

    /// Waits for what is asked of Redis on a session, whose end it may show, and takes the time.
    pub(super) async fn asked<T>(
        &self,
        step: Step,
        session: &Arc<Session>,
        question: impl Future<Output = Result<T, RedisError>>,
    ) -> Result<T, PeopleError> {
        self.log.timed(step, question).await.map_err(|error| {
            self.log.failed(session, &error);
            error.into()
        })
    }
}

//! From lines to the log: users and rooms into the database, members and messages through the log, each until it is
//! stored. Messages of one room one after the other, rooms side by side.

use std::collections::{BTreeMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::{StreamExt, future::join_all, stream};
use sea_orm::{DatabaseConnection, DbErr};
use tidings_shared::ids::{RoomId, Seq, UserId};
use tidings_shared::log::{Accepted, AppendError, Entry, Log, Minimum, stored::Stored};
use tidings_shared::membership;

use super::line::{Message, Passed};
use super::places::Places;
use crate::account::Newcomers;
use crate::membership::{Asker, Bounds, MembershipError, Memberships, Wish};
use crate::query;
use crate::query::rooms::{Created, NewRoom, create};
use crate::query::{importing, users};
use crate::writer::failure;

/// Rooms that are appended to side by side.
const ROOMS_AT_ONCE: usize = 32;
/// What cannot be taken now is tried again for about ten minutes.
const TRIES: u32 = 65;
/// Each waits for half a minute.
const STORED_TRIES: u32 = 20;
const PAUSES: [Duration; 2] = [Duration::from_millis(100), Duration::from_secs(10)];
/// Messages that are looked up in one statement.
const LOOKED_UP_AT_ONCE: usize = 500;

/// What became of a line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    Done,
    /// It was there already.
    Known,
    /// It cannot be imported, for this reason.
    Refused(String),
}

impl Outcome {
    fn erased() -> Self {
        Self::Refused("it is of a user who is erased".to_owned())
    }
}

/// Why an import cannot go on.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Stopped(pub String);

impl From<DbErr> for Stopped {
    fn from(error: DbErr) -> Self {
        Self(failure::without_data(&error))
    }
}

/// Carries lines into the system.
pub struct Carrier {
    pub db: DatabaseConnection,
    pub log: Arc<Log>,
    pub max_message_chars: usize,
    pub memberships: Memberships,
    places: Mutex<Places>,
}

impl Carrier {
    #[must_use]
    pub fn new(db: DatabaseConnection, log: Arc<Log>, max_message_chars: usize) -> Self {
        // An import is not held to what clients are: whoever was there is there.
        let bounds = Bounds { members_per_room: u32::MAX, rooms_per_user: u32::MAX };
        let memberships =
            Memberships { db: db.clone(), log: log.clone(), newcomers: Newcomers::Create, bounds };
        Self { db, log, max_message_chars, memberships, places: Mutex::default() }
    }

    pub async fn user(
        &self,
        user: &UserId,
        name: Option<&str>,
        picture: Option<&str>,
    ) -> Result<Outcome, Stopped> {
        if let Some(outcome) = self.refuse_erased([user]).await? {
            return Ok(outcome);
        }
        let admitted = users::admit(&self.db, user, name, picture, Newcomers::Create).await?;
        Ok(if admitted.is_some_and(|admitted| admitted.written) { Outcome::Done } else { Outcome::Known })
    }

    /// `named`: the line gave the room's id.
    pub async fn room(&self, room: &NewRoom, named: bool) -> Result<Outcome, Stopped> {
        let members = room.members.iter().map(|(user, _)| user);
        if let Some(outcome) = self.refuse_erased(members.chain([&room.creator])).await? {
            let there = named && query::stored_head(&self.db, &room.id).await?.is_some();
            return Ok(if there { Outcome::Known } else { outcome });
        }
        let outcome = match create(&self.db, room, Newcomers::Create).await? {
            Created::New => Outcome::Done,
            Created::IdTaken => Outcome::Known,
            Created::Exists(id) if !named || id == room.id => Outcome::Known,
            Created::Exists(id) => Outcome::Refused(format!("the two have the direct room {id} already")),
            Created::UnknownMember => Outcome::Refused("a member is not known, or is erased".to_owned()),
        };
        if outcome == Outcome::Done {
            let session = self.log.session().await.map_err(|error| Stopped(error.to_string()))?;
            let members = room.members.iter().map(|(user, _)| user);
            // What is cached of them goes within the hour if this is not taken.
            let _ = membership::changed(&mut session.connection(), members).await;
        }
        Ok(outcome)
    }

    pub async fn member(&self, room: &RoomId, user: &UserId, role: &str) -> Result<Outcome, Stopped> {
        if let Some(outcome) = self.refuse_erased([user]).await? {
            return Ok(outcome);
        }
        let wish = Wish::Put(Some(role.to_owned()));
        let mut pauses = Pauses::new();
        loop {
            let asker = Asker { user, admin: true };
            match self.memberships.change(asker, room, user, &wish).await {
                Ok(_) => return Ok(Outcome::Done),
                Err(MembershipError::Refused(refusal)) if refusal.retry_after_ms.is_none() => {
                    return Ok(Outcome::Refused(refusal.message));
                }
                Err(MembershipError::Database(error)) if !failure::is_of_the_connection(&error) => {
                    return Err(error.into());
                }
                Err(error) => pauses.rest(&error.to_string()).await?,
            }
        }
    }

    async fn refuse_erased<'a>(
        &self,
        users: impl IntoIterator<Item = &'a UserId>,
    ) -> Result<Option<Outcome>, Stopped> {
        let erased = importing::erased(&self.db, users).await?;
        Ok((!erased.is_empty()).then(Outcome::erased))
    }

    /// Remembers where messages stand that were imported before.
    pub async fn recall(&self, passed: &[Passed]) -> Result<(), Stopped> {
        for passed in passed.chunks(LOOKED_UP_AT_ONCE) {
            let keys: Vec<_> = passed
                .iter()
                .map(|passed| (passed.room.as_str(), passed.sender.as_str(), passed.client_id.as_str()))
                .collect();
            for (passed, seq) in passed.iter().zip(importing::stored(&self.db, &keys).await?) {
                if let Some(seq) = seq {
                    self.places().put(&passed.room, &passed.id, seq);
                }
            }
        }
        Ok(())
    }

    /// Carries messages; one outcome each, in order.
    pub async fn messages(&self, messages: &[Message]) -> Result<Vec<Outcome>, Stopped> {
        let erased = importing::erased(&self.db, messages.iter().map(|message| &message.sender)).await?;
        let senders = messages.iter().map(|message| &message.sender);
        let senders: HashSet<&UserId> = senders.filter(|sender| !erased.contains(sender.as_str())).collect();
        users::ensure(&self.db, senders, Newcomers::Create).await?;
        let keys: Vec<_> = messages
            .iter()
            .map(|message| (message.room.as_str(), message.sender.as_str(), message.client_id.as_str()))
            .collect();
        let stored = importing::stored(&self.db, &keys).await?;
        let mut outcomes = vec![Outcome::Known; messages.len()];
        let mut rooms: BTreeMap<&RoomId, Vec<usize>> = BTreeMap::new();
        for (place, (message, stored)) in messages.iter().zip(stored).enumerate() {
            match stored {
                Some(seq) => self.remember(message, seq),
                None if erased.contains(message.sender.as_str()) => outcomes[place] = Outcome::erased(),
                None => rooms.entry(&message.room).or_default().push(place),
            }
        }
        let carried = rooms.into_values().map(|places| self.in_one_room(messages, places));
        let carried: Vec<_> = stream::iter(carried).buffer_unordered(ROOMS_AT_ONCE).collect().await;
        for carried in carried {
            for (place, outcome) in carried? {
                outcomes[place] = outcome;
            }
        }
        Ok(outcomes)
    }

    /// Appends messages of one room in order, then waits for all of them.
    async fn in_one_room(
        &self,
        messages: &[Message],
        places: Vec<usize>,
    ) -> Result<Vec<(usize, Outcome)>, Stopped> {
        let mut outcomes = Vec::with_capacity(places.len());
        let mut appended = Vec::new();
        for place in places {
            match self.append(&messages[place], true).await? {
                Ok(accepted) => {
                    self.remember(&messages[place], accepted.seq);
                    appended.push((place, accepted));
                }
                Err(outcome) => outcomes.push((place, outcome)),
            }
        }
        let stored = appended.iter().map(|(place, accepted)| self.settle(&messages[*place], accepted));
        for ((place, _), outcome) in appended.iter().zip(join_all(stored).await) {
            outcomes.push((*place, outcome?));
        }
        Ok(outcomes)
    }

    /// `looked_up`: PostgreSQL has just been asked for the client id, and what Redis remembers it tells by itself.
    async fn append(&self, message: &Message, looked_up: bool) -> Result<Result<Accepted, Outcome>, Stopped> {
        let reply_to = message.reply_to.as_ref().and_then(|id| self.places().get(&message.room, id));
        let draft = match message.draft(reply_to, self.max_message_chars) {
            Ok(draft) => draft,
            Err(reason) => return Ok(Err(Outcome::Refused(reason))),
        };
        let mut pauses = Pauses::new();
        let mut first_attempt = looked_up;
        loop {
            let entry = Entry {
                minimum: Minimum::Anyone,
                allowed_in_archive: true,
                first_attempt,
                ..draft.entry(&message.room, &message.sender, None, None)
            };
            match self.log.append(&entry).await {
                Ok(accepted) => return Ok(Ok(accepted)),
                Err(AppendError::NoSuchRoom) => {
                    return Ok(Err(Outcome::Refused(format!("there is no room {}", message.room))));
                }
                // Since they were looked for.
                Err(AppendError::Revoked) => return Ok(Err(Outcome::erased())),
                Err(AppendError::Rejected) => {
                    return Ok(Err(Outcome::Refused("it could not be written".to_owned())));
                }
                Err(error) => pauses.rest(&error.to_string()).await?,
            }
            // It may have been taken, and stored since.
            first_attempt = false;
        }
    }

    async fn settle(&self, message: &Message, accepted: &Accepted) -> Result<Outcome, Stopped> {
        let mut accepted = accepted.clone();
        for _ in 0..STORED_TRIES {
            match self.log.wait_stored(&message.room, &accepted).await {
                Stored::Here if accepted.duplicate => return Ok(Outcome::Known),
                Stored::Here => return Ok(Outcome::Done),
                Stored::First { seq, .. } => {
                    self.remember(message, seq);
                    return Ok(Outcome::Known);
                }
                Stored::Rejected => return Ok(Outcome::Refused("it could not be written".to_owned())),
                Stored::Unavailable => match self.append(message, false).await? {
                    Ok(again) => accepted = again,
                    Err(outcome) => return Ok(outcome),
                },
            }
        }
        Err(Stopped("what is appended is not being stored: is a persistence node running?".to_owned()))
    }

    fn remember(&self, message: &Message, seq: Seq) {
        self.places().put(&message.room, &message.id, seq);
    }

    fn places(&self) -> std::sync::MutexGuard<'_, Places> {
        // No code that runs under the lock can panic half-way through a change.
        self.places.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The pauses between tries, up to the last.
struct Pauses {
    left: u32,
    next: Duration,
}

impl Pauses {
    fn new() -> Self {
        Self { left: TRIES, next: PAUSES[0] }
    }

    async fn rest(&mut self, cause: &str) -> Result<(), Stopped> {
        self.left = self.left.checked_sub(1).ok_or_else(|| Stopped(cause.to_owned()))?;
        tokio::time::sleep(self.next).await;
        self.next = (self.next * 2).min(PAUSES[1]);
        Ok(())
    }
}

//! What is held of users, told of them and asked about them.

use std::time::Duration;

use redis::{RedisError, aio::MultiplexedConnection};

use super::{
    CHANNEL, Life, Partition, keys, letter, of_letter,
    scripts::{self, HOLD, PUT, STATES, TELL},
};
use crate::{
    ids::{RoomId, UserId},
    protocol::{
        Status,
        server::{Presence, rfc3339},
    },
};

/// Users of a partition who went and are not written down yet; of more the time they were seen last is lost.
const MAX_GONE: usize = 20_000;

/// What a node holds of a user, from now on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Put {
    pub user: UserId,
    /// `None`: nothing any more.
    pub status: Option<Status>,
    /// What goes on for the grace, since a connection closed.
    pub grace: Option<Status>,
}

/// What became of a [`Put`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PutOutcome {
    /// There is nothing to tell.
    Told,
    /// It is to be told: see [`tell`].
    Tell,
    /// The life is over; nothing was put.
    LifeOver,
}

/// Notes what a life of a node holds.
///
/// # Errors
/// When Redis does not answer; the same may be put again.
pub async fn put(
    connection: &mut MultiplexedConnection,
    life: &Life,
    puts: &[Put],
) -> Result<Vec<PutOutcome>, RedisError> {
    put_or_reap(connection, life, puts, false).await
}

/// Takes away what a life that is over held of these users.
///
/// # Errors
/// When Redis does not answer.
pub async fn reap(
    connection: &mut MultiplexedConnection,
    life: &Life,
    users: &[UserId],
) -> Result<Vec<PutOutcome>, RedisError> {
    let nothing = |user: &UserId| Put { user: user.clone(), status: None, grace: None };
    put_or_reap(connection, life, &users.iter().map(nothing).collect::<Vec<_>>(), true).await
}

async fn put_or_reap(
    connection: &mut MultiplexedConnection,
    life: &Life,
    puts: &[Put],
    reap: bool,
) -> Result<Vec<PutOutcome>, RedisError> {
    let mut pipe = redis::pipe();
    for Put { user, status, grace } in puts {
        let partition = Partition::of(user);
        let keys = [keys::user(user), partition.due(), partition.lives(), partition.users_of(life)];
        scripts::call(&mut pipe, &PUT, &keys).arg(user.as_str()).arg(life.to_string());
        pipe.arg(letter(*status)).arg(letter(*grace)).arg(i32::from(reap));
    }
    outcomes(connection, &pipe).await
}

async fn outcomes(
    connection: &mut MultiplexedConnection,
    pipe: &redis::Pipeline,
) -> Result<Vec<PutOutcome>, RedisError> {
    let answers: Vec<String> = scripts::run(connection, pipe).await?;
    let outcome = |answer: String| match answer.as_str() {
        "tell" => PutOutcome::Tell,
        "over" => PutOutcome::LifeOver,
        _ => PutOutcome::Told,
    };
    Ok(answers.into_iter().map(outcome).collect())
}

/// How someone is here without a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hold {
    Poll,
    Http,
}

/// Someone is here for a time. Without a status: as they are held now, else online.
///
/// # Errors
/// When Redis does not answer.
pub async fn hold(
    connection: &mut MultiplexedConnection,
    kind: Hold,
    time: Duration,
    holds: &[(UserId, Option<Status>)],
) -> Result<Vec<PutOutcome>, RedisError> {
    let kind = match kind {
        Hold::Poll => "poll",
        Hold::Http => "http",
    };
    let ms = u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
    let mut pipe = redis::pipe();
    for (user, status) in holds {
        let partition = Partition::of(user);
        let keys = [keys::user(user), partition.due(), partition.lives()];
        scripts::call(&mut pipe, &HOLD, &keys).arg(user.as_str()).arg(kind).arg(letter(*status)).arg(ms);
    }
    outcomes(connection, &pipe).await
}

/// Tells what users are by now to the members of these rooms, where that is not what was told last. True for those
/// whom this call told.
///
/// # Errors
/// When Redis does not answer.
pub async fn tell(
    connection: &mut MultiplexedConnection,
    users: &[(UserId, Vec<RoomId>)],
) -> Result<Vec<bool>, RedisError> {
    let mut pipe = redis::pipe();
    for (user, rooms) in users {
        let partition = Partition::of(user);
        let keys = [keys::user(user), partition.due(), partition.lives(), partition.gone(), partition.told()];
        scripts::call(&mut pipe, &TELL, &keys).arg(user.as_str()).arg(CHANNEL).arg(MAX_GONE);
        for room in rooms {
            pipe.arg(room.as_str());
        }
    }
    let answers: Vec<String> = scripts::run(connection, &pipe).await?;
    Ok(answers.into_iter().map(|answer| answer == "published").collect())
}

/// What somebody is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct State {
    /// `None`: offline.
    pub status: Option<Status>,
    /// When someone who is offline was seen last, as far as it is known.
    pub last_seen_ms: Option<i64>,
}

impl State {
    /// With another source's word on when they were seen last.
    #[must_use]
    pub fn or_seen(self, at_ms: Option<i64>) -> Self {
        Self { last_seen_ms: self.last_seen_ms.max(at_ms), ..self }
    }

    /// As others are told.
    #[must_use]
    pub fn on_the_wire(self, user: UserId) -> Presence {
        let status = match self.status {
            Some(Status::Online) => "online",
            Some(Status::Away) => "away",
            None => "offline",
        };
        let last_seen = self.last_seen_ms.filter(|_| self.status.is_none()).map(rfc3339);
        Presence { user, status, last_seen }
    }
}

/// What users are now, in the same order.
///
/// # Errors
/// When Redis does not answer.
pub async fn states(
    connection: &mut MultiplexedConnection,
    users: &[UserId],
) -> Result<Vec<State>, RedisError> {
    let mut places: Vec<usize> = (0..users.len()).collect();
    places.sort_by_key(|place| Partition::of(&users[*place]));
    let mut pipe = redis::pipe();
    for places in places.chunk_by(|one, other| Partition::of(&users[*one]) == Partition::of(&users[*other])) {
        let partition = Partition::of(&users[places[0]]);
        let mut keys = vec![partition.lives(), partition.gone()];
        keys.extend(places.iter().map(|place| keys::user(&users[*place])));
        scripts::call(&mut pipe, &STATES, &keys);
        for place in places {
            pipe.arg(users[*place].as_str());
        }
    }
    if pipe.is_empty() {
        return Ok(Vec::new());
    }
    let answers: Vec<Vec<String>> = scripts::run(connection, &pipe).await?;
    let mut states = vec![State::default(); users.len()];
    let answers = answers.iter().flat_map(|answer| answer.chunks_exact(2));
    for (place, answer) in places.iter().zip(answers) {
        states[*place] = State { status: of_letter(&answer[0]), last_seen_ms: answer[1].parse().ok() };
    }
    Ok(states)
}

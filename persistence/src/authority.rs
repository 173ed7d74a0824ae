//! PostgreSQL's say in the log: epochs, seeds, look-ups. Serves this process and, by the internal listener, gateways.
//! Promises that an epoch is opened only for the Redis process that persistence itself reaches, and that a room's
//! base in an epoch is decided once, under its partition's lock.

pub mod plan;

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;

use async_trait::async_trait;
use futures_util::{StreamExt, future::try_join_all, stream};
use redis::{AsyncConnectionConfig, Client};
use sea_orm::{DatabaseConnection, DbErr};
use tidings_shared::{
    ids::{ClientId, Epoch, RoomId, Seq, UserId},
    log::{
        Authority, AuthorityError, Known, Log, OpenedEpoch, SeedOutcome, Session, StoredMarks, Target,
        connect_to_process,
        keys::{self, Partition},
    },
};
use tokio::time::{Instant, timeout_at};

use crate::query::{marks, targets};
use crate::writer::{epochs, failure, seeds, voids};
use plan::Survived;

/// Partitions that are seeded side by side; each holds a connection for the time of a short transaction.
const SEEDS_AT_ONCE: usize = 4;
/// All of a request to seed: gateways wait for 4 s. What was not reached by then is told as `Later`.
const SEEDS_TIMEOUT: Duration = Duration::from_secs(3);
/// How long a change waits for its message to be stored; gateways wait for 4 s.
const TARGET_TIMEOUT: Duration = Duration::from_secs(3);
const TARGET_PAUSE: Duration = Duration::from_millis(100);
/// A room whose hash changes under the seed is read again, this many times.
const ROUNDS: usize = 5;

/// See the module.
pub struct PostgresAuthority {
    db: DatabaseConnection,
    redis: Client,
    /// The log asks the authority and the authority seeds through the log: known once both are there.
    log: OnceLock<Weak<Log>>,
}

type HashAndTail = ((Option<u64>, Option<u64>), Vec<(String, redis::Value)>);

impl PostgresAuthority {
    #[must_use]
    pub fn new(db: DatabaseConnection, redis: Client) -> Arc<Self> {
        Arc::new(Self { db, redis, log: OnceLock::new() })
    }

    /// Names the log whose session seeds are written through. Before that every seed is `Unavailable`.
    pub fn serve(&self, log: &Arc<Log>) {
        let _ = self.log.set(Arc::downgrade(log));
    }

    fn log(&self) -> Result<Arc<Log>, AuthorityError> {
        self.log.get().and_then(Weak::upgrade).ok_or_else(|| unavailable("the log is not there"))
    }

    /// Our session of exactly this epoch; a session of an earlier one is opened anew.
    async fn session(&self, log: &Log, epoch: Epoch) -> Result<Arc<Session>, AuthorityError> {
        for _ in 0..2 {
            let session = log.session().await.map_err(unavailable)?;
            match session.epoch.cmp(&epoch) {
                std::cmp::Ordering::Equal => return Ok(session),
                std::cmp::Ordering::Greater => return Err(AuthorityError::PastEpoch),
                std::cmp::Ordering::Less => log.discard(&session),
            }
        }
        Err(unavailable("another Redis process answers here than the one of this epoch"))
    }

    async fn seed_partition(
        &self,
        log: &Log,
        session: &Arc<Session>,
        partition: Partition,
        rooms: Vec<RoomId>,
    ) -> Result<Vec<(RoomId, SeedOutcome)>, AuthorityError> {
        let mut outcomes = Vec::with_capacity(rooms.len());
        let mut left = rooms;
        for _ in 0..ROUNDS {
            let survived = self.read_survived(log, session, &left).await?;
            let mut wanted = Vec::new();
            for (room, survived) in left.into_iter().zip(survived) {
                match survived.hash {
                    Some((epoch, _)) if epoch == session.epoch => outcomes.push((room, SeedOutcome::Seeded)),
                    Some((epoch, _)) if epoch > session.epoch => return Err(AuthorityError::PastEpoch),
                    _ => wanted.push((room, survived)),
                }
            }
            if wanted.is_empty() {
                return Ok(outcomes);
            }
            let decided = seeds::decide(&self.db, session.epoch, partition, &wanted).await.map_err(away)?;
            let Some(mut decided) = decided else { return Err(AuthorityError::PastEpoch) };
            let mut writes = Vec::new();
            for (room, survived) in wanted {
                match decided.remove(&room) {
                    None => outcomes.push((room, SeedOutcome::NoSuchRoom)),
                    // Its base stands by now, up to which the partition's owner writes the records that are left.
                    Some((_, plan)) if plan.waits => outcomes.push((room, SeedOutcome::Later)),
                    Some((head, plan)) => writes.push(async move {
                        let hash = survived.hash;
                        let wrote = log.write_seed(session, &room, hash, &head, plan.survived).await;
                        wrote.map(|wrote| (room, wrote)).map_err(unavailable)
                    }),
                }
            }
            left = Vec::new();
            for (room, wrote) in try_join_all(writes).await? {
                if wrote {
                    outcomes.push((room, SeedOutcome::Seeded));
                } else {
                    left.push(room);
                }
            }
            if left.is_empty() {
                return Ok(outcomes);
            }
        }
        Err(unavailable("a room's hash does not settle"))
    }

    /// What Redis holds of rooms of one partition, in one go.
    async fn read_survived(
        &self,
        log: &Log,
        session: &Arc<Session>,
        rooms: &[RoomId],
    ) -> Result<Vec<Survived>, AuthorityError> {
        let mut pipe = redis::pipe();
        pipe.atomic();
        for room in rooms {
            pipe.cmd("HMGET").arg(keys::room(room)).arg("epoch").arg("seq");
            pipe.cmd("XREVRANGE").arg(keys::tail(room)).arg("+").arg("-").arg("COUNT").arg(1);
        }
        let answer: Result<Vec<redis::Value>, _> = pipe.query_async(&mut session.connection()).await;
        let values = answer.map_err(|error| {
            log.failed(session, &error);
            unavailable(error)
        })?;
        values
            .chunks(2)
            .map(|pair| {
                let ((epoch, seq), tail): HashAndTail =
                    redis::from_redis_value(redis::Value::Array(pair.to_vec()))
                        .map_err(|_| unavailable("a room's hash or tail has another form"))?;
                let hash = epoch.map(Epoch).zip(seq.map(Seq));
                let last = tail.first().and_then(|(id, _)| id.split_once('-')?.0.parse().ok());
                Ok(Survived { hash, tail_last: last.map(Seq) })
            })
            .collect()
    }
}

#[async_trait]
impl Authority for PostgresAuthority {
    async fn open_epoch(&self, run_id: &str) -> Result<OpenedEpoch, AuthorityError> {
        // Asked while the log opens a session: a connection of our own, never the log's.
        let reached = connect_to_process(&self.redis, AsyncConnectionConfig::new()).await;
        let (_connection, reached) = reached.map_err(unavailable)?;
        if reached != run_id {
            return Err(AuthorityError::OtherProcess);
        }
        epochs::open(&self.db, run_id).await.map_err(away)
    }

    async fn seed(&self, epoch: Epoch, rooms: &[RoomId]) -> Result<Vec<SeedOutcome>, AuthorityError> {
        let deadline = Instant::now() + SEEDS_TIMEOUT;
        if epochs::newest(&self.db).await.map_err(away)? != Some(epoch) {
            return Err(AuthorityError::PastEpoch);
        }
        let log = self.log()?;
        let session = self.session(&log, epoch).await?;
        let mut by_partition: BTreeMap<Partition, Vec<RoomId>> = BTreeMap::new();
        for room in rooms {
            let rooms = by_partition.entry(Partition::of(room)).or_default();
            if !rooms.contains(room) {
                rooms.push(room.clone());
            }
        }
        let (log, session) = (&log, &session);
        let seeds = by_partition.into_iter().map(|(partition, rooms)| async move {
            let seed = self.seed_partition(log, session, partition, rooms);
            timeout_at(deadline, seed).await.unwrap_or_else(|_| Err(unavailable("no time was left")))
        });
        let seeded: Vec<_> = stream::iter(seeds).buffer_unordered(SEEDS_AT_ONCE).collect().await;
        outcomes(rooms, seeded)
    }

    async fn look_up(
        &self,
        room: &RoomId,
        sender: &UserId,
        client_id: &ClientId,
    ) -> Result<Option<Known>, AuthorityError> {
        voids::look_up(&self.db, room, sender, client_id).await.map_err(away)
    }

    async fn marks(&self, room: &RoomId, users: &[UserId]) -> Result<StoredMarks, AuthorityError> {
        marks::of(&self.db, room, users).await.map_err(away)
    }

    async fn target(&self, room: &RoomId, seq: Seq) -> Result<Option<Target>, AuthorityError> {
        let deadline = Instant::now() + TARGET_TIMEOUT;
        loop {
            match targets::target(&self.db, room, seq).await.map_err(away)? {
                targets::Found::Message(target) => return Ok(Some(target)),
                targets::Found::Nothing => return Ok(None),
                targets::Found::NotStored if Instant::now() < deadline => {
                    tokio::time::sleep(TARGET_PAUSE).await
                }
                targets::Found::NotStored => return Err(unavailable("the message is not stored yet")),
            }
        }
    }
}

/// One outcome per room. A partition that failed holds up its own rooms only, unless all did.
fn outcomes(
    rooms: &[RoomId],
    seeded: Vec<Result<Vec<(RoomId, SeedOutcome)>, AuthorityError>>,
) -> Result<Vec<SeedOutcome>, AuthorityError> {
    let mut outcomes = HashMap::with_capacity(rooms.len());
    let mut failed = None;
    for seeded in seeded {
        match seeded {
            Ok(seeded) => outcomes.extend(seeded),
            Err(AuthorityError::PastEpoch) => return Err(AuthorityError::PastEpoch),
            Err(error) => {
                tracing::debug!(%error, "a partition's rooms cannot be seeded now");
                failed = Some(error);
            }
        }
    }
    match failed {
        Some(error) if outcomes.is_empty() => Err(error),
        _ => Ok(rooms.iter().map(|room| outcomes.get(room).copied().unwrap_or(SeedOutcome::Later)).collect()),
    }
}

fn unavailable(cause: impl std::fmt::Display) -> AuthorityError {
    AuthorityError::Unavailable(cause.to_string())
}

fn away(error: DbErr) -> AuthorityError {
    let cause = failure::without_data(&error);
    tracing::warn!(error = cause, "the database did not answer the authority");
    AuthorityError::Unavailable(cause)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_partition_that_fails_holds_up_its_own_rooms_only() {
        let rooms = ["a", "b", "c"].map(|room| RoomId::parse(room).unwrap());
        let [a, b, _] = rooms.clone();
        let seeded = || Ok(vec![(a.clone(), SeedOutcome::Seeded), (b.clone(), SeedOutcome::NoSuchRoom)]);
        let busy = || Err(unavailable("busy"));
        let told = outcomes(&rooms, vec![busy(), seeded()]);
        assert_eq!(told, Ok(vec![SeedOutcome::Seeded, SeedOutcome::NoSuchRoom, SeedOutcome::Later]));
        assert_eq!(
            outcomes(&rooms, vec![busy(), busy()]),
            Err(unavailable("busy")),
            "another replica may do it"
        );
        let past = outcomes(&rooms, vec![seeded(), Err(AuthorityError::PastEpoch)]);
        assert_eq!(past, Err(AuthorityError::PastEpoch));
    }
}

//! Answers what the room log needs from PostgreSQL: epochs, seeds and look-ups. Serves this process and, through the
//! internal listener, gateways. An epoch is opened only for the Redis process to which persistence itself connects. A
//! room's base in an epoch is decided once, under the lock of its partition.

mod surviving;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;

use async_trait::async_trait;
use futures_util::{StreamExt, future::try_join_all, stream};
use sea_orm::{DatabaseConnection, DbErr};
use tidings_shared::{
    ids::{ClientId, Epoch, RoomId, Seq, UserId},
    internal::{MessageKey, UsersOfRoom},
    log::{
        AppendError, Authority, AuthorityError, KnownClientId, Log, MarkedProcess, OpenedEpoch, RedisClient,
        SeedOutcome, Session, SessionError, StoredMarks, Target, keys::Partition,
    },
};
use tokio::time::{Instant, timeout_at};

use crate::query::change_targets::{self, TargetLookup};
use crate::query::{members, memberships};
use crate::writer::seeds::{self, LockWait, Seeds};
use crate::writer::{
    epochs::{self, OpenEpochsError},
    failure, voids,
};
use surviving::read_surviving;

/// Number of partitions that are seeded concurrently after their lock was not free. Each uses one database connection.
const CONCURRENT_SEEDS: usize = 4;
/// Deadline of a seed request, below the 4 s that gateways wait. Rooms that are not seeded by then get `Later`.
const SEED_TIMEOUT: Duration = Duration::from_secs(3);
/// Deadline of the transaction that seeds the rooms of many partitions.
const SHARED_SEED_TIMEOUT: Duration = Duration::from_secs(1);
/// Maximum number of attempts to seed a room. An attempt fails if the room's hash in Redis changes meanwhile.
const MAX_SEED_ATTEMPTS: usize = 5;

/// Implements the [`Authority`] of the log with PostgreSQL.
pub struct PostgresAuthority {
    db: DatabaseConnection,
    redis: RedisClient,
    /// Set after construction, because the log and this authority refer to each other.
    log: OnceLock<Weak<Log>>,
}

impl PostgresAuthority {
    /// Creates an authority that connects to `redis` on demand. The caller then attaches the log.
    #[must_use]
    pub fn new(db: DatabaseConnection, redis: RedisClient) -> Arc<Self> {
        Arc::new(Self { db, redis, log: OnceLock::new() })
    }

    /// Sets the log whose Redis session writes the seeds. Before this call every seed is `Unavailable`.
    pub fn attach_log(&self, log: &Arc<Log>) {
        let _ = self.log.set(Arc::downgrade(log));
    }

    fn log(&self) -> Result<Arc<Log>, AuthorityError> {
        self.log.get().and_then(Weak::upgrade).ok_or_else(|| unavailable("the log is not available"))
    }

    /// Connects to the Redis process `run_id`, by the map of this process. Fails if the map leads to other processes.
    async fn connect(
        &self,
        log: &Log,
        run_id: &str,
        partitions: &[Partition],
    ) -> Result<MarkedProcess, AuthorityError> {
        let map = log.map_watch().get().await.map_err(unavailable)?;
        let addresses: BTreeSet<_> =
            partitions.iter().filter_map(|partition| map.master(*partition)).collect();
        let mut failure = AuthorityError::OtherProcess;
        for address in addresses {
            match MarkedProcess::connect(&self.redis.at(address)).await {
                Ok(process) if process.id.run_id == run_id => return Ok(process),
                Ok(_) => {}
                Err(error) => failure = unavailable(error),
            }
        }
        // The caller may know a newer map of the cluster.
        log.map_watch().refresh();
        Err(failure)
    }

    /// A Redis session of exactly this epoch for a partition. A session of an earlier epoch is replaced by a new one.
    /// `None` while the partition is moving to another process.
    async fn session(
        &self,
        log: &Log,
        partition: Partition,
        epoch: Epoch,
    ) -> Result<Option<Arc<Session>>, AuthorityError> {
        for _ in 0..2 {
            let session = match log.session(partition).await {
                Ok(session) => session,
                Err(SessionError::PartitionMoves) => return Ok(None),
                Err(error) => return Err(unavailable(error)),
            };
            match session.epoch.cmp(&epoch) {
                std::cmp::Ordering::Equal => return Ok(Some(session)),
                std::cmp::Ordering::Greater => return Err(AuthorityError::EpochEnded),
                std::cmp::Ordering::Less => log.end_partition(&session, partition),
            }
        }
        Err(unavailable("this node reaches another Redis process than the one of this epoch"))
    }

    /// Seeds rooms with one transaction. The rooms of locked partitions have no outcome. With [`LockWait::Short`] all
    /// rooms must be of one partition, and if it is locked, their outcome is `Later`. Rooms whose partition is moving
    /// to another Redis process also get `Later`.
    async fn seed_rooms(
        &self,
        log: &Log,
        session: &Arc<Session>,
        rooms: Vec<RoomId>,
        wait: LockWait,
    ) -> Result<Vec<(RoomId, SeedOutcome)>, AuthorityError> {
        let mut outcomes = Vec::with_capacity(rooms.len());
        let mut remaining = rooms;
        for _ in 0..MAX_SEED_ATTEMPTS {
            let survived = read_surviving(log, session, &remaining).await?;
            let mut wanted = Vec::new();
            for (room, survived) in survived {
                let Some(survived) = survived else {
                    outcomes.push((room, SeedOutcome::Later));
                    continue;
                };
                match survived.hash {
                    Some((epoch, _)) if epoch == session.epoch => outcomes.push((room, SeedOutcome::Seeded)),
                    Some((epoch, _)) if epoch > session.epoch => return Err(AuthorityError::EpochEnded),
                    _ => wanted.push((room, survived)),
                }
            }
            if wanted.is_empty() {
                return Ok(outcomes);
            }
            let seeds =
                seeds::decide(&self.db, session.epoch, &wanted, wait).await.map_err(database_error)?;
            let Seeds::Decided { mut decided, locked } = seeds else {
                return Err(AuthorityError::EpochEnded);
            };
            let mut writes = Vec::new();
            for (room, survived) in wanted {
                match decided.remove(&room) {
                    None if locked.contains(&Partition::of(&room)) => {
                        if wait == LockWait::Short {
                            outcomes.push((room, SeedOutcome::Later));
                        }
                    }
                    None => outcomes.push((room, SeedOutcome::NoSuchRoom)),
                    // The base is decided, but the owner of the partition must first write the records up to the base.
                    Some((_, plan)) if plan.must_wait => outcomes.push((room, SeedOutcome::Later)),
                    Some((head, plan)) => writes.push(async move {
                        match log.write_seed(session, &room, survived.hash, &head, plan.survived).await {
                            Ok(true) => Ok((room, Some(SeedOutcome::Seeded))),
                            Ok(false) => Ok((room, None)),
                            Err(AppendError::Moving) => Ok((room, Some(SeedOutcome::Later))),
                            Err(error) => Err(unavailable(error)),
                        }
                    }),
                }
            }
            remaining = Vec::new();
            for (room, outcome) in try_join_all(writes).await? {
                match outcome {
                    Some(outcome) => outcomes.push((room, outcome)),
                    None => remaining.push(room),
                }
            }
            if remaining.is_empty() {
                return Ok(outcomes);
            }
        }
        Err(unavailable("a room's hash kept changing during the seed; retry"))
    }
}

fn by_partition(rooms: impl IntoIterator<Item = RoomId>) -> BTreeMap<Partition, Vec<RoomId>> {
    let mut by_partition: BTreeMap<Partition, Vec<RoomId>> = BTreeMap::new();
    for room in rooms {
        by_partition.entry(Partition::of(&room)).or_default().push(room);
    }
    by_partition
}

#[async_trait]
impl Authority for PostgresAuthority {
    async fn open_epochs(
        &self,
        run_id: &str,
        partitions: &[Partition],
    ) -> Result<Vec<(Partition, OpenedEpoch)>, AuthorityError> {
        // The log calls `open_epochs` while it opens a session, so a separate connection is used. It also shows whether
        // the process was promoted, at least up to the time at which the caller connected.
        let log = self.log()?;
        let process = self.connect(&log, run_id, partitions).await?;
        let opened = epochs::open_epochs(&self.db, &process, partitions).await;
        let opened = opened.map_err(|error| match error {
            OpenEpochsError::Database(error) => database_error(error),
            // Gateways would continue an epoch at the same process if persistence were unavailable.
            OpenEpochsError::WentBack => AuthorityError::OtherProcess,
            error => unavailable(error),
        })?;
        if opened.len() < partitions.len() {
            log.map_watch().refresh();
        }
        Ok(opened)
    }

    async fn seed(&self, epoch: Epoch, rooms: &[RoomId]) -> Result<Vec<SeedOutcome>, AuthorityError> {
        let deadline = Instant::now() + SEED_TIMEOUT;
        // If the epoch of one partition has ended, the caller must open the epochs of all. Those of the other partitions
        // do not change by that.
        let partitions: BTreeSet<Partition> = rooms.iter().map(Partition::of).collect();
        let partitions: Vec<Partition> = partitions.into_iter().collect();
        let newest = epochs::newest_epochs(&self.db, &partitions).await.map_err(database_error)?;
        if newest.iter().any(|newest| *newest != Some(epoch)) {
            return Err(AuthorityError::EpochEnded);
        }
        let log = self.log()?;
        // All partitions of one epoch have the same session, except those that are moving.
        let mut session = None;
        for partition in partitions {
            session = self.session(&log, partition, epoch).await?;
            if session.is_some() {
                break;
            }
        }
        let Some(session) = session else { return Ok(vec![SeedOutcome::Later; rooms.len()]) };
        let (log, session) = (&log, &session);
        let seed = async |rooms: Vec<RoomId>, wait: LockWait, deadline: Instant| {
            timeout_at(deadline, self.seed_rooms(log, session, rooms, wait))
                .await
                .unwrap_or_else(|_| Err(unavailable("the seed deadline has passed")))
        };
        // Two transactions seed most rooms: those of all partitions that no other transaction locks, and then those of
        // partitions whose locks become free soon.
        let mut left: BTreeSet<RoomId> = rooms.iter().cloned().collect();
        let mut seeded = Vec::new();
        for wait in [LockWait::Skip, LockWait::ShortForAll] {
            let partitions: BTreeSet<Partition> = left.iter().map(Partition::of).collect();
            if wait == LockWait::ShortForAll && partitions.len() < 2 {
                break;
            }
            let shared_deadline = deadline.min(Instant::now() + SHARED_SEED_TIMEOUT);
            match seed(left.iter().cloned().collect(), wait, shared_deadline).await {
                Ok(outcomes) => {
                    for (room, _) in &outcomes {
                        left.remove(room);
                    }
                    seeded.push(Ok(outcomes));
                }
                Err(AuthorityError::EpochEnded) => return Err(AuthorityError::EpochEnded),
                Err(_) => break,
            }
        }
        // The rooms that are left are seeded by partition, so that one partition does not delay or fail the others.
        let left = by_partition(left).into_values().map(|rooms| seed(rooms, LockWait::Short, deadline));
        seeded.extend(stream::iter(left).buffer_unordered(CONCURRENT_SEEDS).collect::<Vec<_>>().await);
        combine_outcomes(rooms, seeded)
    }

    async fn look_up(
        &self,
        room: &RoomId,
        sender: &UserId,
        client_id: &ClientId,
    ) -> Result<Option<KnownClientId>, AuthorityError> {
        let key = MessageKey { room: room.clone(), sender: sender.clone(), client_id: client_id.clone() };
        let known = voids::look_up_client_ids(&self.db, &[key]).await.map_err(database_error)?;
        Ok(known.into_iter().next().flatten())
    }

    async fn marks(&self, room: &RoomId, users: &[UserId]) -> Result<StoredMarks, AuthorityError> {
        members::stored_marks(&self.db, room, users).await.map_err(database_error)
    }

    async fn roles(&self, room: &RoomId, users: &[UserId]) -> Result<Vec<Option<String>>, AuthorityError> {
        let question = UsersOfRoom { room: room.clone(), users: users.to_vec() };
        let roles = memberships::roles(&self.db, &[question]).await.map_err(database_error)?;
        Ok(roles.into_iter().next().unwrap_or_default())
    }

    async fn target(&self, room: &RoomId, seq: Seq) -> Result<Option<Target>, AuthorityError> {
        match change_targets::find_target(&self.db, room, seq).await.map_err(database_error)? {
            TargetLookup::Message(target) => Ok(Some(target)),
            TargetLookup::NoMessage => Ok(None),
            TargetLookup::NotStored => Err(AuthorityError::NotStored),
        }
    }
}

/// Returns one outcome per room. The rooms of a failed partition get `Later`. Fails if all partitions failed, or if the
/// epoch has ended.
fn combine_outcomes(
    rooms: &[RoomId],
    seeded: Vec<Result<Vec<(RoomId, SeedOutcome)>, AuthorityError>>,
) -> Result<Vec<SeedOutcome>, AuthorityError> {
    let mut outcomes = HashMap::with_capacity(rooms.len());
    let mut failed = None;
    for seeded in seeded {
        match seeded {
            Ok(seeded) => outcomes.extend(seeded),
            Err(AuthorityError::EpochEnded) => return Err(AuthorityError::EpochEnded),
            Err(error) => {
                tracing::debug!(%error, "the rooms of a partition cannot be seeded now");
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

fn database_error(error: DbErr) -> AuthorityError {
    failure::log_failure(&error, "the database did not answer the authority");
    AuthorityError::Unavailable(failure::redacted_cause(&error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failed_partition_delays_only_its_own_rooms() {
        let rooms = ["a", "b", "c"].map(|room| RoomId::parse(room).unwrap());
        let [a, b, _] = rooms.clone();
        let seeded = || Ok(vec![(a.clone(), SeedOutcome::Seeded), (b.clone(), SeedOutcome::NoSuchRoom)]);
        let busy = || Err(unavailable("busy"));
        let answered = combine_outcomes(&rooms, vec![busy(), seeded()]);
        assert_eq!(answered, Ok(vec![SeedOutcome::Seeded, SeedOutcome::NoSuchRoom, SeedOutcome::Later]));
        assert_eq!(
            combine_outcomes(&rooms, vec![busy(), busy()]),
            Err(unavailable("busy")),
            "the gateway may ask another replica"
        );
        let ended = combine_outcomes(&rooms, vec![seeded(), Err(AuthorityError::EpochEnded)]);
        assert_eq!(ended, Err(AuthorityError::EpochEnded));
    }
}

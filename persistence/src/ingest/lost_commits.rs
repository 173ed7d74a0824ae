//! Compares Redis with PostgreSQL every 2 s, also for partitions of other owners, so that an idle system also notices
//! when PostgreSQL went back. Closes each partition of which PostgreSQL has lost commits. A closed partition stores nothing
//! until the job `after-restore` opens an epoch.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use redis::AsyncConnectionConfig;
use redis::aio::{ConnectionLike, MultiplexedConnection};
use sea_orm::ConnectionTrait;
use tidings_shared::ids::Epoch;
use tidings_shared::log::{
    Layout, connect_to_process,
    keys::Partition,
    shard_map::NodeAddress,
    stored_state::{self, StoredState, read_stored_states},
};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::{Ingest, SHARD_DEADLINE, redacted_cause};
use crate::writer::{
    batch::BatchNumber,
    failure, limit,
    lost_commits::{find_lost, lock_partitions},
};

const COMPARE_INTERVAL: Duration = Duration::from_secs(2);

type Connections = BTreeMap<NodeAddress, (MultiplexedConnection, Layout)>;

/// Compares until `done` is cancelled. Has its own connections to Redis, because a closed partition has no session.
pub(super) async fn compare_with_redis(ingest: Arc<Ingest>, done: CancellationToken) {
    let mut connections = Connections::new();
    let mut lost_before = BTreeSet::new();
    while done.run_until_cancelled(tokio::time::sleep(COMPARE_INTERVAL)).await.is_some() {
        let Some(map) = ingest.log.map_watch().current() else { continue };
        let (mut lost, mut is_complete) = (BTreeSet::new(), true);
        for address in map.addresses() {
            let partitions: Vec<Partition> = map.partitions_of(&address).iter().collect();
            match compare_shard(&ingest, &mut connections, &address, &partitions).await {
                Ok(of_shard) => lost.extend(of_shard),
                Err(cause) => {
                    tracing::debug!(cause, "PostgreSQL and a shard cannot be compared");
                    connections.remove(&address);
                    is_complete = false;
                }
            }
        }
        if is_complete || !lost.is_empty() {
            ingest.metrics.lost_commit_partitions.set(i64::try_from(lost.len()).unwrap_or(i64::MAX));
            report(&lost, &lost_before);
            lost_before = lost;
        }
    }
}

fn report(lost: &BTreeSet<Partition>, lost_before: &BTreeSet<Partition>) {
    if lost.is_subset(lost_before) {
        return;
    }
    let partitions: Vec<u16> = lost.iter().map(|partition| partition.0).collect();
    tracing::error!(
        ?partitions,
        "PostgreSQL has lost commits that Redis knows, so these partitions are closed. Run \
         `tidings-persistence after-restore`"
    );
}

/// Closes the partitions of a shard of which PostgreSQL has lost commits, and returns them.
async fn compare_shard(
    ingest: &Ingest,
    connections: &mut Connections,
    address: &NodeAddress,
    partitions: &[Partition],
) -> Result<Vec<Partition>, String> {
    let (connection, layout) = match connections.get_mut(address) {
        Some((connection, layout)) => (connection, *layout),
        None => {
            let client = ingest.redis.at(address);
            let connected = connect_to_process(&client, AsyncConnectionConfig::new()).await;
            let (connection, process) = connected.map_err(|error| error.to_string())?;
            let held = connections.entry(address.clone()).or_insert((connection, process.layout));
            (&mut held.0, held.1)
        }
    };
    let suspected = compare(connection, &ingest.db, partitions).await?.1;
    if suspected.is_empty() {
        return Ok(Vec::new());
    }
    // The job may be opening an epoch, or the connection may lead to a standby that is behind. The job holds the rows of
    // the partitions, and a standby locks none.
    let locked = limit::within(limit::ANSWER_DEADLINE, lock_partitions(&ingest.db, &suspected)).await;
    let locked = locked.map_err(|error| failure::redacted_cause(&error))?;
    let (states, lost) = compare(connection, &locked, &suspected).await?;
    for (partition, state) in states.iter().filter(|(partition, _)| lost.contains(partition)) {
        close(connection, layout, *partition, state).await;
    }
    Ok(lost)
}

/// Reads the states of partitions, and returns them with the partitions of which PostgreSQL has lost commits.
async fn compare(
    connection: &mut MultiplexedConnection,
    db: &impl ConnectionTrait,
    partitions: &[Partition],
) -> Result<(Vec<(Partition, StoredState)>, Vec<Partition>), String> {
    let states = timeout(SHARD_DEADLINE, read_stored_states(connection, partitions)).await;
    let states = states.map_err(|_| "no answer in time")?.map_err(|error| redacted_cause(&error))?;
    let lost = limit::within(limit::ANSWER_DEADLINE, find_lost(db, &states)).await;
    lost.map(|lost| (states, lost)).map_err(|error| failure::redacted_cause(&error))
}

/// Lets all partitions be compared again before anything is written, because PostgreSQL has lost the previous batch of
/// this process. The next batch is then written without the number of the lost one.
pub(super) async fn compare_all_again(ingest: &Ingest, number: &BatchNumber) {
    tracing::error!("the previous batch is missing in PostgreSQL: comparing all partitions");
    ingest.owned().unsettle_all(Instant::now());
    if let Err(error) = limit::within(limit::ANSWER_DEADLINE, number.insert_previous(&ingest.db)).await {
        failure::log_failure(&error, "cannot write the number of the previous batch");
    }
}

/// Closes a partition. If this fails, the next comparison tries again.
pub(super) async fn close(
    connection: &mut impl ConnectionLike,
    layout: Layout,
    partition: Partition,
    state: &StoredState,
) {
    let closed = stored_state::close_partition(connection, layout, partition, state, closing_epoch());
    let cause = match timeout(SHARD_DEADLINE, closed).await {
        Ok(Ok(_)) => return,
        Ok(Err(error)) => redacted_cause(&error),
        Err(_) => "no answer in time".to_owned(),
    };
    tracing::warn!(
        cause,
        partition = partition.0,
        "cannot close a partition with lost commits; the next comparison tries again"
    );
}

/// The time in seconds. It is above every epoch that was opened by counting from 1.
fn closing_epoch() -> Epoch {
    Epoch(SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs()))
}

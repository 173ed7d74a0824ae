//! Moves the last-seen times of users who went offline from Redis to PostgreSQL.

use std::sync::Arc;
use std::time::Duration;

use sea_orm::DatabaseConnection;
use tidings_shared::log::{Log, Session, keys::COMMON_PARTITION};
use tidings_shared::presence::{self, ExclusiveTask, PresencePartition};
use tokio_util::sync::CancellationToken;

use crate::metrics::Metrics;
use crate::writer::failure;
use crate::writer::limit::{ANSWER_DEADLINE, within};
use crate::writer::users::store_last_seen;

/// Interval at which last-seen times are stored. In each interval one replica stores the times of all replicas.
const TURN_INTERVAL: Duration = Duration::from_secs(2);
/// Maximum number of users that one statement takes from each of the 16 presence partitions.
const MAX_USERS_PER_STATEMENT: usize = 200;
/// Maximum number of statements per interval. Further times wait for the next interval.
const MAX_STATEMENTS_PER_TURN: usize = 10;

/// Stores last-seen times until `stop` is cancelled. Usually one replica does so at a time; two at a time do no harm.
pub async fn run(db: DatabaseConnection, log: Arc<Log>, metrics: Metrics, stop: CancellationToken) {
    while stop.run_until_cancelled(tokio::time::sleep(TURN_INTERVAL)).await.is_some() {
        if let Err(cause) = store_turn(&db, &log, &metrics).await {
            // Times that are not stored remain in Redis.
            tracing::debug!(cause, "last-seen times cannot be stored now");
        }
    }
}

async fn store_turn(db: &DatabaseConnection, log: &Log, metrics: &Metrics) -> Result<(), String> {
    let session = log.session(COMMON_PARTITION).await.map_err(|error| error.to_string())?;
    let mut connection = session.connection();
    let claimed = presence::claim_task(&mut connection, ExclusiveTask::StoreLastSeen, TURN_INTERVAL).await;
    let claimed = claimed.inspect_err(|error| log.discard_if_unusable(&session, error));
    if !claimed.map_err(|error| format!("Redis: {:?}", error.kind()))? {
        return Ok(());
    }
    let partitions: Vec<PresencePartition> = PresencePartition::all().collect();
    let by_session = log.group_by_open_session(partitions, |partition| partition.partition()).await;
    let mut stored = Ok(());
    for (session, partitions) in by_session.map_err(|error| error.to_string())? {
        // After an error of one shard, the times of the others are still stored.
        stored = stored.and(store_times(db, log, metrics, &session, &partitions).await);
    }
    stored
}

/// Stores the last-seen times of the presence partitions of one session.
async fn store_times(
    db: &DatabaseConnection,
    log: &Log,
    metrics: &Metrics,
    session: &Arc<Session>,
    partitions: &[PresencePartition],
) -> Result<(), String> {
    let mut connection = session.connection();
    let failed = |error| {
        log.discard_if_unusable(session, &error);
        format!("Redis: {:?}", error.kind())
    };
    for _ in 0..MAX_STATEMENTS_PER_TURN {
        let last_seen = presence::unstored_last_seen(&mut connection, partitions, MAX_USERS_PER_STATEMENT);
        let last_seen = last_seen.await.map_err(failed)?;
        if last_seen.is_empty() {
            return Ok(());
        }
        let stored = within(ANSWER_DEADLINE, store_last_seen(db, &last_seen)).await;
        stored.map_err(|error| failure::redacted_cause(&error))?;
        metrics.last_seen.inc_by(last_seen.len() as u64);
        presence::remove_stored_last_seen(&mut connection, &last_seen).await.map_err(failed)?;
    }
    Ok(())
}

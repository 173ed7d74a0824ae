//! Moves the last-seen times of users who went offline from Redis to PostgreSQL.

use std::sync::Arc;
use std::time::Duration;

use sea_orm::DatabaseConnection;
use tidings_shared::log::{Log, keys::COMMON_PARTITION};
use tidings_shared::presence::{self, ExclusiveTask};
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
    let failed = |error| {
        log.discard_if_unusable(&session, &error);
        format!("Redis: {:?}", error.kind())
    };
    let claimed = presence::claim_task(&mut connection, ExclusiveTask::StoreLastSeen, TURN_INTERVAL).await;
    if claimed.map_err(failed)?.is_none() {
        return Ok(());
    }
    for _ in 0..MAX_STATEMENTS_PER_TURN {
        let last_seen =
            presence::unstored_last_seen(&mut connection, MAX_USERS_PER_STATEMENT).await.map_err(failed)?;
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

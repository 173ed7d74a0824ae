//! Presence on the side of persistence: reading and setting it over HTTP, and the last-seen times of users who went
//! offline. The present status is in Redis only; PostgreSQL keeps the last-seen times.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use sea_orm::DatabaseConnection;
use tidings_shared::error::Refusal;
use tidings_shared::ids::UserId;
use tidings_shared::log::Log;
use tidings_shared::presence::{self, ExclusiveTask, Hold, PutOutcome};
use tidings_shared::protocol::Status;
use tidings_shared::protocol::server::Presence;
use tokio_util::sync::CancellationToken;

use crate::http::problem::Problem;
use crate::metrics::Metrics;
use crate::query::presence as query;
use crate::writer::failure;
use crate::writer::limit::{ANSWER_DEADLINE, within};
use crate::writer::presence as writer;

/// How often last-seen times are stored. The replicas share this interval: in each one, only one replica stores them.
const TURN_INTERVAL: Duration = Duration::from_secs(2);
/// Users that one statement stores at most for each of the 16 presence partitions.
const USERS_PER_STATEMENT: usize = 200;
/// Statements per turn; the rest waits for the next turn.
const STATEMENTS_PER_TURN: usize = 10;

/// The presence of these users as `me` may see it, in the same order: users who share no room with `me` appear as
/// offline.
///
/// # Errors
/// `unavailable` while Redis or the database cannot be read.
pub async fn for_viewer(
    db: &DatabaseConnection,
    log: &Log,
    me: &UserId,
    users: &[UserId],
) -> Result<Vec<Presence>, Problem> {
    let acquainted = query::acquainted(db, me, users).await?;
    let known: Vec<UserId> = acquainted.iter().map(|known| known.user.clone()).collect();
    let session = log.session().await.map_err(|error| unavailable(&error))?;
    let states = presence::states(&mut session.connection(), &known).await;
    let states = states.map_err(|error| {
        log.failed(&session, &error);
        unavailable(&error)
    })?;
    let states = acquainted.into_iter().zip(states);
    let mut states: HashMap<_, _> =
        states.map(|(known, state)| (known.user, state.or_seen(known.at_ms))).collect();
    let state_of = |user: &UserId| states.remove(user).unwrap_or_default().on_the_wire(user.clone());
    Ok(users.iter().map(state_of).collect())
}

/// Sets a user's presence over HTTP; it holds for a minute.
///
/// # Errors
/// `unavailable` while Redis does not answer.
pub async fn set(db: &DatabaseConnection, log: &Log, me: &UserId, status: Status) -> Result<(), Problem> {
    let session = log.session().await.map_err(|error| unavailable(&error))?;
    let failed = |error| {
        log.failed(&session, &error);
        unavailable(&error)
    };
    let mut connection = session.connection();
    let hold = [(me.clone(), Some(status))];
    let outcomes = presence::hold(&mut connection, Hold::Http, presence::HTTP_HOLD, &hold).await;
    if outcomes.map_err(failed)?.contains(&PutOutcome::MustPublish) {
        match query::small_rooms(db, me).await {
            Ok(rooms) => {
                let mut users = [(me.clone(), rooms)];
                presence::retain_small_rooms(&mut connection, &mut users).await.map_err(failed)?;
                presence::publish(&mut connection, &users).await.map_err(failed)?;
            }
            // The update is due in Redis, and a gateway will publish it soon.
            Err(error) => {
                tracing::debug!(
                    cause = failure::without_data(&error),
                    "the presence update is left to a gateway"
                );
            }
        }
    }
    Ok(())
}

fn unavailable(error: &dyn std::fmt::Display) -> Problem {
    tracing::debug!(%error, "presence cannot be read or set");
    Refusal::unavailable("presence is unavailable; retry").into()
}

/// Stores the last-seen times of users who went offline, until `stop`. One replica at a time; two do no harm.
pub async fn store_last_seen(
    db: DatabaseConnection,
    log: Arc<Log>,
    metrics: Metrics,
    stop: CancellationToken,
) {
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(TURN_INTERVAL) => {}
        }
        if let Err(cause) = store_turn(&db, &log, &metrics).await {
            // Times that were not stored are still in Redis.
            tracing::debug!(cause, "last-seen times cannot be stored now");
        }
    }
}

async fn store_turn(db: &DatabaseConnection, log: &Log, metrics: &Metrics) -> Result<(), String> {
    let session = log.session().await.map_err(|error| error.to_string())?;
    let mut connection = session.connection();
    let failed = |error| {
        log.failed(&session, &error);
        format!("Redis: {:?}", error.kind())
    };
    if presence::claim_task(&mut connection, ExclusiveTask::StoreLastSeen, TURN_INTERVAL)
        .await
        .map_err(failed)?
        .is_none()
    {
        return Ok(());
    }
    for _ in 0..STATEMENTS_PER_TURN {
        let gone =
            presence::unstored_last_seen(&mut connection, USERS_PER_STATEMENT).await.map_err(failed)?;
        if gone.is_empty() {
            return Ok(());
        }
        within(ANSWER_DEADLINE, writer::store_last_seen(db, &gone))
            .await
            .map_err(|error| failure::without_data(&error))?;
        metrics.last_seen.inc_by(gone.len() as u64);
        presence::last_seen_stored(&mut connection, &gone).await.map_err(failed)?;
    }
    Ok(())
}

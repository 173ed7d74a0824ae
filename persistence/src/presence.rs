//! Presence on this side: what HTTP asks and says of it, and what is kept of those who went.
//! What people are now is in Redis alone; PostgreSQL keeps when they were seen last.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use sea_orm::DatabaseConnection;
use tidings_shared::error::Refusal;
use tidings_shared::ids::UserId;
use tidings_shared::log::Log;
use tidings_shared::presence::{self, Hold, PutOutcome, Turn};
use tidings_shared::protocol::Status;
use tidings_shared::protocol::server::Presence;
use tokio_util::sync::CancellationToken;

use crate::http::problem::Problem;
use crate::metrics::Metrics;
use crate::query::presence as query;
use crate::writer::failure;
use crate::writer::limit::{ANSWER, within};
use crate::writer::presence as writer;

/// Between two looks for who went; so long nobody else looks.
const EVERY: Duration = Duration::from_secs(2);
/// Users written down in one statement, of each partition.
const AT_ONCE: usize = 200;
/// Statements in one turn: what is left waits for the next.
const ROUNDS: usize = 10;

/// What `me` may know of these users, in the same order: nothing of those with whom they share no room.
///
/// # Errors
/// `unavailable` while Redis or the database cannot be read.
pub async fn of(
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

/// Someone says over HTTP what they are: it holds for a minute.
///
/// # Errors
/// `unavailable` while Redis is.
pub async fn set(db: &DatabaseConnection, log: &Log, me: &UserId, status: Status) -> Result<(), Problem> {
    let session = log.session().await.map_err(|error| unavailable(&error))?;
    let failed = |error| {
        log.failed(&session, &error);
        unavailable(&error)
    };
    let mut connection = session.connection();
    let hold = [(me.clone(), Some(status))];
    let outcomes = presence::hold(&mut connection, Hold::Http, presence::HTTP_HOLD, &hold).await;
    if outcomes.map_err(failed)?.contains(&PutOutcome::Tell) {
        match query::small_rooms(db, me).await {
            Ok(rooms) => {
                let mut users = [(me.clone(), rooms)];
                presence::small(&mut connection, &mut users).await.map_err(failed)?;
                presence::tell(&mut connection, &users).await.map_err(failed)?;
            }
            // They are due in Redis: a gateway tells of them in a moment.
            Err(error) => {
                tracing::debug!(cause = failure::without_data(&error), "presence is not told from here");
            }
        }
    }
    Ok(())
}

fn unavailable(error: &dyn std::fmt::Display) -> Problem {
    tracing::debug!(%error, "presence cannot be read or set");
    Refusal::unavailable("who is here is out of reach; try again").into()
}

/// Writes down when those who went were seen last, until `stop`. One replica at a time; two do no harm.
pub async fn write_down(db: DatabaseConnection, log: Arc<Log>, metrics: Metrics, stop: CancellationToken) {
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(EVERY) => {}
        }
        if let Err(cause) = turn(&db, &log, &metrics).await {
            // What was not written is still in Redis.
            tracing::debug!(cause, "who went is not written down now");
        }
    }
}

async fn turn(db: &DatabaseConnection, log: &Log, metrics: &Metrics) -> Result<(), String> {
    let session = log.session().await.map_err(|error| error.to_string())?;
    let mut connection = session.connection();
    let failed = |error| {
        log.failed(&session, &error);
        format!("Redis: {:?}", error.kind())
    };
    if presence::turn(&mut connection, Turn::WriteDown, EVERY).await.map_err(failed)?.is_none() {
        return Ok(());
    }
    for _ in 0..ROUNDS {
        let gone = presence::gone(&mut connection, AT_ONCE).await.map_err(failed)?;
        if gone.is_empty() {
            return Ok(());
        }
        within(ANSWER, writer::seen(db, &gone)).await.map_err(|error| failure::without_data(&error))?;
        metrics.last_seen.inc_by(gone.len() as u64);
        presence::drained(&mut connection, &gone).await.map_err(failed)?;
    }
    Ok(())
}

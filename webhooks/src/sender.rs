//! Sends the deliveries of one endpoint: claims due ones, makes the attempts, and records their results. One task per
//! enabled endpoint and replica, so that a slow endpoint delays no other. The claims in PostgreSQL keep two replicas from
//! the same delivery.

pub mod attempt;
pub mod message;
mod schedule;

use std::sync::Arc;
use std::time::{Duration, Instant};

use chrono::Utc;
use reqwest::Client;
use sea_orm::{DatabaseConnection, DbErr};
use tidings_persistence::database::{STEP_TIMEOUT, within};
use tidings_persistence::query::feed::{LogRange, entries_of};
use tidings_persistence::writer::failure::redacted_cause;
use tidings_shared::sabotage::{self, Sabotage};
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::endpoint::{Endpoint, reason};
use crate::metrics::Metrics;
use crate::outcome::{self, Failure};
use crate::store::deliveries::{self, Claim, NextStep};
use crate::store::endpoints;
use message::Message;

/// A claim lasts this much longer than two attempts may take. The time covers the reads and writes around the attempts.
const LEASE_MARGIN: Duration = Duration::from_secs(5);
/// How often due deliveries are looked for. Events that this replica queues wake the task.
const POLL_INTERVAL: Duration = Duration::from_secs(1);
/// Pause after a failure of PostgreSQL.
const RETRY_PAUSE: Duration = Duration::from_secs(1);

/// What all senders of a process share.
pub struct Sending {
    pub db: DatabaseConnection,
    pub client: Client,
    pub allow_private: bool,
    pub retry_delays: Vec<Duration>,
    pub timeout: Duration,
    pub concurrency: usize,
    pub metrics: Metrics,
}

impl Sending {
    /// How long a claim lasts. The last attempt of a run begins within the time of one attempt.
    fn lease(&self) -> Duration {
        self.timeout * 2 + LEASE_MARGIN
    }
}

/// Sends until `stop` is cancelled, and then finishes the attempts that have begun. Also ends when the endpoint is deleted or
/// disabled.
pub async fn run(sending: Arc<Sending>, webhook: String, wake: Arc<Notify>, stop: CancellationToken) {
    let mut attempts = JoinSet::new();
    while !stop.is_cancelled() {
        let pause = match start_due(&sending, &webhook, &mut attempts, &stop).await {
            Ok(true) => POLL_INTERVAL,
            Ok(false) => break,
            Err(error) => {
                sending.metrics.failures.inc();
                tracing::warn!(webhook, cause = redacted_cause(&error), "deliveries could not be claimed");
                RETRY_PAUSE
            }
        };
        tokio::select! {
            Some(_) = attempts.join_next() => {}
            () = wake.notified() => {}
            () = tokio::time::sleep(pause) => {}
            () = stop.cancelled() => {}
        }
    }
    while attempts.join_next().await.is_some() {}
}

/// Claims as many deliveries as may be sent now, and starts their attempts. Returns whether the endpoint is enabled.
async fn start_due(
    sending: &Arc<Sending>,
    webhook: &str,
    attempts: &mut JoinSet<()>,
    stop: &CancellationToken,
) -> Result<bool, DbErr> {
    while attempts.try_join_next().is_some() {}
    let free = sending.concurrency.saturating_sub(attempts.len());
    if free == 0 {
        return Ok(true);
    }
    // Read again for each claim, so that a new URL and a new secret are used at once.
    let Some(endpoint) = within(STEP_TIMEOUT, endpoints::get(&sending.db, webhook)).await? else {
        return Ok(false);
    };
    if endpoint.disabled_because.is_some() {
        return Ok(false);
    }
    let endpoint = Arc::new(endpoint);
    let ordered = endpoint.ordered && !sabotage::is_active(Sabotage::WebhookOrder);
    let claiming = deliveries::claim(&sending.db, webhook, ordered, free, sending.lease());
    let runs = within(STEP_TIMEOUT, claiming).await?;
    for run in runs {
        let (sending, endpoint, stop) = (sending.clone(), endpoint.clone(), stop.clone());
        attempts.spawn(async move {
            // The claim has ended by then, so another replica goes on.
            let delivering = within(sending.lease(), deliver(&sending, &endpoint, &run, &stop));
            if let Err(error) = delivering.await {
                // The claim ends by itself, and the deliveries are tried again.
                sending.metrics.failures.inc();
                let cause = redacted_cause(&error);
                tracing::warn!(webhook = endpoint.id, cause, "deliveries could not be read or recorded");
            }
        });
    }
    Ok(true)
}

/// Sends the events of a run one after the other, until one fails, the time for new attempts is over, or `stop` is
/// cancelled.
async fn deliver(
    sending: &Sending,
    endpoint: &Endpoint,
    run: &[Claim],
    stop: &CancellationToken,
) -> Result<(), DbErr> {
    let until = Instant::now() + sending.timeout;
    let ranges: Vec<LogRange> = run.iter().map(Claim::range).collect();
    let entries = entries_of(&sending.db, ranges).await?;
    let (mut sent, mut failed) = (0, None);
    while sent < run.len() && (sent == 0 || Instant::now() < until && !stop.is_cancelled()) {
        let range = &run[sent].range();
        let outcome = match message::message_of(range, &entries, Utc::now()) {
            Ok(_) if is_forgotten(range) => Ok(()),
            Ok(message) => attempt(sending, endpoint, message.as_ref()).await,
            // It becomes a dead letter in the end, and does not hold back its room for ever.
            Err(error) => Err(Failure::NoAnswer(format!("the event cannot be sent: {error}"))),
        };
        if let Err(failure) = outcome {
            failed = Some(failure);
            break;
        }
        sent += 1;
    }
    deliveries::complete(&sending.db, &endpoint.id, &run[..sent]).await?;
    let mut rest = &run[sent..];
    if let (Some(failure), Some((claim, later))) = (failed, rest.split_first()) {
        record_failure(sending, endpoint, claim, &failure).await?;
        rest = later;
    }
    deliveries::release(&sending.db, &endpoint.id, rest).await
}

async fn attempt(sending: &Sending, endpoint: &Endpoint, message: Option<&Message>) -> Result<(), Failure> {
    let begun = Instant::now();
    let outcome = match message {
        Some(message) => attempt::send(&sending.client, sending.allow_private, endpoint, message).await,
        None => Ok(()),
    };
    sending.metrics.attempt_seconds.observe(begun.elapsed().as_secs_f64());
    sending.metrics.attempts.with_label_values(&[outcome::label(&outcome, message.is_some())]).inc();
    outcome
}

/// Whether the sabotage drops this event.
fn is_forgotten(range: &LogRange) -> bool {
    sabotage::is_active(Sabotage::Webhook) && range.upto % 50 == 0
}

async fn record_failure(
    sending: &Sending,
    endpoint: &Endpoint,
    claim: &Claim,
    failure: &Failure,
) -> Result<(), DbErr> {
    let (webhook, message) = (endpoint.id.as_str(), failure.message());
    let next = if failure.is_gone() {
        if endpoints::disable(&sending.db, webhook, reason::GONE, Some(&endpoint.url)).await? {
            tracing::warn!(webhook, "the endpoint answered 410 and is disabled");
        }
        NextStep::Postpone
    } else {
        schedule::next_step(&sending.retry_delays, claim.attempts, failure.retry_after(), fastrand::f64())
    };
    let recorded = deliveries::fail(&sending.db, webhook, claim, next, (failure.status(), &message)).await?;
    let (room, seq) = (claim.room.0.as_str(), claim.upto);
    if recorded && next == NextStep::Die {
        sending.metrics.dead_letters.inc();
        tracing::warn!(webhook, room, seq, cause = message, "an event is a dead letter");
    } else {
        tracing::debug!(webhook, room, seq, cause = message, "an attempt failed");
    }
    Ok(())
}

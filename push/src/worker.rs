//! Sends due notifications: claims them, checks the conditions again, and makes the attempts. The claims in PostgreSQL
//! prevent that two replicas send the same notification.

mod slots;

use std::sync::Arc;
use std::time::{Duration, Instant};

use sea_orm::{DatabaseConnection, DbErr};
use tidings_persistence::database::{STEP_TIMEOUT, within};
use tidings_persistence::writer::failure::redacted_cause;
use tidings_shared::ids::UserId;
use tidings_shared::sabotage::{self, Sabotage};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::app_push::AppPush;
use crate::device::PushAddress;
use crate::metrics::Metrics;
use crate::notification::{AppMessage, ContentLevel, Notification};
use crate::online::PresenceLookup;
use crate::outcome::{AttemptError, Outcome, TemporaryFailure};
use crate::schedule::{is_given_up, pause};
use crate::store::devices::{self, Device};
use crate::store::notice;
use crate::store::pending::{self, Claim, ClaimLimits};
use crate::store::{MessageRules, tickets, told};
use crate::web_push::encryption::Recipient;
use crate::web_push::{Urgency, WebPush};
use slots::{AttemptCounts, AttemptSlots, MAX_ATTEMPTS_PER_USER};

/// A claim lasts this much longer than an attempt may take. The time covers the reads and writes around the attempt.
const LEASE_MARGIN: Duration = Duration::from_secs(15);
/// How often the worker looks for due notifications.
const POLL_INTERVAL: Duration = Duration::from_millis(250);
/// Pause after a failure of PostgreSQL.
const RETRY_PAUSE: Duration = Duration::from_secs(1);
/// Delay of a notification whose user or host is at its limit of concurrent attempts.
const LIMIT_PAUSE: Duration = Duration::from_secs(5);

/// Sends due notifications.
pub struct Worker {
    pub db: DatabaseConnection,
    pub web_push: WebPush,
    pub app_push: AppPush,
    pub presence: PresenceLookup,
    pub rules: MessageRules,
    pub content: ContentLevel,
    /// Pause between a message and its notification.
    pub delay: Duration,
    /// Pause before the presence of an online user is checked again.
    pub online_recheck: Duration,
    /// Longest wait of a message for an online user to be away. Then the message is dropped.
    pub max_online_wait: Duration,
    /// How long an attempt may take.
    pub timeout: Duration,
    pub concurrency: usize,
    pub metrics: Metrics,
}

/// Sends until `stop` is cancelled, and then finishes the attempts that have begun.
pub async fn run(worker: Arc<Worker>, stop: CancellationToken) {
    let (mut attempts, slots) = (JoinSet::new(), AttemptSlots::new(worker.concurrency));
    while !stop.is_cancelled() {
        let pause = match start_due(&worker, &slots, &mut attempts).await {
            Ok(true) => Duration::ZERO,
            Ok(false) => POLL_INTERVAL,
            Err(error) => {
                worker.record_failure(&error, "notifications could not be claimed");
                RETRY_PAUSE
            }
        };
        tokio::select! {
            Some(_) = attempts.join_next() => {}
            () = tokio::time::sleep(pause) => {}
            () = stop.cancelled() => {}
        }
    }
    while attempts.join_next().await.is_some() {}
}

/// Claims as many notifications as may be sent now, and starts their attempts. Returns whether more may be due.
async fn start_due(
    worker: &Arc<Worker>,
    slots: &AttemptSlots,
    attempts: &mut JoinSet<()>,
) -> Result<bool, DbErr> {
    while attempts.try_join_next().is_some() {}
    let free = worker.concurrency.saturating_sub(attempts.len());
    if free == 0 {
        return Ok(false);
    }
    let AttemptCounts { users, hosts } = slots.counts();
    let (max_per_user, max_per_host) = (MAX_ATTEMPTS_PER_USER, slots.max_per_host);
    let limits = ClaimLimits { users, hosts, max_per_user, max_per_host };
    let lease = worker.timeout + LEASE_MARGIN;
    let claims = within(STEP_TIMEOUT, pending::claim(&worker.db, free, &limits, lease)).await?;
    let more = claims.len() == free;
    for claim in claims {
        let slot = slots.take(&claim.device.user, claim.device.address.host());
        let worker = worker.clone();
        attempts.spawn(async move {
            let handled = match slot {
                Some(_slot) => within(lease, worker.handle(&claim)).await,
                None => within(lease, pending::postpone(&worker.db, &claim, LIMIT_PAUSE)).await,
            };
            if let Err(error) = handled {
                // The claim ends by itself, and the notification is tried again.
                worker.record_failure(&error, "a notification could not be read or recorded");
            }
        });
    }
    Ok(more)
}

/// Whether the sabotage drops this notification.
fn is_forgotten(claim: &Claim) -> bool {
    sabotage::is_active(Sabotage::Push) && claim.room.ends_with(['0', '1', '2', '3'])
}

impl Worker {
    fn record_failure(&self, error: &DbErr, problem: &str) {
        self.metrics.failures.inc();
        tracing::warn!(cause = redacted_cause(error), "{problem}");
    }

    /// Sends a claimed notification, or finds that it is not needed, and records the outcome.
    async fn handle(&self, claim: &Claim) -> Result<(), DbErr> {
        if is_forgotten(claim) {
            return pending::complete(&self.db, claim, claim.seq, false, self.delay).await;
        }
        // Checks presence first, so that message and device are read right before the attempt.
        let is_online = self.is_online(&claim.device.user).await;
        let message = notice::message(&self.db, claim, self.rules).await?;
        let outcome = match (&message, claim.clear_seq) {
            (Some((message, device)), _) if !is_online => {
                if device.address.accepts_silent() {
                    told::remember(&self.db, claim, message.seq).await?;
                }
                let notification = Notification::new(&claim.room, message, self.content);
                let is_urgent = message.is_mention || message.room_kind == "direct";
                self.attempt(device, &AppMessage::Show(&notification), is_urgent, Outcome::Sent).await
            }
            // A clear does not wait for the user to leave: this wait does not end while new messages arrive.
            (_, Some(seq)) if claim.age_s < told::MAX_AGE.as_secs_f64() => {
                match devices::current(&self.db, &claim.device).await? {
                    Some(device) => {
                        let clear = AppMessage::Clear { room: &claim.room, seq };
                        self.attempt(&device, &clear, false, Outcome::Cleared).await
                    }
                    None => Outcome::Skipped,
                }
            }
            (Some(_), _) => Outcome::Online,
            (None, _) => Outcome::Skipped,
        };
        self.metrics.outcomes.with_label_values(&[outcome.label()]).inc();
        let is_waiting = outcome == Outcome::Cleared && message.is_some();
        self.record(claim, &outcome, is_waiting).await
    }

    async fn is_online(&self, user: &str) -> bool {
        let Ok(user) = UserId::parse(user) else { return false };
        let online = self.presence.is_online(&user).await;
        if online.is_none() {
            self.metrics.presence_failures.inc();
        }
        online.unwrap_or(false)
    }

    /// Makes an attempt, which must end before its lease does. Returns `success` if the push service accepts it.
    async fn attempt(
        &self,
        device: &Device,
        message: &AppMessage<'_>,
        is_urgent: bool,
        success: Outcome,
    ) -> Outcome {
        let begun = Instant::now();
        let sent = tokio::time::timeout(self.timeout, self.send(&device.address, message, is_urgent)).await;
        self.metrics.attempt_seconds.observe(begun.elapsed().as_secs_f64());
        match sent {
            Ok(Ok(ticket)) => {
                if let Some(ticket) = ticket
                    && let Err(error) =
                        tickets::remember(&self.db, &device.id, &ticket, begun.elapsed()).await
                {
                    // Only the receipt is lost. The message was accepted, so the attempt is not repeated.
                    self.record_failure(&error, "a ticket of Expo could not be stored");
                }
                success
            }
            Ok(Err(error)) => Outcome::Failed(error),
            Err(_) => Outcome::Failed(AttemptError::Temporary(TemporaryFailure::Timeout, None)),
        }
    }

    /// Sends a message. Returns the ticket of Expo.
    async fn send(
        &self,
        address: &PushAddress,
        message: &AppMessage<'_>,
        is_urgent: bool,
    ) -> Result<Option<String>, AttemptError> {
        match (address, message) {
            (PushAddress::WebPush { endpoint, p256dh, auth }, AppMessage::Show(notification)) => {
                let recipient = Recipient::parse(p256dh, auth).map_err(|_| AttemptError::Unusable)?;
                let urgency = if is_urgent { Urgency::High } else { Urgency::Normal };
                let (room, text) = (message.room(), notification.json());
                self.web_push.send(endpoint, &recipient, room, &text, urgency).await.map(|()| None)
            }
            // Unreachable in practice: notifications of browsers are not remembered, so nothing takes them back.
            (PushAddress::WebPush { .. }, AppMessage::Clear { .. }) => Ok(None),
            (PushAddress::App { kind, token }, _) => {
                self.app_push.send(*kind, token, message, self.web_push.ttl).await
            }
        }
    }

    /// Records an outcome. `is_waiting`: after a clear, messages still wait for the user to leave.
    async fn record(&self, claim: &Claim, outcome: &Outcome, is_waiting: bool) -> Result<(), DbErr> {
        let (db, device, room) = (&self.db, claim.device.id.as_str(), claim.room.as_str());
        match outcome {
            Outcome::Online if claim.age_s < self.max_online_wait.as_secs_f64() => {
                pending::postpone_online(db, claim, self.online_recheck, self.max_online_wait).await
            }
            Outcome::Online | Outcome::Skipped => {
                pending::complete(db, claim, claim.seq, false, self.delay).await
            }
            Outcome::Sent | Outcome::Cleared => {
                devices::reset_failures(db, &claim.device).await?;
                // A clear completes no message that waits. Such messages already had `delay`, and their next check must
                // not come later than `online_recheck`.
                let (last_seq, delay) = if is_waiting {
                    (claim.first_seq - 1, self.delay.min(self.online_recheck))
                } else {
                    (claim.seq, self.delay)
                };
                pending::complete(db, claim, last_seq, true, delay).await
            }
            Outcome::Failed(AttemptError::Gone) => {
                tracing::debug!(device, "the push service does not know the device, which is removed");
                devices::delete_gone(db, &claim.device).await
            }
            Outcome::Failed(error) if error.is_refusal() && is_given_up(claim.device.failures) => {
                tracing::info!(device, ?error, "the device was refused too often, and is removed");
                devices::delete_given_up(db, &claim.device).await
            }
            Outcome::Failed(error) => {
                tracing::debug!(device, room, ?error, "an attempt failed");
                let pause = pause(claim.device.failures, error.retry_after(), fastrand::f64());
                pending::fail(db, claim, pause).await
            }
        }
    }
}

//! Appends a dead letter's event again. Deletes the dead letter when the event is stored or is in a new dead letter.

use std::sync::Arc;
use std::time::Duration;

use sea_orm::{DatabaseConnection, DbErr};
use tidings_shared::ids::{RoomId, Seq};
use tidings_shared::log::{Accepted, AppendError, Entry, Log, stored::Stored};
use tidings_shared::message::Draft;
use tidings_shared::message::change::{Action, Actor, Change, ChangeKind};
use tidings_shared::role::{self, Permission};
use tokio::time::Instant;

use super::replayable::{ReplayableAction, ReplayableEvent};
use crate::job_error::JobError;
use crate::jobs::backoff::Backoff;
use crate::jobs::sql::dead_letters::{self, DeadLetter};
use crate::jobs::sql::import::erased_users;
use crate::query::{self, Viewer, export};

/// Number of attempts to append one event. With the pauses of `RETRY_BACKOFF` they take about half a minute.
const MAX_APPEND_ATTEMPTS: u32 = 15;
const RETRY_BACKOFF: [Duration; 2] = [Duration::from_millis(50), Duration::from_secs(4)];
/// How long the replay of a change waits until all earlier events of the room are stored.
const STORED_TIMEOUT: Duration = Duration::from_secs(30);
/// How many times an event is appended if it does not become stored. Each attempt waits for half a minute.
const MAX_STORE_ATTEMPTS: u32 = 2;

pub(super) struct Replayer {
    pub db: DatabaseConnection,
    pub log: Arc<Log>,
    /// Replays also the events of senders who are not allowed to send in the room.
    pub any_sender: bool,
}

#[derive(Debug)]
pub(super) enum ReplayOutcome {
    /// The event is stored in `room` at `seq`, perhaps by an earlier run. The dead letter is deleted.
    Stored { room: RoomId, seq: Seq },
    /// PostgreSQL refused the event again, and the writer kept it as this new dead letter. The old one is deleted.
    RefusedAgain(DeadLetter),
    /// The dead letter stays, for this reason.
    NotReplayed(String),
}

enum ReplayError {
    /// The event cannot be replayed, and a retry would fail again.
    Permanent(String),
    /// The event was appended, but PostgreSQL refused it again.
    RejectedAgain,
    Temporary(String),
    /// A failure that ends the whole run, such as an unreachable database.
    Fatal(JobError),
}

impl From<DbErr> for ReplayError {
    fn from(error: DbErr) -> Self {
        Self::Fatal(error.into())
    }
}

impl From<AppendError> for ReplayError {
    fn from(error: AppendError) -> Self {
        match error {
            AppendError::Rejected => Self::RejectedAgain,
            AppendError::NoSuchRoom
            | AppendError::Revoked
            | AppendError::RoleTooLow
            | AppendError::Archived => Self::Permanent(error.to_string()),
            AppendError::Stale(_)
            | AppendError::SlowMode(_)
            | AppendError::Overloaded
            | AppendError::Unavailable(_)
            | AppendError::OtherProcess
            | AppendError::Moving => Self::Temporary(error.to_string()),
        }
    }
}

impl Replayer {
    /// Replays one dead letter. After an error the dead letter stays, and the replay may be repeated.
    pub(super) async fn replay(&self, letter: &DeadLetter) -> Result<ReplayOutcome, JobError> {
        let event = match ReplayableEvent::parse(letter) {
            Ok(event) => event,
            Err(reason) => return Ok(ReplayOutcome::NotReplayed(reason.to_owned())),
        };
        let outcome = match self.store(&event).await {
            Ok(seq) => ReplayOutcome::Stored { room: event.room, seq },
            Err(ReplayError::RejectedAgain) => {
                let (room, sender, client_id) = (&event.room, &event.sender, &event.client_id);
                let Some(new_letter) = dead_letters::find_rejected(&self.db, room, sender, client_id).await?
                else {
                    let reason =
                        "a limit does not allow it now (for instance the number of reactions of a message)";
                    return Ok(ReplayOutcome::NotReplayed(reason.to_owned()));
                };
                ReplayOutcome::RefusedAgain(new_letter)
            }
            Err(ReplayError::Permanent(reason) | ReplayError::Temporary(reason)) => {
                return Ok(ReplayOutcome::NotReplayed(reason));
            }
            Err(ReplayError::Fatal(error)) => return Err(error),
        };
        dead_letters::delete_letter(&self.db, letter.id).await?;
        Ok(outcome)
    }

    /// The sender's role in the room, empty for a non-member. Fails if the room is missing or the sender is erased.
    async fn sender_role(&self, event: &ReplayableEvent) -> Result<String, ReplayError> {
        let (room, user) = (&event.room, &event.sender);
        let refuse = |reason: &str| Err(ReplayError::Permanent(reason.to_owned()));
        if query::stored_head(&self.db, room).await?.is_none() {
            return refuse("there is no such room");
        }
        if !erased_users(&self.db, [user]).await?.is_empty() {
            return refuse("its sender is erased, or is being erased: drop it");
        }
        let account = query::users::account_of(&self.db, user).await?;
        if !self.any_sender && account.is_some_and(|account| account.blocked) {
            return refuse("its sender is blocked; --any-sender");
        }
        let access = query::access(&self.db, Viewer { user, admin: false }, room).await?;
        let role = access.and_then(|access| access.role);
        if !self.any_sender && !role.as_deref().is_some_and(|role| role::allows(role, Permission::Send)) {
            return refuse("its sender may not send in the room (any more); --any-sender");
        }
        Ok(role.unwrap_or_default())
    }

    /// The seq at which an earlier replay of the dead letter stored `change`, or None. Fails if another event changed
    /// the same part of the message after the original change. First waits until the whole log of the room is stored.
    /// Another change that is appended after this wait may still be overwritten by the replay.
    async fn find_replayed(
        &self,
        event: &ReplayableEvent,
        change: &Change,
    ) -> Result<Option<Seq>, ReplayError> {
        self.wait_until_log_stored(&event.room).await?;
        let kinds = match change.kind() {
            ChangeKind::Edit | ChangeKind::Delete => [ChangeKind::Edit, ChangeKind::Delete],
            ChangeKind::AddReaction | ChangeKind::RemoveReaction => {
                [ChangeKind::AddReaction, ChangeKind::RemoveReaction]
            }
        };
        let reaction = match &change.action {
            Action::AddReaction { emoji } | Action::RemoveReaction { emoji } => {
                Some((&event.sender, &**emoji))
            }
            Action::Edit { .. } | Action::Delete => None,
        };
        let change = dead_letters::ChangeToReplay {
            room: &event.room,
            at: event.seq,
            target: change.target,
            kinds: &kinds.map(ChangeKind::event),
            reaction,
        };
        match dead_letters::superseding_change(&self.db, &change).await? {
            Some((seq, by, actor)) if by == event.client_id.as_str() && actor == event.sender.as_str() => {
                Ok(Some(seq))
            }
            Some((seq, ..)) => {
                Err(ReplayError::Permanent(format!("the message was changed once more since, at {seq}")))
            }
            None => Ok(None),
        }
    }

    /// Waits until all events that the room's log holds at the time of the call are stored.
    async fn wait_until_log_stored(&self, room: &RoomId) -> Result<(), ReplayError> {
        let heads = self.log.heads(std::slice::from_ref(room)).await;
        let heads = heads.map_err(|error| ReplayError::Fatal(error.into()))?;
        let Some((_, head)) = heads.first().copied().flatten() else { return Ok(()) };
        if query::wait_until_stored(&self.db, room, head, Instant::now() + STORED_TIMEOUT).await? {
            return Ok(());
        }
        Err(fatal_error("later events are not stored yet; replayed letters stay replayed, repeat this later"))
    }

    /// Appends the event and waits until it is stored. If it does not become stored, appends it again. Returns its seq.
    async fn store(&self, event: &ReplayableEvent) -> Result<Seq, ReplayError> {
        let role = self.sender_role(event).await?;
        for _ in 0..MAX_STORE_ATTEMPTS {
            if let ReplayableAction::Change(change) = &event.action
                && let Some(seq) = self.find_replayed(event, change).await?
            {
                return Ok(seq);
            }
            let accepted = self.append_with_retry(event, &role).await?;
            match self.log.wait_stored(&event.room, &accepted).await {
                Stored::AsAccepted => return Ok(accepted.seq),
                Stored::First { seq, .. } => return Ok(seq),
                Stored::Rejected => return Err(ReplayError::RejectedAgain),
                Stored::Unavailable => {}
            }
        }
        Err(fatal_error(
            "appended events are not being stored: is a persistence node running? Repeat this later",
        ))
    }

    async fn append_with_retry(&self, event: &ReplayableEvent, role: &str) -> Result<Accepted, ReplayError> {
        let mut backoff = Backoff::new(MAX_APPEND_ATTEMPTS - 1, RETRY_BACKOFF);
        loop {
            let appended = match &event.action {
                ReplayableAction::Message(draft) => self.append_message(event, role, draft).await,
                ReplayableAction::Change(change) => self.append_change(event, role, change).await,
            };
            let Err(ReplayError::Temporary(cause)) = appended else { return appended };
            let cause = format!("{cause}; replayed letters stay replayed, repeat this later");
            backoff.wait(cause).await.map_err(ReplayError::Fatal)?;
        }
    }

    async fn append_message(
        &self,
        event: &ReplayableEvent,
        role: &str,
        draft: &Draft,
    ) -> Result<Accepted, ReplayError> {
        let profile = export::profile(&self.db, &event.sender).await?;
        let (name, picture) = profile.map_or((None, None), |profile| (profile.name, profile.picture));
        let actor = Actor { user: &event.sender, role, admin: self.any_sender };
        let min_role = draft.permit(&actor).map_err(|refusal| ReplayError::Permanent(refusal.message))?;
        let (name, picture) = (name.as_deref(), picture.as_deref());
        let entry = draft.entry(&event.room, &event.sender, name, picture, min_role);
        let entry = Entry { traceparent: traceparent(event), ..entry };
        Ok(self.log.append(&entry).await?)
    }

    async fn append_change(
        &self,
        event: &ReplayableEvent,
        role: &str,
        change: &Change,
    ) -> Result<Accepted, ReplayError> {
        let target = self.log.target(&event.room, change.target).await?;
        let target = target
            .ok_or_else(|| ReplayError::Permanent("the message that it changes does not exist".to_owned()))?;
        let actor = Actor { user: &event.sender, role, admin: self.any_sender };
        let min_role =
            change.check(&actor, &target).map_err(|refusal| ReplayError::Permanent(refusal.message))?;
        let entry = change.entry(&event.room, &event.sender, &target, min_role);
        Ok(self.log.append(&Entry { traceparent: traceparent(event), ..entry }).await?)
    }
}

fn fatal_error(cause: &str) -> ReplayError {
    ReplayError::Fatal(JobError(cause.to_owned()))
}

fn traceparent(event: &ReplayableEvent) -> Option<&str> {
    Some(event.traceparent.as_str()).filter(|traceparent| !traceparent.is_empty())
}

//! Appends one letter anew through the log, and deletes the letter when its contents are kept elsewhere.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{anyhow, bail};
use sea_orm::DatabaseConnection;
use tidings_shared::ids::{RoomId, Seq};
use tidings_shared::log::{Accepted, AppendError, Entry, Log, stored::Stored};
use tidings_shared::message::Draft;
use tidings_shared::message::change::{Action, Actor, Change, ChangeKind};
use tidings_shared::role::{self, MinRole, Permission};

use super::database_error;
use super::replayable::{ReplayableAction, ReplayableEvent};
use crate::query::{self, Viewer, export, importing};
use crate::writer::dead_letters::{self, DeadLetter};

/// Temporary failures are retried for half a minute.
const APPEND_ATTEMPTS: u32 = 15;
const RETRY_BACKOFF: [Duration; 2] = [Duration::from_millis(50), Duration::from_secs(4)];
/// Polls of the stored head, for half a minute.
const STORED_POLLS: u32 = 600;
/// Each attempt waits for half a minute.
const STORE_ATTEMPTS: u32 = 2;

/// See the module.
pub(super) struct Replayer {
    pub db: DatabaseConnection,
    pub log: Arc<Log>,
    /// Whether to ignore that a sender may not send (any more).
    pub any_sender: bool,
}

/// What happened to a letter.
#[derive(Debug)]
pub(super) enum ReplayOutcome {
    /// The event is stored there, perhaps by an earlier run; the letter is deleted.
    Stored { room: RoomId, seq: Seq },
    /// PostgreSQL refused the event again; the letter is deleted, and this one replaces it.
    RefusedAgain(DeadLetter),
    /// Nothing was done, for this reason.
    NotReplayed(String),
}

/// The event that changed a message after a letter was put aside.
enum Superseded {
    /// The event of this letter, from an earlier replay.
    ByThisLetter(Seq),
    By(Seq),
}

/// Why an event was not appended or stored.
enum ReplayError {
    /// Retrying does not help.
    Permanent(String),
    /// It was in the log, and could not be written.
    RejectedAgain,
    Temporary(String),
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
            | AppendError::Overloaded
            | AppendError::Unavailable(_)
            | AppendError::OtherProcess => Self::Temporary(error.to_string()),
        }
    }
}

impl Replayer {
    /// Replays one letter.
    ///
    /// # Errors
    /// When Redis or PostgreSQL is away, or nothing is being stored. The letter is still there; a repetition does no
    /// harm.
    pub(super) async fn replay(&self, letter: &DeadLetter) -> anyhow::Result<ReplayOutcome> {
        let event = match ReplayableEvent::read(letter) {
            Ok(event) => event,
            Err(reason) => return Ok(ReplayOutcome::NotReplayed(reason.to_owned())),
        };
        let role = match self.sender_role(&event).await? {
            Ok(role) => role,
            Err(reason) => return Ok(ReplayOutcome::NotReplayed(reason)),
        };
        let outcome = match self.store(&event, &role).await? {
            Ok(seq) => ReplayOutcome::Stored { room: event.room, seq },
            Err(ReplayError::RejectedAgain) => {
                let kept =
                    dead_letters::find_rejected(&self.db, &event.room, &event.sender, &event.client_id).await;
                let Some(kept) = kept.map_err(database_error)? else {
                    let reason =
                        "a limit does not allow it now (for instance the number of reactions of a message)";
                    return Ok(ReplayOutcome::NotReplayed(reason.to_owned()));
                };
                ReplayOutcome::RefusedAgain(kept)
            }
            Err(ReplayError::Permanent(reason) | ReplayError::Temporary(reason)) => {
                return Ok(ReplayOutcome::NotReplayed(reason));
            }
        };
        dead_letters::remove(&self.db, letter.id).await.map_err(database_error)?;
        Ok(outcome)
    }

    /// The sender's role in the room, empty for a non-member; or the reason why the letter is not replayed.
    async fn sender_role(&self, event: &ReplayableEvent) -> anyhow::Result<Result<String, String>> {
        let (room, user) = (&event.room, &event.sender);
        if query::stored_head(&self.db, room).await.map_err(database_error)?.is_none() {
            return Ok(Err("there is no such room".to_owned()));
        }
        if !importing::erased(&self.db, [user]).await.map_err(database_error)?.is_empty() {
            return Ok(Err("its sender is erased, or is being erased: drop it".to_owned()));
        }
        let account = query::users::account_of(&self.db, user).await.map_err(database_error)?;
        if !self.any_sender && account.is_some_and(|account| account.blocked) {
            return Ok(Err("its sender is blocked; --any-sender".to_owned()));
        }
        let viewer = Viewer { user, admin: false };
        let role = query::access(&self.db, viewer, room)
            .await
            .map_err(database_error)?
            .and_then(|access| access.role);
        if !self.any_sender && !role.as_deref().is_some_and(|role| role::allows(role, Permission::Send)) {
            return Ok(Err("its sender may not send in the room (any more); --any-sender".to_owned()));
        }
        Ok(Ok(role.unwrap_or_default()))
    }

    /// Whether a later event changed the message again. Waits until the whole log of the room is stored, and looks
    /// there. A change that is appended at this moment may still be overwritten by the replay.
    async fn find_superseding(
        &self,
        event: &ReplayableEvent,
        change: &Change,
    ) -> anyhow::Result<Option<Superseded>> {
        self.wait_until_stored(&event.room).await?;
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
        let change = dead_letters::ReplayedChange {
            room: &event.room,
            at: event.seq,
            target: change.target,
            kinds: &kinds.map(ChangeKind::event),
            reaction,
        };
        let found = dead_letters::superseding_change(&self.db, &change).await.map_err(database_error)?;
        Ok(found.map(|(seq, by, actor)| {
            match by == event.client_id.as_str() && actor == event.sender.as_str() {
                true => Superseded::ByThisLetter(seq),
                false => Superseded::By(seq),
            }
        }))
    }

    /// Waits until everything in the room's log is stored.
    async fn wait_until_stored(&self, room: &RoomId) -> anyhow::Result<()> {
        let heads = self.log.heads(std::slice::from_ref(room)).await?;
        let Some((_, head)) = heads.first().copied().flatten() else { return Ok(()) };
        for _ in 0..STORED_POLLS {
            let stored =
                query::stored_head(&self.db, room).await.map_err(database_error)?.unwrap_or_default();
            if u64::try_from(stored).unwrap_or_default() >= head.0 {
                return Ok(());
            }
            tokio::time::sleep(RETRY_BACKOFF[0]).await;
        }
        bail!("later events are not stored yet; replayed letters stay replayed, repeat this later")
    }

    /// Appends until the event is stored; returns its seq.
    async fn store(&self, event: &ReplayableEvent, role: &str) -> anyhow::Result<Result<Seq, ReplayError>> {
        for _ in 0..STORE_ATTEMPTS {
            if let ReplayableAction::Change(change) = &event.action {
                match self.find_superseding(event, change).await? {
                    Some(Superseded::ByThisLetter(seq)) => return Ok(Ok(seq)),
                    Some(Superseded::By(seq)) => {
                        let reason = format!("the message was changed once more since, at {seq}");
                        return Ok(Err(ReplayError::Permanent(reason)));
                    }
                    None => {}
                }
            }
            let accepted = match self.append_with_retry(event, role).await? {
                Ok(accepted) => accepted,
                Err(refused) => return Ok(Err(refused)),
            };
            match self.log.wait_stored(&event.room, &accepted).await {
                Stored::Here => return Ok(Ok(accepted.seq)),
                Stored::First { seq, .. } => return Ok(Ok(seq)),
                Stored::Rejected => return Ok(Err(ReplayError::RejectedAgain)),
                Stored::Unavailable => {}
            }
        }
        bail!("appended events are not being stored: is a persistence node running? Repeat this later")
    }

    async fn append_with_retry(
        &self,
        event: &ReplayableEvent,
        role: &str,
    ) -> anyhow::Result<Result<Accepted, ReplayError>> {
        let (mut cause, mut pause) = (String::new(), RETRY_BACKOFF[0]);
        for _ in 0..APPEND_ATTEMPTS {
            let appended = match &event.action {
                ReplayableAction::Message(draft) => self.append(event, draft).await?,
                ReplayableAction::Change(change) => self.change(event, role, change).await,
            };
            match appended {
                Err(ReplayError::Temporary(why)) => cause = why,
                appended => return Ok(appended),
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(RETRY_BACKOFF[1]);
        }
        Err(anyhow!("{cause}; replayed letters stay replayed, repeat this later"))
    }

    async fn append(
        &self,
        event: &ReplayableEvent,
        draft: &Draft,
    ) -> anyhow::Result<Result<Accepted, ReplayError>> {
        let profile = export::profile(&self.db, &event.sender).await.map_err(database_error)?;
        let (name, picture) = profile.map_or((None, None), |profile| (profile.name, profile.picture));
        let entry = draft.entry(&event.room, &event.sender, name.as_deref(), picture.as_deref());
        let min_role = if self.any_sender { MinRole::Anyone } else { MinRole::Member };
        let entry = Entry { min_role, traceparent: traceparent(event), ..entry };
        Ok(self.log.append(&entry).await.map_err(ReplayError::from))
    }

    async fn change(
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

fn traceparent(event: &ReplayableEvent) -> Option<&str> {
    Some(event.traceparent.as_str()).filter(|traceparent| !traceparent.is_empty())
}

//! Appends one letter anew through the log, and takes it away once what it holds is kept elsewhere.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{anyhow, bail};
use sea_orm::DatabaseConnection;
use tidings_shared::ids::{RoomId, Seq};
use tidings_shared::log::{Accepted, AppendError, Entry, Log, Minimum, stored::Stored};
use tidings_shared::message::Draft;
use tidings_shared::message::change::{Action, Actor, Change, ChangeKind};
use tidings_shared::role::{self, Permission};

use super::sent::{Sent, What};
use super::told;
use crate::query::{self, Viewer, export, importing};
use crate::writer::dead_letters::{self, DeadLetter};

/// What cannot be taken just now is tried again for half a minute.
const TRIES: u32 = 15;
const PAUSES: [Duration; 2] = [Duration::from_millis(50), Duration::from_secs(4)];
/// Looks at what is stored, for half a minute.
const STORED_LOOKS: u32 = 600;
/// Each waits for half a minute.
const STORED_TRIES: u32 = 2;

/// See the module.
pub(super) struct Replayer {
    pub db: DatabaseConnection,
    pub log: Arc<Log>,
    /// Whether those may send who may not (any more).
    pub any_sender: bool,
}

/// What became of a letter.
#[derive(Debug)]
pub(super) enum Outcome {
    /// It is stored there, perhaps by an earlier run; the letter is gone.
    Stored { room: RoomId, seq: Seq },
    /// PostgreSQL refused it again; the letter is gone, and this one stands for it.
    RefusedAgain(DeadLetter),
    /// Nothing was done, for this reason.
    Left(String),
}

/// What changed a message after a letter was put aside.
enum Overtaken {
    /// The letter, replayed before.
    ByItself(Seq),
    By(Seq),
}

/// Why an event is not in the log.
enum Refused {
    /// Nothing that passes.
    ForGood(String),
    /// It was in the log, and could not be written.
    Again,
    NotNow(String),
}

impl From<AppendError> for Refused {
    fn from(error: AppendError) -> Self {
        match error {
            AppendError::Rejected => Self::Again,
            AppendError::NoSuchRoom
            | AppendError::Revoked
            | AppendError::RoleTooLow
            | AppendError::Archived => Self::ForGood(error.to_string()),
            AppendError::Stale(_)
            | AppendError::Overloaded
            | AppendError::Unavailable(_)
            | AppendError::OtherProcess => Self::NotNow(error.to_string()),
        }
    }
}

impl Replayer {
    /// Replays one letter.
    ///
    /// # Errors
    /// When Redis or PostgreSQL is away, or nobody stores: the letter is still there, and a repetition does no harm.
    pub(super) async fn replay(&self, letter: &DeadLetter) -> anyhow::Result<Outcome> {
        let sent = match Sent::read(letter) {
            Ok(sent) => sent,
            Err(reason) => return Ok(Outcome::Left(reason.to_owned())),
        };
        let role = match self.standing(&sent).await? {
            Ok(role) => role,
            Err(reason) => return Ok(Outcome::Left(reason)),
        };
        let outcome = match self.store(&sent, &role).await? {
            Ok(seq) => Outcome::Stored { room: sent.room, seq },
            Err(Refused::Again) => {
                let kept = dead_letters::kept_of(&self.db, &sent.room, &sent.sender, &sent.client_id).await;
                let Some(kept) = kept.map_err(told)? else {
                    let reason =
                        "it is over a bound by now (how many reactions a message may have, for instance)";
                    return Ok(Outcome::Left(reason.to_owned()));
                };
                Outcome::RefusedAgain(kept)
            }
            Err(Refused::ForGood(reason) | Refused::NotNow(reason)) => return Ok(Outcome::Left(reason)),
        };
        dead_letters::remove(&self.db, letter.id).await.map_err(told)?;
        Ok(outcome)
    }

    /// The sender's role in the room, empty for whoever is no member; or why nothing of theirs is appended.
    async fn standing(&self, sent: &Sent) -> anyhow::Result<Result<String, String>> {
        let (room, user) = (&sent.room, &sent.sender);
        if query::stored_head(&self.db, room).await.map_err(told)?.is_none() {
            return Ok(Err("there is no such room".to_owned()));
        }
        if !importing::erased(&self.db, [user]).await.map_err(told)?.is_empty() {
            return Ok(Err("its sender is erased, or is being erased: drop it".to_owned()));
        }
        let account = query::users::account_of(&self.db, user).await.map_err(told)?;
        if !self.any_sender && account.is_some_and(|account| account.blocked) {
            return Ok(Err("its sender is blocked; --any-sender".to_owned()));
        }
        let viewer = Viewer { user, admin: false };
        let role = query::access(&self.db, viewer, room).await.map_err(told)?.and_then(|access| access.role);
        if !self.any_sender && !role.as_deref().is_some_and(|role| role::allows(role, Permission::Send)) {
            return Ok(Err("its sender may not send in the room (any more); --any-sender".to_owned()));
        }
        Ok(Ok(role.unwrap_or_default()))
    }

    /// Whether the message was changed once more since: by what is stored, which everything is that stands in the log
    /// now. Somebody who changes it in this moment may still be outdone.
    async fn overtaken(&self, sent: &Sent, change: &Change) -> anyhow::Result<Option<Overtaken>> {
        self.until_stored(&sent.room).await?;
        let kinds = match change.kind() {
            ChangeKind::Edit | ChangeKind::Delete => [ChangeKind::Edit, ChangeKind::Delete],
            ChangeKind::AddReaction | ChangeKind::RemoveReaction => {
                [ChangeKind::AddReaction, ChangeKind::RemoveReaction]
            }
        };
        let reaction = match &change.action {
            Action::AddReaction { emoji } | Action::RemoveReaction { emoji } => {
                Some((&sent.sender, &**emoji))
            }
            Action::Edit { .. } | Action::Delete => None,
        };
        let change = dead_letters::Change {
            room: &sent.room,
            at: sent.seq,
            target: change.target,
            kinds: &kinds.map(ChangeKind::event),
            reaction,
        };
        let found = dead_letters::overtaken_by(&self.db, &change).await.map_err(told)?;
        Ok(found.map(|(seq, by, actor)| {
            match by == sent.client_id.as_str() && actor == sent.sender.as_str() {
                true => Overtaken::ByItself(seq),
                false => Overtaken::By(seq),
            }
        }))
    }

    /// Waits until all that a room's log holds now is stored.
    async fn until_stored(&self, room: &RoomId) -> anyhow::Result<()> {
        let heads = self.log.heads(std::slice::from_ref(room)).await?;
        let Some((_, head)) = heads.first().copied().flatten() else { return Ok(()) };
        for _ in 0..STORED_LOOKS {
            let stored = query::stored_head(&self.db, room).await.map_err(told)?.unwrap_or_default();
            if u64::try_from(stored).unwrap_or_default() >= head.0 {
                return Ok(());
            }
            tokio::time::sleep(PAUSES[0]).await;
        }
        bail!("what came after it is not stored yet; what was replayed stays, repeat this later")
    }

    /// Appends until it stands in the log and is stored; where.
    async fn store(&self, sent: &Sent, role: &str) -> anyhow::Result<Result<Seq, Refused>> {
        for _ in 0..STORED_TRIES {
            if let What::Change(change) = &sent.what {
                match self.overtaken(sent, change).await? {
                    Some(Overtaken::ByItself(seq)) => return Ok(Ok(seq)),
                    Some(Overtaken::By(seq)) => {
                        let reason = format!("the message was changed once more since, at {seq}");
                        return Ok(Err(Refused::ForGood(reason)));
                    }
                    None => {}
                }
            }
            let accepted = match self.append_patiently(sent, role).await? {
                Ok(accepted) => accepted,
                Err(refused) => return Ok(Err(refused)),
            };
            match self.log.wait_stored(&sent.room, &accepted).await {
                Stored::Here => return Ok(Ok(accepted.seq)),
                Stored::First { seq, .. } => return Ok(Ok(seq)),
                Stored::Rejected => return Ok(Err(Refused::Again)),
                Stored::Unavailable => {}
            }
        }
        bail!("what is appended is not being stored: is a persistence node running? Repeat this later")
    }

    async fn append_patiently(&self, sent: &Sent, role: &str) -> anyhow::Result<Result<Accepted, Refused>> {
        let (mut cause, mut pause) = (String::new(), PAUSES[0]);
        for _ in 0..TRIES {
            let appended = match &sent.what {
                What::Message(draft) => self.append(sent, draft).await?,
                What::Change(change) => self.change(sent, role, change).await,
            };
            match appended {
                Err(Refused::NotNow(why)) => cause = why,
                appended => return Ok(appended),
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(PAUSES[1]);
        }
        Err(anyhow!("{cause}; what was replayed stays, repeat this later"))
    }

    async fn append(&self, sent: &Sent, draft: &Draft) -> anyhow::Result<Result<Accepted, Refused>> {
        let profile = export::profile(&self.db, &sent.sender).await.map_err(told)?;
        let (name, picture) = profile.map_or((None, None), |profile| (profile.name, profile.picture));
        let entry = draft.entry(&sent.room, &sent.sender, name.as_deref(), picture.as_deref());
        let minimum = if self.any_sender { Minimum::Anyone } else { Minimum::Member };
        let entry = Entry { minimum, traceparent: traceparent(sent), ..entry };
        Ok(self.log.append(&entry).await.map_err(Refused::from))
    }

    async fn change(&self, sent: &Sent, role: &str, change: &Change) -> Result<Accepted, Refused> {
        let target = self.log.target(&sent.room, change.target).await?;
        let target =
            target.ok_or_else(|| Refused::ForGood("the message that it changes is not there".to_owned()))?;
        let actor = Actor { user: &sent.sender, role, admin: self.any_sender };
        let minimum = change.check(&actor, &target).map_err(|refusal| Refused::ForGood(refusal.message))?;
        let entry = change.entry(&sent.room, &sent.sender, &target, minimum);
        Ok(self.log.append(&Entry { traceparent: traceparent(sent), ..entry }).await?)
    }
}

fn traceparent(sent: &Sent) -> Option<&str> {
    Some(sent.traceparent.as_str()).filter(|traceparent| !traceparent.is_empty())
}

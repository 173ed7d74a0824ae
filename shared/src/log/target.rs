//! Appends changes of messages: edits, deletes and reactions. Reads the message to change (the target) from the tail,
//! or from PostgreSQL if the tail does not contain it.

use std::time::{Duration, Instant};

use serde::Deserialize;

use super::{
    append::{Accepted, AppendAnswer, AppendError, Entry},
    calls::unavailable,
    commands::{Log, MAX_ATTEMPTS, head_keeps_changing},
    keys,
    record::Record,
    tail,
};
use crate::{
    error::Refusal,
    events::MESSAGE_NEW,
    ids::{Epoch, RoomId, Seq, UserId},
    message::{
        Target,
        change::{Actor, Change, ChangeKind},
    },
    role::MinRole,
    visibility::Visibility,
};

/// How long a change waits until a concurrent delete in the same room is stored. The delete may be of the same message,
/// and then the change must be refused.
const DELETE_WAIT_TIMEOUT: Duration = Duration::from_secs(3);
const DELETE_POLL_PAUSE: Duration = Duration::from_millis(50);

impl Log {
    /// Appends a change of a message if [`Change::check`] allows it.
    pub async fn change(
        &self,
        room: &RoomId,
        actor: &Actor<'_>,
        change: &Change,
    ) -> Result<Accepted, Refusal> {
        change.permit(actor)?;
        let begun = Instant::now();
        loop {
            let target = self.target(room, change.target).await?;
            let target = target.ok_or_else(|| Refusal::not_found("message"))?;
            let entry = |min_role| change.entry(room, actor.user, &target, min_role);
            return match change.check(actor, &target) {
                Ok(min_role) => match self.append(&entry(min_role)).await {
                    // A message was deleted after `target` was read. If it was this message, another read of `target`
                    // shows it as deleted as soon as the delete is stored.
                    Err(AppendError::Stale(_)) if begun.elapsed() < DELETE_WAIT_TIMEOUT => {
                        tokio::time::sleep(DELETE_POLL_PAUSE).await;
                        continue;
                    }
                    appended => Ok(appended?),
                },
                // If this change is a repetition of one that was appended before the delete, it gets the first answer.
                Err(refusal) if target.deleted => {
                    self.remembered_event(&entry(MinRole::Anyone)).await?.ok_or(refusal)
                }
                Err(refusal) => Err(refusal),
            };
        }
    }

    /// Returns the event that was appended with the entry's client id, if Redis remembers it. Appends nothing.
    async fn remembered_event(&self, entry: &Entry<'_>) -> Result<Option<Accepted>, AppendError> {
        if entry.client_id.is_none() {
            return Ok(None);
        }
        for _ in 0..MAX_ATTEMPTS {
            let session = self.calls.sessions.get().await.map_err(unavailable)?;
            // With `looked_up` false, the script appends nothing. For an unknown client id it answers `lookup` instead.
            let value = self.calls.call(&session, entry.command(&session.scripts, false, 0)).await?;
            match entry.read_answer(session.epoch, value).map_err(AppendError::Unavailable)? {
                AppendAnswer::Done(accepted) => return Ok(Some(accepted)),
                AppendAnswer::LookUp | AppendAnswer::Refused(_) => return Ok(None),
                AppendAnswer::Seed => self.seed(&session, entry.room).await?,
            }
        }
        Err(head_keeps_changing())
    }

    /// Returns the message at a seq of a room's log; `None` if the event at this seq is not a message. Fails with
    /// [`AppendError::Unavailable`] if the event is neither in the tail nor stored yet.
    pub async fn target(&self, room: &RoomId, seq: Seq) -> Result<Option<Target>, AppendError> {
        let head = self.read(room, None, Epoch(0), None, &[]).await?.head;
        if seq > head.seq {
            return Ok(None);
        }
        let session = self.calls.sessions.get().await.map_err(unavailable)?;
        if session.epoch != head.epoch {
            // Until the room is seeded in the session's epoch, its tail may contain events that the epoch lacks.
            return Err(AppendError::Unavailable("a new epoch has begun".to_owned()));
        }
        let mut command = redis::cmd("XRANGE");
        command.arg(keys::tail(room)).arg(format!("{seq}-0")).arg(format!("{seq}-0"));
        let entries: Result<tail::TailEntries, _> = command.query_async(&mut session.connection()).await;
        let entries = entries.map_err(|error| self.calls.append_error(&session, &error))?;
        match tail::records_of(entries).first() {
            // The message is not deleted, because a delete drops the tail. `upto` is the head that was read before the
            // tail, so a later delete has a seq above `upto` and makes the append stale.
            Some(record) if record.kind() == MESSAGE_NEW => Ok(Some(target_of_record(record, head.seq))),
            Some(_) => Ok(None),
            None => self.authority.target(room, seq).await.map_err(unavailable),
        }
    }
}

impl Change {
    /// Returns the entry that appends this change. `min_role` must be the result of [`Change::check`].
    pub fn entry<'a>(
        &self,
        room: &'a RoomId,
        user: &'a UserId,
        target: &Target,
        min_role: MinRole,
    ) -> Entry<'a> {
        let kind = self.kind();
        Entry {
            sender: Some(user),
            client_id: Some(self.client_id.clone()),
            visibility: target.audience(),
            // A delete is valid whatever other messages were deleted, so it has no condition on other deletes.
            deletes_upto: (kind != ChangeKind::Delete).then_some(target.upto),
            // If the message is already deleted, the first delete has dropped the tail.
            drops_tail: kind == ChangeKind::Delete && !target.deleted,
            min_role,
            ..Entry::new(room, kind.event(), self.body(user, target))
        }
    }
}

fn target_of_record(record: &Record, upto: Seq) -> Target {
    #[derive(Deserialize)]
    struct Body<'a> {
        #[serde(borrow)]
        attachments: Option<&'a serde_json::value::RawValue>,
    }
    let body = serde_json::from_slice::<Body<'_>>(record.json());
    Target {
        id: record.id().to_owned(),
        sender: record.sender().to_owned(),
        visibility: Visibility::decode(record.visibility()),
        deleted: false,
        upto,
        has_attachments: body.is_ok_and(|body| body.attachments.is_some()),
    }
}

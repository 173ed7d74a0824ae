//! Appends changes of messages: edits, deletes and reactions. Reads the message to change (the target) from the tail,
//! or from PostgreSQL if the tail does not contain it.

use std::time::{Duration, Instant};

use serde::Deserialize;

use super::{
    append::{Accepted, AppendAnswer, AppendError, Entry, UnknownClientId},
    authority::AuthorityError,
    backlog::LogLimits,
    calls::unavailable,
    commands::{Log, MAX_ATTEMPTS, head_keeps_changing},
    keys,
    mentions::mentions_refusal,
    record::{IngestId, Record},
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

/// How long a change waits until its message is stored, or until a concurrent delete in the same room is stored, which
/// may be of the same message.
const STORED_WAIT_TIMEOUT: Duration = Duration::from_secs(3);
/// While a change waits, the message is read from PostgreSQL again when the stored watermark of the partition has
/// moved. This pause bounds the rate of these reads.
const STORED_READ_PAUSE: Duration = Duration::from_millis(50);
/// The message is read again after this time even if the watermark has not moved, because a notice may be lost.
const STORED_READ_EVERY: Duration = Duration::from_secs(1);

impl Log {
    /// Appends a change of a message if [`Change::check`] allows it, and returns the event of the change. Refuses with
    /// `not_found` if there is no message at the seq of the target.
    pub async fn change(
        &self,
        room: &RoomId,
        actor: &Actor<'_>,
        change: &Change,
    ) -> Result<Accepted, Refusal> {
        change.permit(actor)?;
        let deadline = Instant::now() + STORED_WAIT_TIMEOUT;
        loop {
            let watermark = self.watermarks().newest_watermark(room);
            let target = self.target_until(room, change.target, deadline).await?;
            let target = target.ok_or_else(|| Refusal::not_found("message"))?;
            let entry = |min_role| change.entry(room, actor.user, &target, min_role);
            let checked = change.check(actor, &target);
            // Boxed, because few changes mention users.
            if checked.is_ok()
                && !change.mentions().is_empty()
                && !Box::pin(self.may_all_see(room, change.mentions(), &target.visibility, &target.sender))
                    .await?
            {
                // A repetition of an edit that was appended before a mentioned user left gets the answer of that edit.
                if let Some(first) = self.remembered_event(&entry(MinRole::Anyone)).await? {
                    return Ok(first);
                }
                if !Box::pin(self.keeps_or_may_mention(room, change, &target)).await? {
                    return Err(mentions_refusal());
                }
            }
            return match checked {
                Ok(min_role) => match self.append(&entry(min_role)).await {
                    // A message was deleted after `target` was read. If it was this message, another read of `target`
                    // shows it as deleted as soon as the delete is stored.
                    Err(AppendError::Stale(_)) if Instant::now() < deadline => {
                        self.wait_until_watermark_moves(room, watermark, deadline).await;
                        continue;
                    }
                    appended => Ok(appended?),
                },
                // A repetition of a change that was appended before the delete gets the answer of that change.
                Err(refusal) if target.deleted => {
                    self.remembered_event(&entry(MinRole::Anyone)).await?.ok_or(refusal)
                }
                Err(refusal) => Err(refusal),
            };
        }
    }

    /// Returns the event that was appended with the entry's client id, if Redis remembers it. Appends nothing.
    pub(super) async fn remembered_event(&self, entry: &Entry<'_>) -> Result<Option<Accepted>, AppendError> {
        if entry.client_id.is_none() {
            return Ok(None);
        }
        for _ in 0..MAX_ATTEMPTS {
            let session = self.session_of(entry.room).await.map_err(unavailable)?;
            let command = entry.command(&session.scripts, &UnknownClientId::LookUp, LogLimits::default());
            let value = self.calls.call(&session, command).await?;
            match entry.parse_answer(session.epoch, value).map_err(AppendError::Unavailable)? {
                AppendAnswer::Done(accepted) => return Ok(Some(accepted)),
                AppendAnswer::LookUp(_) | AppendAnswer::Refused(_) => return Ok(None),
                AppendAnswer::Seed => self.seed(&session, entry.room).await?,
            }
        }
        Err(head_keeps_changing())
    }

    /// Returns the message at a seq of a room's log, or `None` if the event at this seq is not a message. Fails with
    /// [`AppendError::Unavailable`] if the event is neither in the tail nor stored yet.
    pub async fn target(&self, room: &RoomId, seq: Seq) -> Result<Option<Target>, AppendError> {
        self.target_until(room, seq, Instant::now() + STORED_WAIT_TIMEOUT).await
    }

    /// Returns the same as [`Log::target`], but waits at most until `deadline` for the event to be stored.
    async fn target_until(
        &self,
        room: &RoomId,
        seq: Seq,
        deadline: Instant,
    ) -> Result<Option<Target>, AppendError> {
        let head = self.read(room, None, Epoch(0), None, &[]).await?.head;
        if seq > head.seq {
            return Ok(None);
        }
        let session = self.session_of(room).await.map_err(unavailable)?;
        if session.epoch != head.epoch {
            // Until the room is seeded in the session's epoch, its tail may contain events that the epoch lacks.
            return Err(AppendError::Unavailable("a new epoch has begun".to_owned()));
        }
        let mut command = redis::cmd("XRANGE");
        command.arg(keys::tail(room)).arg(format!("{seq}-0")).arg(format!("{seq}-0"));
        let entries: Result<tail::TailEntries, _> = command.query_async(&mut session.connection()).await;
        let entries = entries.map_err(|error| self.calls.append_error(&session, &error))?;
        match tail::parse_records(entries).first() {
            // The message is not deleted, because a delete drops the tail. `upto` is the head that was read before the
            // tail, so a later delete has a seq above `upto` and makes the append stale.
            Some(record) if record.kind() == MESSAGE_NEW => Ok(Some(target_from_record(record, head.seq))),
            Some(_) => Ok(None),
            None => self.stored_target(room, seq, deadline).await.map_err(unavailable),
        }
    }

    /// Reads a message from PostgreSQL. If its event is not stored yet, waits until `deadline`. The gateway waits, and
    /// not persistence, so that the wait holds no permit for requests.
    async fn stored_target(
        &self,
        room: &RoomId,
        seq: Seq,
        deadline: Instant,
    ) -> Result<Option<Target>, AuthorityError> {
        loop {
            let watermark = self.watermarks().newest_watermark(room);
            match self.authority.target(room, seq).await {
                Err(AuthorityError::NotStored) if Instant::now() < deadline => {
                    self.wait_until_watermark_moves(room, watermark, deadline).await;
                }
                answer => return answer,
            }
        }
    }

    /// Waits until the stored watermark of the room's partition is no longer `watermark`, but at most
    /// [`STORED_READ_EVERY`], and at most until `deadline`.
    async fn wait_until_watermark_moves(
        &self,
        room: &RoomId,
        watermark: (Epoch, IngestId),
        deadline: Instant,
    ) {
        let until = deadline.min(Instant::now() + STORED_READ_EVERY);
        while Instant::now() < until {
            tokio::time::sleep(STORED_READ_PAUSE).await;
            if self.watermarks().newest_watermark(room) != watermark {
                return;
            }
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

fn target_from_record(record: &Record, upto: Seq) -> Target {
    #[derive(Deserialize)]
    struct EventBody<'a> {
        #[serde(borrow)]
        attachments: Option<&'a serde_json::value::RawValue>,
    }
    let body = serde_json::from_slice::<EventBody<'_>>(record.json());
    Target {
        id: record.id().to_owned(),
        sender: record.sender().to_owned(),
        visibility: Visibility::decode(record.visibility()),
        deleted: false,
        upto,
        has_attachments: body.is_ok_and(|body| body.attachments.is_some()),
        mentions: Vec::new(),
    }
}

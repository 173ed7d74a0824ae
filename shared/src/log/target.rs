//! Messages as the targets of edits, deletes and reactions: who sent them and who may see them, from the tail, or
//! from PostgreSQL where the tail does not reach back so far.

use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::{
    append::{Accepted, Answer, AppendError, Entry, Minimum},
    commands::{Log, ROUNDS, unavailable},
    keys,
    record::{Record, Visibility, is_visible_to},
    tail,
};
use crate::{
    error::Refusal,
    ids::{Epoch, RoomId, Seq},
    message::change::{Actor, Change},
};

/// How long a change waits for a delete in its room to be stored, which may be that of its message.
const DELETE_PATIENCE: Duration = Duration::from_secs(3);
const DELETE_PAUSE: Duration = Duration::from_millis(50);

/// What a change must know of the message that it is aimed at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Target {
    /// Message id.
    pub id: String,
    pub sender: String,
    pub visibility: Visibility,
    pub deleted: bool,
    /// It is as it was at this position of the log.
    #[serde(default)]
    pub upto: Seq,
    /// Beside attachments a text may be empty.
    #[serde(default)]
    pub has_attachments: bool,
}

impl Target {
    #[must_use]
    pub fn is_visible_to(&self, user: &str, role: &str) -> bool {
        is_visible_to(&self.visibility.encode(), &self.sender, user, role)
    }

    /// Who may see a change of this message: exactly who may see the message, whoever makes the change.
    #[must_use]
    pub fn audience(&self) -> Visibility {
        let mut audience = self.visibility.clone();
        if !audience.is_everyone() && !audience.users.contains(&self.sender) {
            audience.users.push(self.sender.clone());
        }
        audience
    }
}

impl Log {
    /// Appends a change of a message, when whoever makes it may.
    ///
    /// # Errors
    /// What [`Change::check`] refuses, or the log.
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
            let entry = |minimum| change.entry(room, actor.user, &target, minimum);
            return match change.check(actor, &target) {
                Ok(minimum) => match self.append(&entry(minimum)).await {
                    // A message was deleted meanwhile, perhaps this one. Once that is stored the look-up tells.
                    Err(AppendError::Stale(_)) if begun.elapsed() < DELETE_PATIENCE => {
                        tokio::time::sleep(DELETE_PAUSE).await;
                        continue;
                    }
                    appended => Ok(appended?),
                },
                // It may be the repetition of one that came before the delete: that is answered with the first.
                Err(refusal) if target.deleted => self.known(&entry(Minimum::Anyone)).await?.ok_or(refusal),
                Err(refusal) => Err(refusal),
            };
        }
    }

    /// What was appended under an entry's client id, as far as Redis remembers; appends nothing.
    async fn known(&self, entry: &Entry<'_>) -> Result<Option<Accepted>, AppendError> {
        if entry.client_id.is_none() {
            return Ok(None);
        }
        for _ in 0..ROUNDS {
            let session = self.sessions.get().await.map_err(unavailable)?;
            // Without leave to append what it does not know, the script answers `lookup` at the latest.
            let value = self.call(&session, entry.command(&session.scripts, false, 0)).await?;
            match entry.read_answer(&session, value).map_err(AppendError::Unavailable)? {
                Answer::Done(accepted) => return Ok(Some(accepted)),
                Answer::LookUp | Answer::Refused(_) => return Ok(None),
                Answer::Seed => self.seed(&session, entry.room).await?,
            }
        }
        Err(AppendError::Unavailable("the room's head does not settle".to_owned()))
    }

    /// The message at a place in a room's log. `None`: no message stands there. A message in the tail is not deleted:
    /// a delete drops the tail.
    ///
    /// # Errors
    /// [`AppendError::NoSuchRoom`], or [`AppendError::Unavailable`] also when the place is not yet stored.
    pub async fn target(&self, room: &RoomId, seq: Seq) -> Result<Option<Target>, AppendError> {
        let head = self.read(room, None, Epoch(0), None, &[]).await?.head;
        if seq > head.seq {
            return Ok(None);
        }
        let session = self.sessions.get().await.map_err(unavailable)?;
        if session.epoch != head.epoch {
            // Before the room is seeded in it, its tail may be of a history that was given up.
            return Err(AppendError::Unavailable("a new epoch has begun".to_owned()));
        }
        let mut command = redis::cmd("XRANGE");
        command.arg(keys::tail(room)).arg(format!("{seq}-0")).arg(format!("{seq}-0"));
        let entries: Result<tail::TailEntries, _> = command.query_async(&mut session.connection()).await;
        let entries = entries.map_err(|error| self.give_up(&session, &error))?;
        match tail::records_of(entries).first() {
            // As of the head that was read before: a delete since then is above it, and refuses the change.
            Some(record) if record.kind() == "message:new" => Ok(Some(of_record(record, head.seq))),
            Some(_) => Ok(None),
            None => self.authority.target(room, seq).await.map_err(unavailable),
        }
    }
}

fn of_record(record: &Record, upto: Seq) -> Target {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_reaches_exactly_those_who_may_see_the_message() {
        let of = |users: &[&str]| Target {
            id: String::new(),
            sender: "alice".into(),
            visibility: Visibility { users: users.iter().map(ToString::to_string).collect(), roles: vec![] },
            deleted: false,
            upto: Seq(0),
            has_attachments: false,
        };
        assert_eq!(of(&["bob"]).audience().users, ["bob", "alice"]);
        assert!(of(&[]).audience().is_everyone());
        assert!(of(&["bob"]).is_visible_to("alice", "guest") && !of(&["bob"]).is_visible_to("eve", "owner"));
    }
}

//! Messages as the targets of edits, deletes and reactions: who sent them and who may see them, from the tail, or
//! from PostgreSQL where the tail does not reach back so far.

use serde::{Deserialize, Serialize};

use super::{
    append::AppendError,
    commands::{Log, unavailable},
    keys,
    record::{Record, Visibility, is_visible_to},
    tail,
};
use crate::ids::{Epoch, RoomId, Seq};

/// What a change must know of the message that it is aimed at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Target {
    /// Message id.
    pub id: String,
    pub sender: String,
    pub visibility: Visibility,
    pub deleted: bool,
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
    /// The message at a place in a room's log. `None`: no message stands there. A message in the tail is not deleted:
    /// a delete drops the tail.
    ///
    /// # Errors
    /// [`AppendError::NoSuchRoom`], or [`AppendError::Unavailable`] also when the place is not yet stored.
    pub async fn target(&self, room: &RoomId, seq: Seq) -> Result<Option<Target>, AppendError> {
        if seq > self.read(room, None, Epoch(0), None, &[]).await?.head.seq {
            return Ok(None);
        }
        let session = self.sessions.get().await.map_err(unavailable)?;
        let mut command = redis::cmd("XRANGE");
        command.arg(keys::tail(room)).arg(format!("{seq}-0")).arg(format!("{seq}-0"));
        let entries: Result<tail::TailEntries, _> = command.query_async(&mut session.connection()).await;
        let entries = entries.map_err(|error| self.give_up(&session, &error))?;
        match tail::records_of(entries).first() {
            Some(record) if record.kind() == "message:new" => Ok(Some(of_record(record))),
            Some(_) => Ok(None),
            None => self.authority.target(room, seq).await.map_err(unavailable),
        }
    }
}

fn of_record(record: &Record) -> Target {
    Target {
        id: record.id().to_owned(),
        sender: record.sender().to_owned(),
        visibility: Visibility::decode(record.visibility()),
        deleted: false,
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
        };
        assert_eq!(of(&["bob"]).audience().users, ["bob", "alice"]);
        assert!(of(&[]).audience().is_everyone());
        assert!(of(&["bob"]).is_visible_to("alice", "guest") && !of(&["bob"]).is_visible_to("eve", "owner"));
    }
}

//! What only persistence does with the log: telling what is stored, and writing the heads of seeded rooms.

use std::sync::Arc;

use super::{
    append::AppendError,
    commands::{Log, unavailable},
    keys::{self, Partition},
    record::IngestId,
    session::Session,
    tail::RoomHead,
};
use crate::ids::{Epoch, RoomId, Seq};

/// How much of what Redis holds of a room is good in the epoch of a seed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Survival {
    /// Only what is stored counts: it is ahead of the hash, whose marks may tell what a later change took back.
    #[default]
    Nothing = 0,
    /// Marks up to the seq to go on from: they may not be stored yet.
    Marks = 1,
    /// The hash, with its marks and what it tells of the room.
    Hash = 2,
    HashAndTail = 3,
}

impl Log {
    /// Tells that a partition is committed up to `watermark`, with what became of exceptions
    /// (`room ␟ seq`, outcome). False: a later epoch has written it, nothing was changed.
    ///
    /// # Errors
    /// When Redis did not take it; it may or may not have happened.
    pub async fn tell_stored(
        &self,
        session: &Arc<Session>,
        partition: Partition,
        watermark: IngestId,
        exceptions: &[(String, String)],
    ) -> Result<bool, AppendError> {
        let mut command = redis::cmd("EVALSHA");
        let exceptions_key = partition.exceptions();
        command.arg(&session.scripts.stored.sha).arg(4).arg(partition.stored()).arg(partition.ingest());
        command.arg(&exceptions_key).arg(format!("{exceptions_key}:old")).arg(watermark.to_string());
        for (at, outcome) in exceptions {
            command.arg(at).arg(outcome);
        }
        let answer = self.call(session, command).await?;
        let answer: String = redis::from_redis_value(answer).map_err(unavailable)?;
        Ok(answer == "ok")
    }

    /// Writes a room's head where it still is what `read` told. `None` for `read`: there was no hash.
    /// False: it is something else by now.
    ///
    /// # Errors
    /// When Redis did not take it.
    pub async fn write_seed(
        &self,
        session: &Arc<Session>,
        room: &RoomId,
        read: Option<(Epoch, Seq)>,
        head: &RoomHead,
        survived: Survival,
    ) -> Result<bool, AppendError> {
        let mut command = redis::cmd("EVALSHA");
        command.arg(&session.scripts.seed.sha).arg(2).arg(keys::room(room)).arg(keys::tail(room));
        command.arg(read.map_or_else(String::new, |(epoch, _)| epoch.to_string()));
        command.arg(read.map_or_else(String::new, |(_, seq)| seq.to_string()));
        command.arg(head.seq.0).arg(head.bases.clone().merged().encode()).arg(survived as i32);
        command.arg("kind").arg(&head.kind).arg("name").arg(head.name.as_deref().unwrap_or(""));
        command.arg("members").arg(head.members).arg("archived").arg(i32::from(head.archived));
        let answer = self.call(session, command).await?;
        let answer: String = redis::from_redis_value(answer).map_err(unavailable)?;
        Ok(answer == "ok")
    }
}

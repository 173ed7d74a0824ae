//! What only persistence does with the log: telling what is stored, and writing the heads of seeded rooms.

use std::sync::Arc;

use redis::RedisError;

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

/// Up to where a partition is committed.
#[derive(Debug, Clone)]
pub struct StoredUpto {
    pub partition: Partition,
    pub watermark: IngestId,
    /// What became of those below it that are not what was sent: `room ␟ seq`, outcome.
    pub exceptions: Vec<(String, String)>,
}

impl Log {
    /// Tells of each partition up to where it is committed, all in one go. By partition: false when a later epoch has
    /// written its watermark, and nothing was changed.
    ///
    /// # Errors
    /// By partition, when Redis did not take it; it may or may not have happened.
    pub async fn tell_stored(
        &self,
        session: &Arc<Session>,
        told: &[StoredUpto],
    ) -> Vec<Result<bool, AppendError>> {
        if told.is_empty() {
            return Vec::new();
        }
        let mut pipe = redis::Pipeline::with_capacity(told.len());
        // What one of them is refused for says nothing of the others.
        pipe.ignore_errors();
        for StoredUpto { partition, watermark, exceptions } in told {
            let exceptions_key = partition.exceptions();
            pipe.cmd("EVALSHA").arg(&session.scripts.stored.sha).arg(4);
            pipe.arg(partition.stored()).arg(partition.ingest());
            pipe.arg(&exceptions_key).arg(format!("{exceptions_key}:old")).arg(watermark.to_string());
            for (at, outcome) in exceptions {
                pipe.arg(at).arg(outcome);
            }
        }
        let answers: Result<Vec<Result<String, RedisError>>, RedisError> =
            pipe.query_async(&mut session.connection()).await;
        match answers {
            Ok(answers) if answers.len() == told.len() => {
                let read = |answer: Result<String, RedisError>| match answer {
                    Ok(answer) => Ok(answer == "ok"),
                    Err(error) => Err(self.give_up(session, &error)),
                };
                answers.into_iter().map(read).collect()
            }
            Ok(_) => told.iter().map(|_| Err(unavailable("not as many answers as were asked for"))).collect(),
            Err(error) => told.iter().map(|_| Err(self.give_up(session, &error))).collect(),
        }
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

//! The operations of the room log that only persistence uses: publishing stored watermarks, and seeding rooms (writing
//! their heads into Redis for the present epoch).

use std::sync::Arc;

use redis::Value;

use super::{
    append::AppendError,
    arguments::arguments,
    calls::unavailable,
    commands::Log,
    keys::{self, Partition, PartitionSet},
    layout::Layout,
    record::IngestId,
    scripts::Scripts,
    session::Session,
    stored_state::format_proof,
    tail::RoomHead,
};
use crate::ids::{Epoch, RoomId, Seq};

/// Which data of a room in Redis, from an earlier epoch, stays valid when the room is seeded in a new epoch.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Survival {
    /// Nothing is valid, because PostgreSQL is ahead of the hash, and its events may contradict the hash.
    #[default]
    Nothing = 0,
    /// Only membership marks up to the new head are valid. They are kept, because PostgreSQL may not have their events
    /// yet.
    Marks = 1,
    /// The whole hash is valid, but not the tail.
    Hash = 2,
    HashAndTail = 3,
}

/// The new stored watermark of a partition: the ingest id up to which its records are committed in PostgreSQL.
#[derive(Debug, Clone)]
pub struct WatermarkUpdate {
    pub partition: Partition,
    pub watermark: IngestId,
    /// A room and a seq that the commit stored; None if it stored no event of the partition.
    pub proof: Option<(RoomId, Seq)>,
    /// The newly committed records that were not stored as sent: pairs of `room ␟ seq` and outcome, as in `stored.lua`.
    pub exceptions: Vec<(String, String)>,
}

impl Log {
    /// Writes the watermarks of partitions, and publishes one notice for all of them; in a cluster one for each.
    /// Returns one result per partition: false if a later epoch has written the watermark, which is then left
    /// unchanged.
    ///
    /// # Errors
    /// The result of a partition is an error if Redis did not confirm the partition. Its watermark may or may not be
    /// written.
    pub async fn publish_stored(
        &self,
        session: &Arc<Session>,
        watermarks: &[WatermarkUpdate],
    ) -> Vec<Result<bool, AppendError>> {
        if watermarks.is_empty() {
            return Vec::new();
        }
        if session.layout() == Layout::Single {
            let command = stored_command(&session.scripts, watermarks);
            return parse_stored(self.calls.call(session, command).await, watermarks.len());
        }
        // A call in a cluster has keys of one slot only. Each publishes its own notice.
        let calls = watermarks.chunks(1);
        let commands = calls.map(|watermark| stored_command(&session.scripts, watermark)).collect();
        let answers = self.calls.call_each(session, commands).await;
        answers.into_iter().flat_map(|answer| parse_stored(answer, 1)).collect()
    }

    /// Stops using a session for partitions that PostgreSQL has in a later epoch. The next command for one of them
    /// opens another session.
    pub fn end_partitions(&self, session: &Arc<Session>, partitions: PartitionSet) {
        self.calls.sessions.end_partitions(session, partitions);
    }

    /// Writes a room's head for the present epoch, if the room's hash still has the epoch and seq that the caller has
    /// read (`expected`; `None` if there was no hash). Returns false, and writes nothing, if the hash has changed.
    pub async fn write_seed(
        &self,
        session: &Arc<Session>,
        room: &RoomId,
        expected: Option<(Epoch, Seq)>,
        head: &RoomHead,
        survived: Survival,
    ) -> Result<bool, AppendError> {
        let mut command = redis::cmd("EVALSHA");
        command.arg(&session.scripts.seed.sha);
        let check_keys = session.scripts.check_keys(Partition::of(room));
        arguments!(command, "seed.lua", KEYS[check_keys]: room_key = keys::room(room), tail_key = keys::tail(room));
        arguments!(command, "seed.lua", ARGV:
            known_epoch = expected.map_or_else(String::new, |(epoch, _)| epoch.to_string()),
            known_seq = expected.map_or_else(String::new, |(_, seq)| seq.to_string()),
            seq = head.seq.0,
            bases = head.bases.clone().merged().encode(),
            survives = survived as i32,
        );
        command.arg("kind").arg(&head.kind).arg("name").arg(head.name.as_deref().unwrap_or(""));
        command.arg("members").arg(head.members).arg("archived").arg(i32::from(head.archived));
        command.arg("slow_mode_s").arg(head.slow_mode_s);
        let answer = self.calls.call(session, command).await?;
        let answer: String = redis::from_redis_value(answer).map_err(unavailable)?;
        Ok(answer == "ok")
    }
}

/// Creates the call that writes the watermarks of partitions.
fn stored_command(scripts: &Scripts, watermarks: &[WatermarkUpdate]) -> redis::Cmd {
    let check_keys = watermarks.first().map_or_else(Vec::new, |first| scripts.check_keys(first.partition));
    let mut command = redis::cmd("EVALSHA");
    command.arg(&scripts.stored.sha).arg(4 * watermarks.len() + check_keys.len());
    for WatermarkUpdate { partition, .. } in watermarks {
        let exceptions = partition.exceptions();
        command.arg(partition.stored()).arg(partition.ingest());
        command.arg(&exceptions).arg(format!("{exceptions}:old"));
    }
    command.arg(&check_keys);
    for WatermarkUpdate { watermark, proof, exceptions, .. } in watermarks {
        let proof = proof.as_ref().map_or_else(String::new, |(room, seq)| format_proof(room, *seq));
        command.arg(watermark.to_string()).arg(proof).arg(exceptions.len());
        for (at, outcome) in exceptions {
            command.arg(at).arg(outcome);
        }
    }
    command
}

/// Reads the answer to a call with `count` watermarks.
fn parse_stored(answer: Result<Value, AppendError>, count: usize) -> Vec<Result<bool, AppendError>> {
    let answers: Result<Vec<String>, AppendError> =
        answer.and_then(|answers| redis::from_redis_value(answers).map_err(unavailable));
    match answers {
        Ok(answers) if answers.len() == count => {
            let parse = |answer: String| match answer.as_str() {
                "ok" => Ok(true),
                "newer" => Ok(false),
                _ => Err(AppendError::Unavailable(answer)),
            };
            answers.into_iter().map(parse).collect()
        }
        Ok(_) => vec![Err(unavailable("Redis sent the wrong number of answers")); count],
        Err(error) => vec![Err(error); count],
    }
}

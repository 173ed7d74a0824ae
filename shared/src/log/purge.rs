//! Removes data from Redis that was erased or expired in PostgreSQL: tails, and the last stored record that an ingest
//! stream keeps. Also blocks appends of a user who is being erased. After a tail is dropped, its events are read from
//! PostgreSQL.

use redis::Value;

use super::{
    append::{Accepted, AppendError},
    calls::unavailable,
    commands::Log,
    keys::{self, Partition},
    record::{Header, IngestId, TYPE_MARKS},
};
use crate::ids::{RoomId, Seq, UserId};

/// How long appends of an erased user stay blocked. No request that was admitted before the erasure takes that long.
const ERASED_TTL_S: u64 = 2 * 3600;

impl Log {
    /// Blocks appends of this user in all rooms for two hours, except the events by which the user leaves a room. After
    /// an error appends may or may not be blocked.
    pub async fn block_appends(&self, user: &UserId) -> Result<(), AppendError> {
        for session in self.sessions().await.map_err(unavailable)? {
            let mut pipe = redis::pipe();
            for partition in session.partitions.iter() {
                let key = partition.erased(user.as_str());
                pipe.cmd("SET").arg(key).arg(1).arg("EX").arg(ERASED_TTL_S).ignore();
            }
            let () = self.calls.pipeline(&session, &pipe).await?;
        }
        Ok(())
    }

    /// Empties the tails of rooms. After an error some or all of the tails may be empty. The keys stay, so that they
    /// keep their expiry.
    pub async fn drop_tails(&self, rooms: &[RoomId]) -> Result<(), AppendError> {
        let by_session = self.group_by_session(rooms.iter().collect(), |room| Partition::of(room)).await;
        for (session, rooms) in by_session.map_err(unavailable)? {
            let mut pipe = redis::pipe();
            for room in rooms {
                pipe.cmd("XTRIM").arg(keys::tail(room)).arg("MAXLEN").arg(0).ignore();
            }
            let () = self.calls.pipeline(&session, &pipe).await?;
        }
        Ok(())
    }

    /// The first seq in a room's tail, or `None` if there is no tail.
    pub async fn first_tail_seq(&self, room: &RoomId) -> Result<Option<Seq>, AppendError> {
        let mut range = redis::cmd("XRANGE");
        range.arg(keys::tail(room)).arg("-").arg("+");
        let first = self.first_entry_id(Partition::of(room), range).await?;
        Ok(first.and_then(|id| id.split_once('-')?.0.parse().ok()).map(Seq))
    }

    /// The id of the last record in a partition's ingest stream, or `None` if the stream is empty.
    pub async fn last_ingest_id(&self, partition: Partition) -> Result<Option<IngestId>, AppendError> {
        let mut range = redis::cmd("XREVRANGE");
        range.arg(partition.ingest()).arg("+").arg("-");
        let last = self.first_entry_id(partition, range).await?;
        Ok(last.and_then(|id| id.parse().ok()))
    }

    async fn first_entry_id(
        &self,
        partition: Partition,
        mut range: redis::Cmd,
    ) -> Result<Option<String>, AppendError> {
        let session = self.session(partition).await.map_err(unavailable)?;
        range.arg("COUNT").arg(1);
        let answer = self.calls.call(&session, range).await?;
        let entries: Vec<(String, Value)> = redis::from_redis_value(answer).map_err(unavailable)?;
        Ok(entries.into_iter().next().map(|(id, _)| id))
    }

    /// Appends an empty record to the ingest stream of a room's partition. When the returned record is stored, the
    /// stream contains no earlier record.
    pub async fn append_blank(&self, room: &RoomId) -> Result<Accepted, AppendError> {
        let session = self.session_of(room).await.map_err(unavailable)?;
        let header = Header { room: room.as_str(), kind: TYPE_MARKS, ..Header::default() }.encode();
        let mut command = redis::cmd("EVALSHA");
        let check_keys = session.scripts.check_keys(Partition::of(room));
        command.arg(&session.scripts.blank.sha).arg(1 + check_keys.len()).arg(Partition::of(room).ingest());
        command.arg(&check_keys).arg(header);
        let answer = self.calls.call(&session, command).await?;
        let (at_ms, ingest): (i64, String) = redis::from_redis_value(answer).map_err(unavailable)?;
        let ingest = Some(ingest.parse().map_err(unavailable)?);
        let epoch = session.epoch;
        Ok(Accepted { seq: Seq(0), epoch, at_ms, ingest, id: String::new(), duplicate: false })
    }
}

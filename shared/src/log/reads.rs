//! Reads heads and tails of rooms from Redis.

use super::{
    append::AppendError,
    calls::unavailable,
    commands::{Log, MAX_ATTEMPTS, head_keeps_changing},
    keys,
    tail::{self, TailRead},
    timing::RoundTrip,
};
use crate::ids::{Epoch, RoomId, Seq};

impl Log {
    /// Reads a room's head, and with `after` the records of the tail after this position, in one pipeline.
    ///
    /// `not_before` is an epoch that the caller has seen in this room: a head of an older epoch is not used. `process`
    /// is the Redis process that sends the caller hints: data of another process would not fit these hints. `users` are
    /// the users whose marks are wanted. They are read together with the head, so that a removed user cannot receive
    /// later records.
    pub async fn read(
        &self,
        room: &RoomId,
        after: Option<Seq>,
        not_before: Epoch,
        process: Option<&str>,
        users: &[&str],
    ) -> Result<TailRead, AppendError> {
        for _ in 0..MAX_ATTEMPTS {
            let session = self.calls.sessions.get().await.map_err(unavailable)?;
            if process.is_some_and(|process| process != session.run_id) {
                // The session and the caller's subscription use two Redis processes, and one of these is not in use any
                // more. Only a new connection can show which one.
                self.calls.sessions.discard(&session);
                return Err(AppendError::OtherProcess);
            }
            // No MULTI, because Redis refuses it when its memory is full. Records above the head, which was read
            // first, are removed below instead.
            let mut pipe = redis::pipe();
            pipe.cmd("HMGET").arg(keys::room(room)).arg(&tail::HASH_FIELDS);
            for user in users {
                pipe.arg(tail::mark_field(user));
            }
            if let Some(after) = after {
                pipe.cmd("XRANGE").arg(keys::tail(room)).arg(format!("{}-0", after.next())).arg("+");
            }
            let (fields, entries): (Vec<Option<String>>, tail::TailEntries) = match after {
                Some(_) => self.timed(RoundTrip::Read, self.calls.pipeline(&session, &pipe)).await?,
                None => {
                    let (fields,) = self.timed(RoundTrip::Read, self.calls.pipeline(&session, &pipe)).await?;
                    (fields, tail::TailEntries::new())
                }
            };
            match tail::head_of(fields) {
                Some((head, marks)) if head.epoch == session.epoch && head.epoch >= not_before => {
                    let mut records = tail::records_of(entries);
                    records.retain(|record| record.seq <= head.seq && record.epoch <= head.epoch);
                    return Ok(TailRead { head, records, marks });
                }
                Some((head, _)) if head.epoch >= session.epoch => {
                    // The head or `not_before` has a later epoch than the session: open a new session.
                    self.calls.sessions.discard(&session);
                }
                _ => self.seed(&session, room).await?,
            }
        }
        Err(head_keeps_changing())
    }

    /// The heads of rooms in Redis; `None`: there is no hash of the session's epoch.
    pub async fn heads(&self, rooms: &[RoomId]) -> Result<Vec<Option<(Epoch, Seq)>>, AppendError> {
        let session = self.calls.sessions.get().await.map_err(unavailable)?;
        let mut pipe = redis::pipe();
        for room in rooms {
            pipe.cmd("HMGET").arg(keys::room(room)).arg("epoch").arg("seq");
        }
        let heads: Vec<(Option<u64>, Option<u64>)> =
            self.timed(RoundTrip::Heads, self.calls.pipeline(&session, &pipe)).await?;
        let head = |(epoch, seq): (Option<u64>, Option<u64>)| Some((Epoch(epoch?), Seq(seq?)));
        let is_current = |(epoch, _): &(Epoch, Seq)| *epoch == session.epoch;
        Ok(heads.into_iter().map(|read| head(read).filter(is_current)).collect())
    }
}

//! Reading rooms from Redis: heads and tails.

use super::{
    append::AppendError,
    commands::{Log, ROUNDS, unavailable},
    keys,
    tail::{self, TailRead},
    timing::Step,
};
use crate::ids::{Epoch, RoomId, Seq};

impl Log {
    /// Reads a room's head, and with `after` the tail's records behind it, in one go.
    ///
    /// `not_before` is an epoch that the caller has seen of this room: an older head answers nothing. `process` is
    /// the process that the caller is subscribed to; another one's data would not join up with its hints. `users`
    /// are those whose marks are wanted: read with the head, so that nobody is shown what came after they went.
    ///
    /// # Errors
    /// [`AppendError::NoSuchRoom`] or [`AppendError::Unavailable`].
    pub async fn read(
        &self,
        room: &RoomId,
        after: Option<Seq>,
        not_before: Epoch,
        process: Option<&str>,
        users: &[&str],
    ) -> Result<TailRead, AppendError> {
        for _ in 0..ROUNDS {
            let session = self.sessions.get().await.map_err(unavailable)?;
            if process.is_some_and(|process| process != session.run_id) {
                // One of the two connections leads to a process that is no longer the one in use; which, only a new
                // connection can tell.
                self.sessions.discard(&session);
                return Err(AppendError::OtherProcess);
            }
            // Not in a MULTI, which Redis refuses when its memory is full: what the tail tells beyond the head that
            // was read before it is left out.
            let mut pipe = redis::pipe();
            pipe.cmd("HMGET").arg(keys::room(room)).arg(&tail::HASH_FIELDS);
            for user in users {
                pipe.arg(tail::mark_field(user));
            }
            if let Some(after) = after {
                pipe.cmd("XRANGE").arg(keys::tail(room)).arg(format!("{}-0", after.next())).arg("+");
            }
            let mut connection = session.connection();
            let answers = match after {
                Some(_) => self.timed(Step::Read, pipe.query_async(&mut connection)).await,
                None => self
                    .timed(Step::Read, pipe.query_async(&mut connection))
                    .await
                    .map(|(fields,)| (fields, tail::TailEntries::new())),
            };
            let (fields, entries): (Vec<Option<String>>, tail::TailEntries) =
                answers.map_err(|error| self.give_up(&session, &error))?;
            match tail::head_of(fields) {
                Some((head, marks)) if head.epoch == session.epoch && head.epoch >= not_before => {
                    let mut records = tail::records_of(entries);
                    records.retain(|record| record.seq <= head.seq && record.epoch <= head.epoch);
                    return Ok(TailRead { head, records, marks });
                }
                Some((head, _)) if head.epoch >= session.epoch => {
                    // Another life of this process, or of the room, than the session's: open it anew.
                    self.sessions.discard(&session);
                }
                _ => self.seed(&session, room).await?,
            }
        }
        Err(AppendError::Unavailable("the room's head does not settle".to_owned()))
    }

    /// The heads of rooms as they stand in Redis; `None`: there is no hash of the session's epoch.
    ///
    /// # Errors
    /// [`AppendError::Unavailable`].
    pub async fn heads(&self, rooms: &[RoomId]) -> Result<Vec<Option<(Epoch, Seq)>>, AppendError> {
        let session = self.sessions.get().await.map_err(unavailable)?;
        let mut pipe = redis::pipe();
        for room in rooms {
            pipe.cmd("HMGET").arg(keys::room(room)).arg("epoch").arg("seq");
        }
        let heads: Result<Vec<(Option<u64>, Option<u64>)>, _> =
            self.timed(Step::Heads, pipe.query_async(&mut session.connection())).await;
        let heads = heads.map_err(|error| self.give_up(&session, &error))?;
        let head = |(epoch, seq): (Option<u64>, Option<u64>)| Some((Epoch(epoch?), Seq(seq?)));
        Ok(heads
            .into_iter()
            .map(head)
            .map(|head| head.filter(|(epoch, _)| *epoch == session.epoch))
            .collect())
    }
}

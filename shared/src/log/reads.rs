//! Reads heads, tails and membership marks of rooms from Redis.

use std::sync::Arc;

use futures_util::future::join_all;

use super::{
    append::AppendError,
    calls::no_session,
    commands::{Log, MAX_ATTEMPTS, head_keeps_changing},
    keys::{self, Partition},
    moving::MoveRetry,
    session::Session,
    tail::{self, TailPart, TailRead},
    timing::RoundTrip,
};
use crate::{
    ids::{Epoch, RoomId, Seq},
    sabotage,
};

impl Log {
    /// Reads a room's head and, if `after` is given, the records of the tail after this seq, in one pipeline.
    ///
    /// `not_before` is an epoch in which the caller has already seen this room; a head of an older epoch is not
    /// returned. `process` is the Redis process that sends hints to the caller; data of another process would not fit
    /// these hints and is refused. The membership marks of `users` are read in the same command as the head, so that a
    /// removed user cannot receive later records.
    pub async fn read(
        &self,
        room: &RoomId,
        after: Option<Seq>,
        not_before: Epoch,
        process: Option<&str>,
        users: &[&str],
    ) -> Result<TailRead, AppendError> {
        let part = after.map(TailPart::all_after);
        self.read_part(room, part, not_before, process, users).await
    }

    /// Reads a room's head and, if `part` is given, this part of the tail: see [`Log::read`]. Uses the connection for
    /// reads, so that no append waits behind a tail. While the room's partition moves, the read is repeated.
    pub async fn read_part(
        &self,
        room: &RoomId,
        part: Option<TailPart>,
        not_before: Epoch,
        process: Option<&str>,
        users: &[&str],
    ) -> Result<TailRead, AppendError> {
        let mut moving = MoveRetry::default();
        loop {
            let result = self.try_read(room, part, not_before, process, users).await;
            if !moving.waits_after(&result).await {
                return result;
            }
        }
    }

    async fn try_read(
        &self,
        room: &RoomId,
        part: Option<TailPart>,
        not_before: Epoch,
        process: Option<&str>,
        users: &[&str],
    ) -> Result<TailRead, AppendError> {
        let accepts_any_epoch = sabotage::is_removed("a head of an earlier epoch is not answered");
        let not_before = if accepts_any_epoch { Epoch(0) } else { not_before };
        for _ in 0..MAX_ATTEMPTS {
            let session = self.session_of(room).await.map_err(no_session)?;
            if process.is_some_and(|process| process != session.run_id()) {
                // The session and the caller's subscription use different Redis processes, and only one of these
                // processes is still in use. A new connection shows which one.
                self.calls.sessions.discard(&session);
                return Err(AppendError::OtherProcess);
            }
            // MULTI is not used, because Redis refuses MULTI when memory is full. So the tail may be newer than the
            // head, and records above the head are removed below.
            let mut pipe = redis::pipe();
            pipe.cmd("HMGET").arg(keys::room(room)).arg(&tail::HEAD_FIELDS);
            for user in users {
                pipe.arg(tail::mark_field(user));
            }
            if let Some(TailPart { after, max_records }) = part {
                pipe.cmd("XRANGE").arg(keys::tail(room)).arg(format!("{}-0", after.next())).arg("+");
                if let Some(max_records) = max_records {
                    pipe.arg("COUNT").arg(max_records);
                }
            }
            let (fields, entries): (Vec<Option<String>>, tail::TailEntries) = match part {
                Some(_) => self.timed(RoundTrip::Read, self.calls.read(&session, &pipe)).await?,
                None => {
                    let (fields,) = self.timed(RoundTrip::Read, self.calls.read(&session, &pipe)).await?;
                    (fields, tail::TailEntries::new())
                }
            };
            match tail::parse_head(fields) {
                Some((head, marks)) if head.epoch == session.epoch && head.epoch >= not_before => {
                    let mut records = tail::parse_records(entries);
                    records.retain(|record| record.seq <= head.seq && record.epoch <= head.epoch);
                    return Ok(TailRead { head, records, marks });
                }
                Some((head, _)) if head.epoch >= session.epoch => {
                    // The session is out of date, because the head or `not_before` has a later epoch.
                    self.end_partition(&session, Partition::of(room));
                }
                _ => self.seed(&session, room).await?,
            }
        }
        Err(head_keeps_changing())
    }

    /// Reads the heads of rooms from Redis; `None` for a room that is not seeded in the present epoch, or whose shard
    /// has no session or does not answer. Fails if no shard answers.
    pub async fn heads(&self, rooms: &[RoomId]) -> Result<Vec<Option<(Epoch, Seq)>>, AppendError> {
        let numbered: Vec<(usize, &RoomId)> = rooms.iter().enumerate().collect();
        let mut by_session = self.group_by_current_session(numbered.clone(), |(_, room)| Partition::of(room));
        if by_session.is_empty() {
            let opened = self.group_by_session(numbered, |(_, room)| Partition::of(room)).await;
            by_session = opened.map_err(no_session)?;
        }
        let reads = by_session.iter().map(|(session, rooms)| self.heads_in_session(session, rooms));
        let (mut heads, mut answered, mut failure) = (vec![None; rooms.len()], false, None);
        for ((_, rooms), read) in by_session.iter().zip(join_all(reads).await) {
            match read {
                Ok(read) => {
                    answered = true;
                    rooms.iter().zip(read).for_each(|((index, _), head)| heads[*index] = head);
                }
                Err(error) => failure = Some(error),
            }
        }
        match failure {
            Some(error) if !answered => Err(error),
            _ => Ok(heads),
        }
    }

    /// [`Log::heads`] for rooms of one session.
    async fn heads_in_session(
        &self,
        session: &Arc<Session>,
        rooms: &[(usize, &RoomId)],
    ) -> Result<Vec<Option<(Epoch, Seq)>>, AppendError> {
        let mut pipe = redis::pipe();
        for (_, room) in rooms {
            pipe.cmd("HMGET").arg(keys::room(room)).arg("epoch").arg("seq");
        }
        let found: Vec<(Option<u64>, Option<u64>)> =
            self.timed(RoundTrip::Heads, self.calls.read(session, &pipe)).await?;
        let head = |(epoch, seq): (Option<u64>, Option<u64>)| Some((Epoch(epoch?), Seq(seq?)));
        let is_current = |(epoch, _): &(Epoch, Seq)| *epoch == session.epoch;
        Ok(found.into_iter().map(|found| head(found).filter(is_current)).collect())
    }
}

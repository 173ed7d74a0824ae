//! Collects the read and delivered marks of each room on this node for 500 ms, and moves them together. So a room needs
//! only one record per 500 ms for up to 500 marks, and each member gets at most one frame of receipts of each kind in
//! this time.
//!
//! The first mark of a room is moved at once. The marks of the next 500 ms are moved together. Collected marks are lost
//! if the process ends, so a client must repeat a mark that got no answer.

use std::{
    collections::{HashMap, hash_map::Entry},
    mem,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use tokio::{sync::oneshot, time::Instant};

use crate::{
    error::Refusal,
    ids::{RoomId, Seq, UserId},
    log::{Log, ReadMark, keys::Partition, stored::Stored},
    membership,
    people::{self, UserNotice},
};

/// How long marks of a room are collected, because one record per mark would be too expensive.
const COLLECT_FOR: Duration = Duration::from_millis(500);
/// Maximum number of marks in one record, so that a record is only a small part of a batch that persistence writes.
const MAX_MARKS_PER_RECORD: usize = 500;
/// Maximum number of callers who wait for a collected mark, in all rooms. Further marks are refused as overloaded.
const MAX_WAITING_MARKS: usize = 20_000;

/// The present position of the mark after it is stored, or why the mark was refused.
type MarkAnswer = Result<Seq, Refusal>;

/// The highest seq that callers want for one mark, and the senders of the answers to these callers.
#[derive(Default)]
struct CollectedMark {
    seq: Seq,
    senders: Vec<oneshot::Sender<MarkAnswer>>,
}

/// The collected marks of one room, by user and kind: true for a delivered mark, false for a read mark.
type RoomMarks = HashMap<(UserId, bool), CollectedMark>;

/// The collected marks of all rooms.
#[derive(Default)]
struct CollectedRooms {
    /// The collected marks of each room for which [`run_room`] runs.
    collected: HashMap<RoomId, RoomMarks>,
    /// Number of callers who wait for a collected mark.
    waiting: usize,
}

/// Collects and moves the marks of all rooms. All threads of a node share one instance.
pub struct Receipts {
    log: Arc<Log>,
    rooms: Mutex<CollectedRooms>,
    /// The runtime of the rooms' tasks. The runtime of a caller may end earlier.
    runtime: tokio::runtime::Handle,
}

impl Receipts {
    /// Creates the collector. Its tasks run on the current runtime.
    #[must_use]
    pub fn start(log: Arc<Log>) -> Arc<Self> {
        Arc::new(Self { log, rooms: Mutex::default(), runtime: tokio::runtime::Handle::current() })
    }

    fn rooms(&self) -> std::sync::MutexGuard<'_, CollectedRooms> {
        // A poisoned lock is usable, because no code that holds the lock can panic in the middle of a change.
        self.rooms.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Moves a member's read or delivered mark forward to `seq`, but never back. Waits until the mark is stored, and
    /// returns its present position. Refuses with `not_found` if the user is not a member.
    pub async fn mark(
        self: &Arc<Self>,
        room: &RoomId,
        user: &UserId,
        seq: Seq,
        delivered: bool,
    ) -> MarkAnswer {
        let (answer, stored) = oneshot::channel();
        {
            let mut rooms = self.rooms();
            if rooms.waiting >= MAX_WAITING_MARKS {
                return Err(Refusal::overloaded("too many marks are waiting; repeat this one"));
            }
            rooms.waiting += 1;
            let collected = match rooms.collected.entry(room.clone()) {
                Entry::Occupied(collected) => collected.into_mut(),
                Entry::Vacant(vacant) => {
                    self.runtime.spawn(run_room(self.clone(), room.clone()));
                    vacant.insert(RoomMarks::default())
                }
            };
            let mark = collected.entry((user.clone(), delivered)).or_default();
            mark.seq = mark.seq.max(seq);
            mark.senders.push(answer);
        }
        stored.await.unwrap_or_else(|_| Err(Refusal::unavailable("the service is stopping; repeat the mark")))
    }

    /// Removes and returns a room's collected marks. If there are none, and `keep_room` is false, also removes the
    /// room.
    fn take_collected(&self, room: &RoomId, keep_room: bool) -> Option<RoomMarks> {
        let mut rooms = self.rooms();
        let collected = rooms.collected.get_mut(room).map(mem::take).unwrap_or_default();
        rooms.waiting -= collected.values().map(|mark| mark.senders.len()).sum::<usize>();
        if collected.is_empty() && !keep_room {
            rooms.collected.remove(room);
            return None;
        }
        Some(collected)
    }

    /// Moves marks, and spawns a task that answers the callers when the marks are stored. Returns the time after which
    /// waiting receipts may be published, or `None` if no receipts wait.
    async fn move_marks(self: &Arc<Self>, room: &RoomId, collected: RoomMarks) -> Option<Duration> {
        let mark = |((user, delivered), CollectedMark { seq, senders })| {
            (ReadMark { user, seq, delivered }, senders)
        };
        let mut rest: Vec<_> = collected.into_iter().map(mark).collect();
        let mut receipts_due_in = None;
        // The log is called even without marks, because a call without marks publishes waiting receipts.
        loop {
            let next = rest.drain(..MAX_MARKS_PER_RECORD.min(rest.len()));
            let (marks, senders): (Vec<ReadMark>, Vec<_>) = next.unzip();
            match self.log.mark(room, &marks).await {
                Ok(mut marked) => {
                    receipts_due_in = marked.receipts_due_in;
                    self.publish_notices(mem::take(&mut marked.notices)).await;
                    if !marks.is_empty() {
                        let (receipts, room) = (self.clone(), room.clone());
                        tokio::spawn(async move {
                            receipts.answer_when_stored(&room, &marks, marked, senders).await
                        });
                    }
                }
                Err(error) => {
                    let refusal = Refusal::from(error);
                    senders.into_iter().flatten().for_each(|sender| drop(sender.send(Err(refusal.clone()))));
                }
            }
            if rest.is_empty() {
                return receipts_due_in;
            }
        }
    }

    /// Publishes read marks on the channels of their users. A notice that is not published is lost, and the user's
    /// other devices read the mark later.
    async fn publish_notices(&self, notices: Vec<(UserId, Bytes)>) {
        let parse = |(user, payload): (UserId, Bytes)| Some((user, UserNotice::parse(&payload)?));
        let notices: Vec<(UserId, UserNotice)> = notices.into_iter().filter_map(parse).collect();
        for (session, notices) in
            self.log.group_by_current_session(notices, |(user, _)| Partition::of_user(user))
        {
            let notices = notices.iter().map(|notice| (&notice.0, &notice.1));
            if let Err(error) = people::publish(&mut session.connection(), notices).await {
                tracing::debug!(kind = ?error.kind(), code = error.code(), "publishing read marks failed");
                self.log.discard_if_unusable(&session, &error);
            }
        }
    }

    async fn answer_when_stored(
        &self,
        room: &RoomId,
        marks: &[ReadMark],
        marked: crate::log::MarkResult,
        senders: Vec<Vec<oneshot::Sender<MarkAnswer>>>,
    ) {
        let stored = self.log.wait_stored(room, &marked.accepted).await;
        let position = |index: usize| marked.positions.get(index).copied().flatten();
        if stored == Stored::AsAccepted {
            let read = marks.iter().enumerate().filter(|(_, mark)| !mark.delivered);
            let read = read.filter_map(|(index, mark)| Some((&mark.user, mark.seq, position(index)?)));
            // If the stored mark is above the requested seq, this request did not move the mark.
            let moved = read.filter(|(_, asked, seq)| seq <= asked).map(|(user, _, seq)| (user, seq));
            self.advance_cached_reads(room, moved.collect()).await;
        }
        for (index, senders) in senders.into_iter().enumerate() {
            let answer = match (&stored, position(index)) {
                (_, None) => Err(Refusal::not_found("room")),
                (Stored::AsAccepted, Some(seq)) => Ok(seq),
                _ => Err(Refusal::unavailable("the mark is not known to be stored; repeat it")),
            };
            // Sending fails if the caller was cancelled, e.g. because its connection was closed.
            senders.into_iter().for_each(|sender| drop(sender.send(answer.clone())));
        }
    }

    /// Moves the read positions in the membership cache, which are shown in answers to joins. Does nothing if Redis is
    /// not reachable, because the cache is later filled again with the stored read positions.
    async fn advance_cached_reads(&self, room: &RoomId, read: Vec<(&UserId, Seq)>) {
        for (session, read) in self.log.group_by_current_session(read, |(user, _)| Partition::of_user(user)) {
            let advanced = membership::advance_read(&mut session.connection(), room, read).await;
            if let Err(error) = advanced {
                tracing::debug!(kind = ?error.kind(), code = error.code(), "moving cached read marks failed");
                self.log.discard_if_unusable(&session, &error);
            }
        }
    }
}

/// Moves the collected marks of a room every 500 ms, until there are neither collected marks nor waiting receipts.
async fn run_room(receipts: Arc<Receipts>, room: RoomId) {
    let mut receipts_due_in = None;
    while let Some(collected) = receipts.take_collected(&room, receipts_due_in.is_some()) {
        let next = Instant::now() + COLLECT_FOR;
        receipts_due_in = receipts.move_marks(&room, collected).await;
        tokio::time::sleep_until(next.max(Instant::now() + receipts_due_in.unwrap_or_default())).await;
    }
}

//! Collects read and delivered marks per room over the whole node, and moves them together. So in 500 ms a room costs
//! one record for up to 500 marks, and each of its members gets one frame of receipts of each kind.
//!
//! The first mark of a room is moved at once, those of the next 500 ms together. Marks in memory are lost if the
//! process ends: a client must repeat a mark that got no answer.

use std::{
    collections::{HashMap, hash_map::Entry},
    mem,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::{sync::oneshot, time::Instant};

use crate::{
    error::Refusal,
    ids::{RoomId, Seq, UserId},
    log::{Log, ReadMark, stored::Stored},
    membership,
};

/// How long marks of a room are collected; one record per receipt would be too expensive.
const COLLECT_FOR: Duration = Duration::from_millis(500);
/// Most marks in one record, so that a record stays a small part of a batch of persistence.
const MARKS_PER_RECORD: usize = 500;
/// Most marks of all rooms that may wait; further marks are refused as overloaded.
const MAX_WAITING_MARKS: usize = 20_000;

/// The position of the mark, once it is stored.
type Answer = Result<Seq, Refusal>;

#[derive(Default)]
struct Mark {
    seq: Seq,
    waiting: Vec<oneshot::Sender<Answer>>,
}

type Collected = HashMap<(UserId, bool), Mark>;

#[derive(Default)]
struct Rooms {
    /// The marks of each room that has a task.
    collected: HashMap<RoomId, Collected>,
    waiting: usize,
}

/// Collects and moves the marks of all rooms. All threads of a node share it.
pub struct Receipts {
    log: Arc<Log>,
    rooms: Mutex<Rooms>,
    /// The tasks of rooms run on this runtime, whichever thread sends marks.
    runtime: tokio::runtime::Handle,
}

impl Receipts {
    /// Uses the current runtime.
    #[must_use]
    pub fn start(log: Arc<Log>) -> Arc<Self> {
        Arc::new(Self { log, rooms: Mutex::default(), runtime: tokio::runtime::Handle::current() })
    }

    fn rooms(&self) -> std::sync::MutexGuard<'_, Rooms> {
        // A poisoned lock is usable: it is held only for map operations, and none of them can panic half-way through a
        // change.
        self.rooms.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Moves a member's read or delivered mark forward, never back. Returns its position when it is stored. Refuses with
    /// `not_found` if the user is not a member any more.
    pub async fn mark(self: &Arc<Self>, room: &RoomId, user: &UserId, seq: Seq, delivered: bool) -> Answer {
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
                    vacant.insert(Collected::default())
                }
            };
            let mark = collected.entry((user.clone(), delivered)).or_default();
            mark.seq = mark.seq.max(seq);
            mark.waiting.push(answer);
        }
        stored.await.unwrap_or_else(|_| Err(Refusal::unavailable("the service is stopping; repeat the mark")))
    }

    /// Takes the collected marks of a room. If there are none and `stay` is false, forgets the room and returns `None`.
    fn take(&self, room: &RoomId, stay: bool) -> Option<Collected> {
        let mut rooms = self.rooms();
        let collected = rooms.collected.get_mut(room).map(mem::take).unwrap_or_default();
        rooms.waiting -= collected.values().map(|mark| mark.waiting.len()).sum::<usize>();
        if collected.is_empty() && !stay {
            rooms.collected.remove(room);
            return None;
        }
        Some(collected)
    }

    /// Moves marks, and spawns a task that waits until they are stored. Returns how long receipts wait.
    async fn move_marks(self: &Arc<Self>, room: &RoomId, collected: Collected) -> Option<Duration> {
        let mark = |((user, delivered), Mark { seq, waiting })| (ReadMark { user, seq, delivered }, waiting);
        let mut rest: Vec<_> = collected.into_iter().map(mark).collect();
        let mut receipts_due_in = None;
        // Calls the log at least once: a call without marks publishes waiting receipts.
        loop {
            let next = rest.drain(..MARKS_PER_RECORD.min(rest.len()));
            let (marks, waiting): (Vec<ReadMark>, Vec<_>) = next.unzip();
            match self.log.mark(room, &marks).await {
                Ok(marked) => {
                    receipts_due_in = marked.receipts_due_in;
                    if !marks.is_empty() {
                        let (receipts, room) = (self.clone(), room.clone());
                        tokio::spawn(async move {
                            receipts.answer_when_stored(&room, &marks, marked, waiting).await
                        });
                    }
                }
                Err(error) => {
                    let refusal = Refusal::from(error);
                    waiting
                        .into_iter()
                        .flatten()
                        .for_each(|waiting| drop(waiting.send(Err(refusal.clone()))));
                }
            }
            if rest.is_empty() {
                return receipts_due_in;
            }
        }
    }

    async fn answer_when_stored(
        &self,
        room: &RoomId,
        marks: &[ReadMark],
        marked: crate::log::Marked,
        waiting: Vec<Vec<oneshot::Sender<Answer>>>,
    ) {
        let stored = self.log.wait_stored(room, &marked.accepted).await;
        let position = |index: usize| marked.positions.get(index).copied().flatten();
        if stored == Stored::Here {
            let read = marks.iter().enumerate().filter(|(_, mark)| !mark.delivered);
            let read = read.filter_map(|(index, mark)| Some((&mark.user, mark.seq, position(index)?)));
            // If the stored mark is above the requested seq, this request did not move it.
            let moved = read.filter(|(_, asked, seq)| seq <= asked).map(|(user, _, seq)| (user, seq));
            self.advance_cached(room, moved).await;
        }
        for (index, waiting) in waiting.into_iter().enumerate() {
            let answer = match (&stored, position(index)) {
                (_, None) => Err(Refusal::not_found("room")),
                (Stored::Here, Some(seq)) => Ok(seq),
                _ => Err(Refusal::unavailable("the mark is not known to be stored; repeat it")),
            };
            // The connection may be closed.
            waiting.into_iter().for_each(|waiting| drop(waiting.send(answer.clone())));
        }
    }

    /// Moves the read positions in the membership cache, which joins show. Does nothing if Redis is not reachable,
    /// because the stored marks decide, and the next fill of the cache reads them.
    async fn advance_cached<'a>(&self, room: &RoomId, read: impl Iterator<Item = (&'a UserId, Seq)>) {
        let Some(session) = self.log.current_session() else { return };
        let advanced = membership::advance_read(&mut session.connection(), room, read).await;
        if let Err(error) = advanced {
            tracing::debug!(kind = ?error.kind(), code = error.code(), "moving cached read marks failed");
            self.log.failed(&session, &error);
        }
    }
}

/// Moves the collected marks of a room every 500 ms, until there are no marks and no waiting receipts.
async fn run_room(receipts: Arc<Receipts>, room: RoomId) {
    let mut receipts_due_in = None;
    while let Some(collected) = receipts.take(&room, receipts_due_in.is_some()) {
        let next = Instant::now() + COLLECT_FOR;
        receipts_due_in = receipts.move_marks(&room, collected).await;
        tokio::time::sleep_until(next.max(Instant::now() + receipts_due_in.unwrap_or_default())).await;
    }
}

//! Read and delivered marks on their way into the log: gathered per room over the whole node, so that each room costs
//! one record and each of its members one frame of receipts in 500 ms.
//!
//! The first mark of a room goes at once, those of the next 500 ms go together. Not kept over the end of the process:
//! a mark without an answer is to be repeated.

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

/// How long marks of a room gather: a receipt is not worth a record of its own.
const GATHER: Duration = Duration::from_millis(500);
/// Marks in one record: it stays a small part of what a batch of persistence may hold.
const MARKS_PER_RECORD: usize = 500;
/// Marks of all rooms that may gather at one time; above it they are refused as overloaded.
const MAX_GATHERED: usize = 20_000;

/// Where the mark stands now, once that is stored.
type Answer = Result<Seq, Refusal>;

/// What gathers for one user's mark of one kind.
#[derive(Default)]
struct Mark {
    seq: Seq,
    waiting: Vec<oneshot::Sender<Answer>>,
}

type Gathering = HashMap<(UserId, bool), Mark>;

#[derive(Default)]
struct Rooms {
    /// Rooms with a task.
    gathering: HashMap<RoomId, Gathering>,
    /// Who waits in all of them.
    waiting: usize,
}

/// See the module. Shared by all threads of a node.
pub struct Receipts {
    log: Arc<Log>,
    rooms: Mutex<Rooms>,
    /// Rooms are looked after on this runtime, whichever thread marks.
    runtime: tokio::runtime::Handle,
}

impl Receipts {
    /// Gathers on the present runtime.
    #[must_use]
    pub fn start(log: Arc<Log>) -> Arc<Self> {
        Arc::new(Self { log, rooms: Mutex::default(), runtime: tokio::runtime::Handle::current() })
    }

    fn rooms(&self) -> std::sync::MutexGuard<'_, Rooms> {
        // Held for map operations only, and none of them can panic half-way through a change.
        self.rooms.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Moves a member's read or delivered mark forward, never back. Resolves when it is stored, with where it stands.
    ///
    /// # Errors
    /// `not_found` for who is not a member any more; what the log refuses.
    pub async fn mark(self: &Arc<Self>, room: &RoomId, user: &UserId, seq: Seq, delivered: bool) -> Answer {
        let (answer, stored) = oneshot::channel();
        {
            let mut rooms = self.rooms();
            if rooms.waiting >= MAX_GATHERED {
                return Err(Refusal::overloaded("too many marks are on their way; repeat this one"));
            }
            rooms.waiting += 1;
            let gathering = match rooms.gathering.entry(room.clone()) {
                Entry::Occupied(gathering) => gathering.into_mut(),
                Entry::Vacant(vacant) => {
                    self.runtime.spawn(look_after(self.clone(), room.clone()));
                    vacant.insert(Gathering::default())
                }
            };
            let mark = gathering.entry((user.clone(), delivered)).or_default();
            mark.seq = mark.seq.max(seq);
            mark.waiting.push(answer);
        }
        stored.await.unwrap_or_else(|_| Err(Refusal::unavailable("the service is stopping; repeat the mark")))
    }

    /// What gathered in a room. `None`: nothing, and `stay` does not say that there will be something to do; then the
    /// room is forgotten.
    fn take(&self, room: &RoomId, stay: bool) -> Option<Gathering> {
        let mut rooms = self.rooms();
        let gathered = rooms.gathering.get_mut(room).map(mem::take).unwrap_or_default();
        rooms.waiting -= gathered.values().map(|mark| mark.waiting.len()).sum::<usize>();
        if gathered.is_empty() && !stay {
            rooms.gathering.remove(room);
            return None;
        }
        Some(gathered)
    }

    /// Moves marks, and lets a task wait for them to be stored. What is returned: receipts wait for so long.
    async fn move_marks(self: &Arc<Self>, room: &RoomId, gathered: Gathering) -> Option<Duration> {
        let (mut marks, mut waiting) =
            (Vec::with_capacity(gathered.len()), Vec::with_capacity(gathered.len()));
        for ((user, delivered), mark) in gathered {
            marks.push(ReadMark { user, seq: mark.seq, delivered });
            waiting.push(mark.waiting);
        }
        let mut held = None;
        // Without marks there is one call too: it publishes receipts that wait.
        for part in 0..marks.len().div_ceil(MARKS_PER_RECORD).max(1) {
            let rest = waiting.split_off(MARKS_PER_RECORD.min(waiting.len()));
            let waiting = mem::replace(&mut waiting, rest);
            let part = &marks[(part * MARKS_PER_RECORD).min(marks.len())..];
            let part = &part[..part.len().min(MARKS_PER_RECORD)];
            match self.log.mark(room, part).await {
                Ok(marked) => {
                    held = marked.held;
                    if !part.is_empty() {
                        let (receipts, room, part) = (self.clone(), room.clone(), part.to_vec());
                        tokio::spawn(async move {
                            receipts.answer_when_stored(&room, &part, marked, waiting).await
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
        }
        held
    }

    async fn answer_when_stored(
        &self,
        room: &RoomId,
        marks: &[ReadMark],
        marked: crate::log::Marked,
        waiting: Vec<Vec<oneshot::Sender<Answer>>>,
    ) {
        let stored = self.log.wait_stored(room, &marked.accepted).await;
        let stands = |index: usize| marked.stands.get(index).copied().flatten();
        if stored == Stored::Here {
            let read = marks.iter().enumerate().filter(|(_, mark)| !mark.delivered);
            let read = read.filter_map(|(index, mark)| Some((&mark.user, mark.seq, stands(index)?)));
            // One that stands above what was asked for did not move.
            let moved = read.filter(|(_, asked, seq)| seq <= asked).map(|(user, _, seq)| (user, seq));
            self.advance_cached(room, moved).await;
        }
        for (index, waiting) in waiting.into_iter().enumerate() {
            let answer = match (&stored, stands(index)) {
                (_, None) => Err(Refusal::not_found("room")),
                (Stored::Here, Some(seq)) => Ok(seq),
                _ => Err(Refusal::unavailable("the mark is not known to be stored; repeat it")),
            };
            // A connection that went away needs no answer.
            waiting.into_iter().for_each(|waiting| drop(waiting.send(answer.clone())));
        }
    }

    /// What a join tells of how far one has read. Left as it is when Redis is out of reach: what is stored counts,
    /// and the next fill reads it.
    async fn advance_cached<'a>(&self, room: &RoomId, read: impl Iterator<Item = (&'a UserId, Seq)>) {
        let Some(session) = self.log.current_session() else { return };
        let advanced = membership::advance_read(&mut session.connection(), room, read).await;
        if let Err(error) = advanced {
            tracing::debug!(kind = ?error.kind(), code = error.code(), "moving cached read marks failed");
            self.log.failed(&session, &error);
        }
    }
}

/// Moves what gathers in a room, every 500 ms while there is something.
async fn look_after(receipts: Arc<Receipts>, room: RoomId) {
    let mut held = None;
    while let Some(gathered) = receipts.take(&room, held.is_some()) {
        let next = Instant::now() + GATHER;
        held = receipts.move_marks(&room, gathered).await;
        tokio::time::sleep_until(next.max(Instant::now() + held.unwrap_or_default())).await;
    }
}

//! Read and delivered marks, gathered per room: the first goes at once, those of the next 500 ms go together as one record.

use std::{collections::HashMap, mem, rc::Rc, time::Duration};

use rustc_hash::FxHashMap;
use tidings_shared::{
    error::Refusal,
    ids::{RoomId, Seq, UserId},
    log::{ReadMark, stored::Stored},
};
use tokio::sync::oneshot;

use super::Worker;

/// How long marks of a room gather: a receipt is not worth a record of its own.
const GATHER: Duration = Duration::from_millis(500);

/// Marks in one record: it stays a small part of what a batch of persistence may hold.
const MARKS_PER_RECORD: usize = 500;

type Answer = Result<Seq, Refusal>;

/// Rooms whose marks gather now.
pub(super) type Marks = FxHashMap<RoomId, Gathering>;

#[derive(Default)]
pub(super) struct Gathering {
    marks: HashMap<(UserId, bool), Seq>,
    waiting: Vec<oneshot::Sender<Answer>>,
}

impl Worker {
    /// Moves a member's read or delivered mark forward. Resolves when that is stored, with the head it was clamped to.
    pub fn mark(
        self: &Rc<Self>,
        room: &RoomId,
        user: &UserId,
        seq: Seq,
        delivered: bool,
    ) -> oneshot::Receiver<Answer> {
        let (answer, stored) = oneshot::channel();
        let mut marks = self.marks.borrow_mut();
        let running = marks.contains_key(room);
        let gathering = marks.entry(room.clone()).or_default();
        let mark = gathering.marks.entry((user.clone(), delivered)).or_default();
        *mark = seq.max(*mark);
        gathering.waiting.push(answer);
        if !running {
            tokio::task::spawn_local(flush(self.clone(), room.clone()));
        }
        stored
    }
}

async fn flush(worker: Rc<Worker>, room: RoomId) {
    loop {
        let gathered = {
            let mut marks = worker.marks.borrow_mut();
            match marks.get_mut(&room) {
                Some(gathering) if !gathering.waiting.is_empty() => mem::take(gathering),
                _ => {
                    marks.remove(&room);
                    return;
                }
            }
        };
        tokio::task::spawn_local(append(worker.clone(), room.clone(), gathered));
        tokio::time::sleep(GATHER).await;
    }
}

async fn append(worker: Rc<Worker>, room: RoomId, gathered: Gathering) {
    let mark = |((user, delivered), seq)| ReadMark { user, seq, delivered };
    let marks: Vec<ReadMark> = gathered.marks.into_iter().map(mark).collect();
    let mut answer = Err(Refusal::unavailable("nothing was marked"));
    for marks in marks.chunks(MARKS_PER_RECORD) {
        answer = store(&worker, &room, marks).await;
        if answer.is_err() {
            break;
        }
    }
    for waiting in gathered.waiting {
        // A connection that went away needs no answer.
        let _ = waiting.send(answer.clone());
    }
}

async fn store(worker: &Worker, room: &RoomId, marks: &[ReadMark]) -> Answer {
    let log = &worker.node.bus.log;
    let marked = log.mark(room, marks).await?;
    match log.wait_stored(room, &marked.accepted).await {
        Stored::Here => Ok(marked.head),
        _ => Err(Refusal::unavailable("the mark is not known to be stored; repeat it")),
    }
}

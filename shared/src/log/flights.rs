//! Collects messages for one partition while a call for it is under way, and appends them with the next call: one
//! *flight* per partition at a time. Under load a call carries many messages; at rest a message flies alone, at once.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::oneshot;

use super::{
    append::AppendError,
    append_many::{self, Landed, UsualMessage},
    calls::{Calls, unavailable},
    keys::{PARTITIONS, Partition},
    timing::Step,
};
use crate::ids::{Epoch, RoomId};

/// Limits of one call. A larger group flies alone.
const MAX_MESSAGES: usize = 64;
const MAX_BYTES: usize = 256 * 1024;
/// Bytes of messages that may wait for a partition's next calls.
const MAX_WAITING_BYTES: usize = 16 * 1024 * 1024;

/// Messages of one room and one caller, which are appended in their order.
struct Group {
    /// The epoch of which the caller knows that no look-up of the client ids is needed.
    epoch: Epoch,
    room: RoomId,
    messages: Vec<UsualMessage>,
    /// Of the arguments of `messages`.
    bytes: usize,
    landed: oneshot::Sender<Result<Vec<Landed>, AppendError>>,
}

#[derive(Default)]
struct Waiting {
    groups: Vec<Group>,
    bytes: usize,
    flying: bool,
}

/// See the module.
pub struct Flights {
    calls: Arc<Calls>,
    max_backlog: u64,
    partitions: Vec<Mutex<Waiting>>,
}

impl Flights {
    pub(super) fn new(calls: Arc<Calls>, max_backlog: u64) -> Arc<Self> {
        let partitions = (0..PARTITIONS).map(|_| Mutex::default()).collect();
        Arc::new(Self { calls, max_backlog, partitions })
    }

    /// Appends messages of one room. The answer has one entry for each.
    ///
    /// # Errors
    /// [`AppendError::Unavailable`]: either all of them are in the log or none. [`AppendError::Overloaded`]: none.
    pub(super) async fn append(
        self: &Arc<Self>,
        epoch: Epoch,
        room: &RoomId,
        messages: Vec<UsualMessage>,
    ) -> Result<Vec<Landed>, AppendError> {
        let partition = Partition::of(room);
        let (landed, answer) = oneshot::channel();
        let bytes = messages.iter().map(UsualMessage::bytes).sum();
        let starts = {
            let mut waiting = self.waiting(partition);
            if waiting.bytes + bytes > MAX_WAITING_BYTES {
                return Err(AppendError::Overloaded);
            }
            waiting.bytes += bytes;
            waiting.groups.push(Group { epoch, room: room.clone(), messages, bytes, landed });
            !std::mem::replace(&mut waiting.flying, true)
        };
        if starts {
            // A task of its own, because a caller that is cancelled must not stop the messages of others.
            tokio::spawn(self.clone().fly(partition));
        }
        answer.await.unwrap_or_else(|_| Err(AppendError::Unavailable("shutting down".to_owned())))
    }

    fn waiting(&self, partition: Partition) -> std::sync::MutexGuard<'_, Waiting> {
        // No code that runs under the lock can panic half-way through a change.
        self.partitions[usize::from(partition.0)].lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Flies until no messages wait.
    async fn fly(self: Arc<Self>, partition: Partition) {
        let grounded = Grounded { flights: &self, partition };
        while let Some(groups) = self.next_groups(partition) {
            self.append_groups(partition, groups).await;
        }
        // `next_groups` has noted that nobody flies.
        std::mem::forget(grounded);
    }

    /// The groups of the next call. `None`: none wait, and the next caller starts the next flight.
    fn next_groups(&self, partition: Partition) -> Option<Vec<Group>> {
        let mut waiting = self.waiting(partition);
        if waiting.groups.is_empty() {
            waiting.flying = false;
            return None;
        }
        let count = fitting(&waiting.groups);
        let rest = waiting.groups.split_off(count);
        let groups = std::mem::replace(&mut waiting.groups, rest);
        waiting.bytes -= groups.iter().map(|group| group.bytes).sum::<usize>();
        Some(groups)
    }

    async fn append_groups(&self, partition: Partition, groups: Vec<Group>) {
        let session = match self.calls.sessions.get().await {
            Ok(session) => session,
            Err(error) => return refuse(groups, &unavailable(error)),
        };
        // In another epoch Redis may not know client ids that need no look-up in the one of the group.
        let (groups, past): (Vec<Group>, Vec<Group>) =
            groups.into_iter().partition(|group| group.epoch == session.epoch);
        for group in past {
            let _ = group.landed.send(Ok(vec![Landed::NotUsual; group.messages.len()]));
        }
        if groups.is_empty() {
            return;
        }
        let (rooms, places) =
            append_many::by_room(groups.iter().map(|group| (&group.room, group.messages.as_slice())));
        let messages = rooms.iter().map(|(_, messages)| messages.len()).sum();
        let command = append_many::command(&session.scripts, partition, &rooms, self.max_backlog);
        let answer = self.calls.timed(Step::Append, self.calls.call(&session, command)).await;
        let landed = answer
            .and_then(|value| append_many::read_answer(&value, messages).map_err(AppendError::Unavailable));
        match landed {
            Err(error) => refuse(groups, &error),
            Ok(landed) => {
                for (group, place) in groups.into_iter().zip(places) {
                    let own = landed[place..place + group.messages.len()].to_vec();
                    let _ = group.landed.send(Ok(own));
                }
            }
        }
    }
}

/// Dropped when the task of a flight is stopped, with its thread: those who wait learn it, and the next caller starts
/// another flight.
struct Grounded<'a> {
    flights: &'a Flights,
    partition: Partition,
}

impl Drop for Grounded<'_> {
    fn drop(&mut self) {
        *self.flights.waiting(self.partition) = Waiting::default();
    }
}

fn refuse(groups: Vec<Group>, error: &AppendError) {
    for group in groups {
        // The caller may be gone.
        let _ = group.landed.send(Err(error.clone()));
    }
}

/// How many groups, at least one, fit into a call.
fn fitting(groups: &[Group]) -> usize {
    let (mut messages, mut bytes) = (0, 0);
    let fits = |group: &&Group| {
        messages += group.messages.len();
        bytes += group.bytes;
        messages <= MAX_MESSAGES && bytes <= MAX_BYTES
    };
    groups.iter().take_while(fits).count().max(1)
}

//! Changes of presence on their way to the connections of one worker; and snapshots that none of them overtakes.

use std::{cell::RefCell, rc::Rc};

use rustc_hash::FxHashMap;
use tidings_shared::ids::RoomId;
use tokio::sync::broadcast::error::RecvError;

use super::Worker;
use crate::bus::Heard;

/// Rooms of which a snapshot is being read.
#[derive(Default)]
pub(super) struct Snapshots(RefCell<FxHashMap<RoomId, Snapshot>>);

#[derive(Default)]
struct Snapshot {
    readers: usize,
    /// Changes that came meanwhile.
    changes: u64,
}

impl Snapshots {
    fn changed(&self, room: &str) {
        let mut snapshots = self.0.borrow_mut();
        if let Some(snapshot) = snapshots.get_mut(room) {
            snapshot.changes += 1;
        }
    }

    fn any(&self) -> bool {
        !self.0.borrow().is_empty()
    }
}

/// Says, as long as it is held, whether a change was told in a room.
pub struct Watch {
    worker: Rc<Worker>,
    room: RoomId,
}

impl Watch {
    /// Counts up with every change that is told in the room.
    #[must_use]
    pub fn changes(&self) -> u64 {
        self.worker.snapshots.0.borrow().get(&self.room).map_or(0, |snapshot| snapshot.changes)
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let mut snapshots = self.worker.snapshots.0.borrow_mut();
        if let Some(snapshot) = snapshots.get_mut(&self.room) {
            snapshot.readers -= 1;
            if snapshot.readers == 0 {
                snapshots.remove(&self.room);
            }
        }
    }
}

impl Worker {
    /// Watches what is told in a room while a snapshot of it is read.
    #[must_use]
    pub fn watch_presence(self: &Rc<Self>, room: &RoomId) -> Watch {
        self.snapshots.0.borrow_mut().entry(room.clone()).or_default().readers += 1;
        Watch { worker: self.clone(), room: room.clone() }
    }

    /// Sends a change to each connection that hears of one of the rooms, once.
    fn tell_presence(&self, heard: &Heard) {
        let round = self.presence_rounds.get().wrapping_add(1);
        self.presence_rounds.set(round);
        let snapshots = self.snapshots.any();
        let hub = self.hub.borrow();
        for room in heard.rooms() {
            if snapshots {
                self.snapshots.changed(room);
            }
            for client in hub.watchers(room) {
                client.tell_presence(round, &heard.frame);
            }
        }
    }
}

/// Brings what is heard to the connections of a worker, as long as the node runs.
pub(super) async fn follow(worker: Rc<Worker>) {
    let mut heard = worker.node.bus.heard_presence();
    loop {
        match heard.recv().await {
            Ok(heard) if heard.concerns(worker.index) => worker.tell_presence(&heard),
            Ok(_) => {}
            Err(RecvError::Lagged(missed)) => worker.node.metrics.presence_dropped.inc_by(missed),
            Err(RecvError::Closed) => return,
        }
    }
}

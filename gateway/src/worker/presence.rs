//! Passes presence changes to the connections of one worker, and detects changes during the read of a snapshot.

use std::rc::Rc;

use tidings_shared::ids::RoomId;
use tokio::sync::broadcast::error::RecvError;

use super::Worker;
use crate::bus::PresenceUpdate;

/// The running reads of snapshots of one room, and the presence changes that have arrived meanwhile.
#[derive(Default)]
pub(super) struct SnapshotReads {
    /// Number of reads that are running.
    readers: usize,
    /// Number of presence changes that have arrived in the room since the first of these reads began.
    changes: u64,
}

/// A running read of a snapshot. While this value exists, [`SnapshotReads`] counts the presence changes of the room.
pub struct SnapshotWatch {
    worker: Rc<Worker>,
    room: RoomId,
}

impl SnapshotWatch {
    /// The number of changes so far. If it is the same before and after a read, no change arrived during the read.
    pub fn change_count(&self) -> u64 {
        self.worker.snapshot_reads.borrow().get(&self.room).map_or(0, |reads| reads.changes)
    }
}

impl Drop for SnapshotWatch {
    fn drop(&mut self) {
        let mut snapshot_reads = self.worker.snapshot_reads.borrow_mut();
        if let Some(reads) = snapshot_reads.get_mut(&self.room) {
            reads.readers -= 1;
            if reads.readers == 0 {
                snapshot_reads.remove(&self.room);
            }
        }
    }
}

impl Worker {
    /// Starts to count the presence changes of a room. The count ends when the returned watch is dropped.
    #[must_use]
    pub fn watch_snapshot(self: &Rc<Self>, room: &RoomId) -> SnapshotWatch {
        self.snapshot_reads.borrow_mut().entry(room.clone()).or_default().readers += 1;
        SnapshotWatch { worker: self.clone(), room: room.clone() }
    }

    /// Sends a change once to each connection that receives presence changes in one of the change's rooms.
    fn send_presence(&self, update: &PresenceUpdate) {
        let round = self.presence_rounds.get().wrapping_add(1);
        self.presence_rounds.set(round);
        let hub = self.hub.borrow();
        for room in update.rooms() {
            if let Some(reads) = self.snapshot_reads.borrow_mut().get_mut(room) {
                reads.changes += 1;
            }
            for client in hub.presence_watchers(room) {
                client.send_presence(round, &update.frame);
            }
        }
    }
}

/// Passes presence changes to the connections of a worker, until the node ends.
pub(super) async fn deliver_presence(worker: Rc<Worker>) {
    let mut updates = worker.node.bus.subscribe_presence();
    loop {
        match updates.recv().await {
            Ok(update) if update.is_for_worker(worker.index) => worker.send_presence(&update),
            Ok(_) => {}
            Err(RecvError::Lagged(missed)) => worker.node.metrics.presence_dropped.inc_by(missed),
            Err(RecvError::Closed) => return,
        }
    }
}

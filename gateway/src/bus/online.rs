//! Which partitions are online: pub/sub of an online partition is confirmed, so no hint of its rooms is missed. A room
//! of an offline partition cannot be read, so callers wait here before they take a permit to read.

use std::sync::Arc;

use tidings_shared::{
    ids::RoomId,
    log::{AppendError, keys::Partition},
};

use super::{Bus, RECONNECT_TIMEOUT};

impl Bus {
    /// Whether hints of the room may be missed now, because the subscription to its partition is not confirmed.
    pub fn is_offline(&self, room: &RoomId) -> bool {
        self.shared.processes.borrow()[usize::from(Partition::of(room).0)].is_none()
    }

    /// The `run_id` of the Redis process to which this node is subscribed for the room's partition; `None` while the
    /// partition is offline.
    pub fn process_of(&self, room: &RoomId) -> Option<Arc<str>> {
        self.shared.processes.borrow()[usize::from(Partition::of(room).0)].clone()
    }

    /// Waits until the room's partition is online, at most 3 s. Returns the process like [`Bus::process_of`]. Fails as
    /// [`AppendError::Unavailable`] if the partition stays offline.
    pub async fn until_online(&self, room: &RoomId) -> Result<Arc<str>, AppendError> {
        let index = usize::from(Partition::of(room).0);
        let mut processes = self.shared.processes.subscribe();
        let online = processes.wait_for(|processes| processes[index].is_some());
        let process = match tokio::time::timeout(RECONNECT_TIMEOUT, online).await {
            Ok(Ok(processes)) => processes[index].clone(),
            _ => None,
        };
        process.ok_or_else(offline)
    }

    /// Returns a future that ends when any partition goes online or offline after this call.
    pub fn partition_change(&self) -> impl Future<Output = ()> + use<> {
        let mut processes = self.shared.processes.subscribe();
        async move {
            let _ = processes.changed().await;
        }
    }
}

/// The error of a read in an offline partition.
pub(super) fn offline() -> AppendError {
    AppendError::Unavailable("the pub/sub connection to Redis is down; retry".to_owned())
}

//! The rooms of some partitions, whose hints may have been missed.

use tidings_shared::{
    ids::RoomId,
    log::keys::{Partition, PartitionSet},
};

use super::{Hub, Peer};

impl<P: Peer> Hub<P> {
    /// Calls [`Hub::expire_marks`] for each room of these partitions.
    pub fn expire_marks_of(&mut self, partitions: PartitionSet) {
        if !partitions.is_empty() {
            let rooms = self.rooms.iter_mut().filter(|(id, _)| is_in(id, partitions));
            rooms.for_each(|(_, room)| room.expire_marks());
        }
    }

    /// All rooms of these partitions with a live subscription.
    pub fn live_rooms_of(&self, partitions: PartitionSet) -> impl Iterator<Item = &RoomId> {
        self.live_rooms().filter(move |id| is_in(id, partitions))
    }
}

/// Whether the room belongs to one of the partitions.
fn is_in(room: &RoomId, partitions: PartitionSet) -> bool {
    // A single Redis loses all partitions at once. Then the partition of each room need not be computed.
    partitions == PartitionSet::ALL || partitions.contains(Partition::of(room))
}

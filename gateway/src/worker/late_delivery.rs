//! Counts each late delivery by a refill once per node, like a delivery in time, although each worker with
//! subscriptions in the room reads the same late messages.

use std::sync::Mutex;

use rustc_hash::FxHashMap;
use tidings_shared::ids::RoomId;

use crate::{hub::Position, lock::lock};

/// At this many rooms the map is cleared; then some messages may be counted twice.
const MAX_ROOMS: usize = 10_000;

/// The position up to which late messages of each room were counted. Refills are rare, so a lock is cheap enough.
#[derive(Debug, Default)]
pub struct LateDeliveryDedup(Mutex<FxHashMap<RoomId, Position>>);

impl LateDeliveryDedup {
    /// Marks a message as counted. Returns true if it was not counted before.
    pub fn is_first(&self, room: &RoomId, position: Position) -> bool {
        let mut rooms = lock(&self.0);
        if rooms.get(room).is_some_and(|counted| *counted >= position) {
            return false;
        }
        if rooms.len() >= MAX_ROOMS {
            rooms.clear();
        }
        rooms.insert(room.clone(), position);
        true
    }
}

#[cfg(test)]
mod tests {
    use tidings_shared::ids::{Epoch, Seq};

    use super::*;

    #[test]
    fn late_message_is_counted_by_one_worker() {
        let (dedup, room) = (LateDeliveryDedup::default(), RoomId::fresh());
        let at = |seq| Position { epoch: Epoch(1), seq: Seq(seq) };
        assert!(dedup.is_first(&room, at(1)) && dedup.is_first(&room, at(2)));
        assert!(!dedup.is_first(&room, at(1)) && !dedup.is_first(&room, at(2)));
        assert!(dedup.is_first(&room, at(3)) && dedup.is_first(&RoomId::fresh(), at(1)));
    }
}

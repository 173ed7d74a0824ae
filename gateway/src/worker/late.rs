//! Messages that come late, by a refill, are counted once per node, as those that come in time are: each worker with
//! members of the room reads them for itself.

use std::sync::{Mutex, PoisonError};

use rustc_hash::FxHashMap;
use tidings_shared::ids::RoomId;

use crate::hub::Position;

/// Above it all is forgotten, and some may be counted once more.
const ROOMS: usize = 10_000;

/// Up to where late messages of a room were counted. Refills are rare: a lock costs nothing here.
#[derive(Debug, Default)]
pub struct Late(Mutex<FxHashMap<RoomId, Position>>);

impl Late {
    /// Whether nobody has counted this one.
    pub fn is_first(&self, room: &RoomId, position: Position) -> bool {
        let mut rooms = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if rooms.get(room).is_some_and(|counted| *counted >= position) {
            return false;
        }
        if rooms.len() >= ROOMS {
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
    fn each_is_counted_by_one_worker() {
        let (late, room) = (Late::default(), RoomId::fresh());
        let at = |seq| Position { epoch: Epoch(1), seq: Seq(seq) };
        assert!(late.is_first(&room, at(1)) && late.is_first(&room, at(2)));
        assert!(!late.is_first(&room, at(1)) && !late.is_first(&room, at(2)));
        assert!(late.is_first(&room, at(3)) && late.is_first(&RoomId::fresh(), at(1)));
    }
}

//! Where imported messages stand, for those that answer them.

use std::collections::HashMap;

use tidings_shared::ids::{RoomId, Seq};

/// Ids of messages whose places are remembered for replies, twice.
pub const PLACES: usize = 50_000;

/// Where messages stand, by room and original id: the latest, and those before them.
#[derive(Default)]
pub struct Places([HashMap<(RoomId, String), Seq>; 2]);

impl Places {
    pub fn put(&mut self, room: &RoomId, id: &str, seq: Seq) {
        if self.0[0].len() >= PLACES {
            self.0[1] = std::mem::take(&mut self.0[0]);
        }
        self.0[0].insert((room.clone(), id.to_owned()), seq);
    }

    #[must_use]
    pub fn get(&self, room: &RoomId, id: &str) -> Option<Seq> {
        let key = (room.clone(), id.to_owned());
        self.0.iter().find_map(|places| places.get(&key).copied())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_latest_places_are_remembered_and_no_more() {
        let (mut places, room) = (Places::default(), RoomId::parse("r").unwrap());
        for n in 0..3 * PLACES as u64 {
            places.put(&room, &n.to_string(), Seq(n + 1));
        }
        assert!(places.0.iter().map(HashMap::len).sum::<usize>() <= 2 * PLACES);
        assert_eq!(places.get(&room, &(3 * PLACES - 1).to_string()), Some(Seq(3 * PLACES as u64)));
        assert_eq!(places.get(&room, &(2 * PLACES).to_string()), Some(Seq(2 * PLACES as u64 + 1)));
        assert_eq!(places.get(&room, "0"), None);
    }
}

//! People and rooms in blocks. All people of a block are in all rooms of the block, and in no rooms of other blocks.

use serde::{Deserialize, Serialize};

/// The sizes of the blocks, and the numbers of the first person and room. The last block may have fewer people.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct Blocks {
    pub first_person: u32,
    pub first_room: u32,
    pub people: u32,
    /// Number of people of a block: the members of each of its rooms.
    pub members: u32,
    /// Number of rooms of a block.
    pub rooms_per_block: u32,
}

impl Blocks {
    /// The numbers of the members of each room, in the order of rooms.
    pub fn members(&self) -> Vec<Vec<u32>> {
        let blocks = self.people.div_ceil(self.members);
        let rooms = (0..blocks).flat_map(|block| (0..self.rooms_per_block).map(move |_| block));
        rooms.map(|block| self.members_of_block(block)).collect()
    }

    fn members_of_block(&self, block: u32) -> Vec<u32> {
        let end = self.people.min((block + 1) * self.members);
        (block * self.members..end).map(|person| self.first_person + person).collect()
    }

    /// The numbers of a person's rooms.
    pub fn rooms_of(&self, person: u32) -> Vec<u32> {
        let block = (person - self.first_person) / self.members;
        let first = self.first_room + block * self.rooms_per_block;
        (first..first + self.rooms_per_block).collect()
    }

    /// The numbers of all people.
    pub fn everybody(&self) -> impl Iterator<Item = u32> + use<> {
        self.first_person..self.first_person + self.people
    }

    /// One sender for each room, as pairs of person and room. In the rooms of a block, its members take turns.
    pub fn senders(&self) -> Vec<(u32, u32)> {
        let rooms = (self.first_room..).zip(self.members());
        rooms.map(|(room, members)| (members[room as usize % members.len()], room)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everybody_is_a_member_of_exactly_their_rooms() {
        let blocks = Blocks { first_person: 100, first_room: 7, people: 25, members: 10, rooms_per_block: 3 };
        let members = blocks.members();
        assert_eq!(members.len(), 9);
        for person in blocks.everybody() {
            let rooms = (7..).zip(&members).filter(|(_, members)| members.contains(&person));
            assert_eq!(rooms.map(|(room, _)| room).collect::<Vec<u32>>(), blocks.rooms_of(person));
        }
        assert!(blocks.senders().iter().all(|(person, room)| blocks.rooms_of(*person).contains(room)));
    }
}

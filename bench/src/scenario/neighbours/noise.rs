//! The noisy neighbours, their people and their rooms.

use std::time::Duration;

use anyhow::Result;
use serde::{Deserialize, Serialize};

use crate::load::fixed_rate_work;
use crate::scenario::blocks::Blocks;
use crate::scenario::world::World;

pub(super) const MESSAGE_CHARS: u16 = 64;
/// Members of the flooded room besides the flooding one.
pub(super) const LISTENERS: u32 = 20;
/// Members of a polled room.
const POLLED_MEMBERS: u32 = 10;
/// One poll in this many is followed by a message. A message ends the polls of all members of its room, so with a
/// smaller number no poll would have to wait.
pub(super) const POLLS_PER_MESSAGE: u32 = 2 * POLLED_MEMBERS;
/// Number of messages in a searched room: one block of the search index.
const MESSAGES_PER_SEARCHED_ROOM: u32 = 64;
const SEARCHED_MESSAGES_PER_SECOND: u32 = 8;
/// All messages of the load generator contain this word.
pub(super) const COMMON_WORD: &str = "fox";

/// The sizes of the noisy neighbours.
#[derive(Debug, Clone, Copy)]
pub(super) struct NoiseSizes {
    pub(super) crowd: u32,
    pub(super) polled_rooms: u32,
    pub(super) hot_rate: u32,
    pub(super) searches: u32,
    pub(super) searched_rooms: u32,
}

impl NoiseSizes {
    /// Describes the noisy neighbours and their sizes, for the report.
    pub(super) fn description(&self) -> String {
        let Self { crowd, polled_rooms, hot_rate, searches, searched_rooms } = self;
        format!(
            "Flooding member: one user with a connection to send the largest messages, one for the largest signals, \
             one for typing and presence, and one for pings, to a room in which {LISTENERS} others listen: 10 \
             messages and 20 signals per second, the others as fast as possible. Hot room: {hot_rate} messages per \
             second to {crowd} members over all gateways. Pollers: {crowd} users who poll {polled_rooms} rooms of \
             {POLLED_MEMBERS} each, and send a message with one of {POLLS_PER_MESSAGE} polls. Searches: {searches} at \
             a time, all by one account that is in {searched_rooms} rooms of {MESSAGES_PER_SEARCHED_ROOM} messages; \
             half of them match every message, the others none."
        )
    }
}

/// A noisy neighbour, with the numbers of its people and rooms.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(super) enum NoisyNeighbour {
    FloodingMember { person: u32, room: u32 },
    HotRoom { first: u32, members: u32, room: u32, rate: u32 },
    Pollers(Blocks),
    Searches { person: u32, room: u32, rooms: u32, parallel: u32 },
}

/// Assigns people and rooms to all noisy neighbours. Appends the members of their rooms to `members`.
pub(super) fn create_all(sizes: &NoiseSizes, members: &mut Vec<Vec<u32>>) -> Vec<NoisyNeighbour> {
    let mut person = members.iter().flatten().max().map_or(0, |last| last + 1);
    let mut people = |count: u32| {
        person += count;
        person - count
    };
    let flooder = people(1 + LISTENERS);
    let flood = NoisyNeighbour::FloodingMember { person: flooder, room: members.len() as u32 };
    members.push((flooder..=flooder + LISTENERS).collect());
    let crowd = people(sizes.crowd);
    let (room, rate) = (members.len() as u32, sizes.hot_rate);
    let hot = NoisyNeighbour::HotRoom { first: crowd, members: sizes.crowd, room, rate };
    members.push((crowd..crowd + sizes.crowd).collect());
    let polled = Blocks {
        first_person: crowd,
        first_room: members.len() as u32,
        people: sizes.crowd,
        members: POLLED_MEMBERS,
        rooms_per_block: sizes.polled_rooms,
    };
    members.extend(polled.members());
    // The numbers of the account that searches, and of a writer for each of its rooms.
    let searcher = people(1 + sizes.searched_rooms);
    let (room, rooms) = (members.len() as u32, sizes.searched_rooms);
    let searches = NoisyNeighbour::Searches { person: searcher, room, rooms, parallel: sizes.searches };
    members.extend((1..=rooms).map(|writer| vec![searcher, searcher + writer]));
    vec![flood, hot, NoisyNeighbour::Pollers(polled), searches]
}

/// Sends the messages that will be searched, at most as fast as a user may, and waits until they are indexed.
pub(super) fn fill_searched(world: &mut World, noises: &[NoisyNeighbour]) -> Result<()> {
    for noise in noises {
        let NoisyNeighbour::Searches { person, room, rooms, .. } = *noise else { continue };
        let writers =
            (0..rooms).map(|one| world.client_spec(person + 1 + one, one as usize, vec![room + one]));
        let writers = writers.collect();
        world.connect_all(writers)?;
        let senders: Vec<(u32, u32)> = (0..rooms).map(|one| (one, room + one)).collect();
        let rate = f64::from(SEARCHED_MESSAGES_PER_SECOND * rooms);
        let time = Duration::from_secs_f64(
            f64::from(MESSAGES_PER_SEARCHED_ROOM) / f64::from(SEARCHED_MESSAGES_PER_SECOND),
        );
        world
            .run(&fixed_rate_work(&senders, MESSAGE_CHARS, rate, time))?
            .ensure_valid("the messages that will be searched")?;
        world.load.reset_all();
    }
    Ok(())
}

impl NoisyNeighbour {
    pub(super) fn name(&self) -> &'static str {
        match self {
            NoisyNeighbour::FloodingMember { .. } => "a flooding member",
            NoisyNeighbour::HotRoom { .. } => "a hot room",
            NoisyNeighbour::Pollers(_) => "a herd of pollers",
            NoisyNeighbour::Searches { .. } => "an account that searches",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rooms_of_noisy_neighbours_have_their_members() {
        let sizes = NoiseSizes { crowd: 25, polled_rooms: 3, hot_rate: 1, searches: 2, searched_rooms: 4 };
        let mut members = vec![vec![0, 1], vec![2, 3]];
        let noises = create_all(&sizes, &mut members);
        assert_eq!(members.len(), 2 + 1 + 1 + 9 + 4);
        let is_in = |person: u32, room: u32| members[room as usize].contains(&person);
        for noise in noises {
            match noise {
                NoisyNeighbour::FloodingMember { person, room } => {
                    assert!(is_in(person, room) && is_in(person + LISTENERS, room));
                }
                NoisyNeighbour::HotRoom { first, members, room, .. } => {
                    assert!(is_in(first, room) && is_in(first + members - 1, room));
                }
                NoisyNeighbour::Pollers(blocks) => {
                    let mut everybody = blocks.everybody();
                    assert!(everybody.all(|one| blocks.rooms_of(one).iter().all(|room| is_in(one, *room))));
                }
                NoisyNeighbour::Searches { person, room, rooms, .. } => {
                    assert!(
                        (0..rooms)
                            .all(|one| is_in(person, room + one) && is_in(person + 1 + one, room + one))
                    );
                }
            }
        }
    }
}

//! The quiet rooms. Each has two members, one of whom sends a message per second.

use std::time::Duration;

use anyhow::{Context, Result};

use crate::load::{BackgroundLoad, LoadGenerator, Tally};
use crate::scenario::world::World;

const MESSAGE_CHARS: u16 = 64;
const MAX_CONCURRENT_HANDSHAKES: usize = 64;
const WAIT_TIMEOUT: Duration = Duration::from_secs(60);

/// The numbers of the members of the quiet rooms. The quiet rooms are the first rooms.
pub(super) fn quiet_room_members(rooms: u32) -> Vec<Vec<u32>> {
    (0..rooms).map(|room| vec![2 * room, 2 * room + 1]).collect()
}

/// The quiet rooms' clients. They answer pings only in [`QuietRooms::send_during`].
pub(super) struct QuietRooms {
    load: Option<LoadGenerator>,
    senders: Vec<(u32, u32)>,
    /// Number of connections of the clients.
    pub(super) connections: u32,
}

impl QuietRooms {
    pub(super) fn connect(world: &World, rooms: u32) -> Result<QuietRooms> {
        let own = world.rooms[..rooms as usize].to_vec();
        let mut load = LoadGenerator::new(world.running.dialect.clone(), own)?;
        // The two members of a room are on different nodes.
        let people =
            (0..2 * rooms).map(|number| world.client_spec(number, number as usize, vec![number / 2]));
        load.connect_all(people.collect(), MAX_CONCURRENT_HANDSHAKES, WAIT_TIMEOUT)?;
        let senders = (0..rooms).map(|room| (2 * room + room % 2, room)).collect();
        Ok(QuietRooms { load: Some(load), senders, connections: 2 * rooms })
    }

    /// Sends messages while the future `what` runs. Returns its output, and the tally of the messages.
    pub(super) async fn send_during<T>(
        &mut self,
        what: impl Future<Output = Result<T>>,
    ) -> Result<(T, Tally)> {
        let load = self.load.take().context("the load generator failed before")?;
        let beside = BackgroundLoad::start(load, &self.senders, MESSAGE_CHARS, self.senders.len() as f64);
        let outcome = what.await;
        let (load, tally) = beside.finish()?;
        self.load = Some(load);
        Ok((outcome?, tally))
    }
}

//! The same reconnect storm with Socket.IO's own server. It keeps no messages for clients that are away, so only the
//! time until all clients have joined their rooms again is measured.

use std::time::Duration;

use anyhow::Result;

use super::{MAX_CONCURRENT_HANDSHAKES, NODES, Scale, Scenario, everybody, members};
use crate::peers::ServerRequirements;
use crate::scenario::subject::Subject;
use crate::scenario::world::World;

/// Wait after all connections have ended. No metric of the server shows when it has noticed their end.
pub(super) const DISCONNECT_TIME: Duration = Duration::from_secs(10);

const SECONDS_TO_JOIN: &str = "until the last has joined, without missed messages (s)";

/// Measures Socket.IO's own server. Adds a note if not all clients connect.
///
/// # Errors
/// When the server does not start.
pub(super) async fn measure(
    scenario: &mut Scenario,
    scale: &Scale,
    people: u32,
    setting: &str,
) -> Result<()> {
    let subject = Subject::socket_io();
    let name = subject.name();
    eprintln!("storm: {name}, {people} people");
    let requirements = ServerRequirements { nodes: NODES, stored: true };
    let mut world = World::start(&subject, &requirements, &members(people), &[]).await?;
    // The first connect warms up the server.
    for sample in 0..=scale.few_samples() {
        let clients = everybody(&world, people);
        let phase = match world.connect_all_limited(clients, MAX_CONCURRENT_HANDSHAKES) {
            Ok(phase) => phase,
            Err(error) => {
                scenario.notes.push(format!("{name}: left out. {error:#}"));
                return Ok(());
            }
        };
        if sample > 0 {
            scenario.add(name, setting, SECONDS_TO_JOIN, phase.tally.wall.as_secs_f64());
            for (process, seconds) in &phase.cpu.0 {
                scenario.add(name, setting, &format!("{process}: CPU s"), *seconds);
            }
            scenario.note_if_generator_bound(name, setting, &phase.tally);
        }
        world.load.reset_all();
        tokio::time::sleep(scale.choose(DISCONNECT_TIME, Duration::from_secs(1))).await;
    }
    Ok(())
}

//! Idle connections: the memory of each connection, and the CPU time of the heartbeats.

use std::time::Duration;

use anyhow::{Result, ensure};

use super::Scale;
use super::subject::Subject;
use super::world::World;
use crate::load::Work;
use crate::peers::ServerRequirements;
use crate::results::{Bound, Plot, Scenario};

/// Members of each room.
const MEMBERS_PER_ROOM: u32 = 10;
/// Connections that are opened and closed before the measurement.
const WARMUP_CONNECTIONS: u32 = 20;
const WARMUP_TIME: Duration = Duration::from_secs(1);
/// Wait before memory is measured, in which the server finishes its work for new connections.
const SETTLE_TIME: Duration = Duration::from_secs(10);
/// The heartbeat interval of Tidings, Socket.IO and Centrifuge. CPU time is measured during one interval.
const HEARTBEAT_INTERVAL: Duration = Duration::from_secs(25);

const BYTES_PER_CONNECTION: &str = "resident bytes per connection";
const CPU_PER_CONNECTION: &str = "CPU µs per connection and second";

/// Runs the scenario.
///
/// # Errors
/// When a server does not start, or loses a connection.
pub async fn run(scale: &Scale) -> Result<Scenario> {
    let people: u32 = scale.choose(10_000, 200);
    let setting = format!("{people} connections");
    let mut scenario = Scenario {
        name: "idle".into(),
        title: "Idle connections".into(),
        method: format!(
            "{people} connections to one node, each with a token and in two rooms of {MEMBERS_PER_ROOM} (neighbours, \
             and others at equal distance); ws and actix-ws check no token and know one room per connection. The \
             clients of Tidings (Socket.IO) speak Socket.IO over WebSocket to a gateway. Each sample has a \
             process of its own, in which {WARMUP_CONNECTIONS} connections come and go before its resident memory is \
             read for the first time; then all connect, idle for {} s, and it is read again. CPU time is that of the \
             same process over {} s of idling, which is one heartbeat of Tidings, Socket.IO and Centrifuge; ws and \
             actix-ws have none as they are used here, and their CPU time is not told. The gateway runs with \
             MIMALLOC_PURGE_DELAY=0, as `./dev up` has it. CPU time, and memory of the other servers, is measured \
             three times at most.",
            SETTLE_TIME.as_secs(),
            HEARTBEAT_INTERVAL.as_secs()
        ),
        plots: [("memory", BYTES_PER_CONNECTION), ("cpu", CPU_PER_CONNECTION)]
            .map(|(name, figure)| Plot {
                name: name.into(),
                title: figure.into(),
                figure: figure.into(),
                logarithmic: false,
            })
            .into(),
        ..Scenario::default()
    };
    let mut subjects = Subject::available_chat_servers(&mut scenario).await?;
    subjects.extend([Subject::TidingsSocketIo, Subject::ws(), Subject::actix_ws()]);
    for subject in subjects {
        eprintln!("idle: {}, {setting}", subject.name());
        measure(&mut scenario, scale, &subject, people, &setting).await?;
    }
    let median_of = |subject: &Subject| scenario.median(subject.name(), &setting, BYTES_PER_CONNECTION);
    let ours = median_of(&Subject::Tidings);
    let share = ours / median_of(&Subject::socket_io());
    let socket_io_clients = median_of(&Subject::TidingsSocketIo);
    scenario.add_target("resident bytes per idle connection", ours, Bound::AtMost, 3072.0);
    scenario.add_target("the same, share of Socket.IO's", share, Bound::AtMost, 0.2);
    scenario.add_target(
        "resident bytes per idle connection of a Socket.IO client",
        socket_io_clients,
        Bound::AtMost,
        4096.0,
    );
    Ok(scenario)
}

/// The user indexes of each room's members. The first half of the rooms have consecutive users, the second half every
/// `blocks`-th user, so every user is in one room of each half.
fn room_members(people: u32) -> Vec<Vec<u32>> {
    let blocks = people / MEMBERS_PER_ROOM;
    let near =
        (0..blocks).map(|room| (0..MEMBERS_PER_ROOM).map(|place| room * MEMBERS_PER_ROOM + place).collect());
    let far = (0..blocks).map(|room| (0..MEMBERS_PER_ROOM).map(|place| room + place * blocks).collect());
    near.chain(far).collect()
}

fn rooms_of(person: u32, people: u32) -> Vec<u32> {
    let blocks = people / MEMBERS_PER_ROOM;
    vec![person / MEMBERS_PER_ROOM, blocks + person % blocks]
}

async fn measure(
    scenario: &mut Scenario,
    scale: &Scale,
    subject: &Subject,
    people: u32,
    setting: &str,
) -> Result<()> {
    let members = room_members(people);
    let has_heartbeat = ![Subject::ws(), Subject::actix_ws()].contains(subject);
    let purge = [("MIMALLOC_PURGE_DELAY", "0".to_owned())];
    let alone = ServerRequirements { nodes: 1, stored: false };
    let mut world = World::start(subject, &alone, &members, &purge).await?;
    let samples = if subject.is_tidings() { scale.samples } else { scale.few_samples() };
    for sample in 0..samples {
        if sample > 0 {
            if subject.is_tidings() {
                world.restart_gateways().await?;
            } else {
                drop(world);
                world = World::start(subject, &alone, &members, &purge).await?;
            }
        }
        let everybody: Vec<_> =
            (0..people).map(|number| world.client_spec(number, 0, rooms_of(number, people))).collect();
        world.connect_all(everybody[..WARMUP_CONNECTIONS as usize].to_vec())?;
        world.load.reset_all();
        tokio::time::sleep(WARMUP_TIME).await;
        let before = world.frontend_resident_bytes()?;
        world.connect_all(everybody)?;
        let first = world.run(&Work::Listen(scale.choose(SETTLE_TIME, WARMUP_TIME)))?;
        let each = world.frontend_resident_bytes()?.saturating_sub(before) as f64 / f64::from(people);
        scenario.add(subject.name(), setting, BYTES_PER_CONNECTION, each);
        let mut closed = first.tally.closed.len();
        if has_heartbeat && sample < scale.few_samples() {
            let time = scale.choose(HEARTBEAT_INTERVAL, WARMUP_TIME);
            let phase = world.run(&Work::Listen(time))?;
            let cpu = phase.front_cpu() * 1e6 / f64::from(people) / time.as_secs_f64();
            scenario.add(subject.name(), setting, CPU_PER_CONNECTION, cpu);
            closed += phase.tally.closed.len();
        }
        ensure!(closed == 0, "{}: connections ended while they idled", subject.name());
        world.load.reset_all();
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everybody_is_a_member_of_two_rooms() {
        let members = room_members(200);
        assert!(members.iter().all(|members| members.len() == 10));
        for person in 0..200 {
            let rooms = rooms_of(person, 200);
            assert!(rooms.iter().all(|room| members[*room as usize].contains(&person)), "{person}");
        }
    }
}

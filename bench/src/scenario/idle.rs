//! Idle connections: the memory of each, and the CPU time for keeping them.

use std::time::Duration;

use anyhow::{Result, ensure};

use super::Scale;
use super::subject::Subject;
use super::world::World;
use crate::load::Work;
use crate::peers::Setting;
use crate::results::{Bound, Plot, Scenario};

/// Members of each room.
const MEMBERS: u32 = 10;
/// Connections that are opened and closed before the measurement.
const WARMING: u32 = 20;
const WARM_AFTER: Duration = Duration::from_secs(1);
/// Wait before memory is measured.
const SETTLED: Duration = Duration::from_secs(10);
/// The heartbeat interval of Tidings, Socket.IO and Centrifuge: CPU time is measured over one interval.
const HEARTBEAT: Duration = Duration::from_secs(25);

const MEMORY: &str = "resident bytes per connection";
const CPU: &str = "CPU µs per connection and second";

/// See the module.
///
/// # Errors
/// When a server does not start, or loses a connection.
pub async fn run(scale: &Scale) -> Result<Scenario> {
    let people: u32 = scale.or(10_000, 200);
    let setting = format!("{people} connections");
    let mut scenario = Scenario {
        name: "idle".into(),
        title: "Idle connections".into(),
        method: format!(
            "{people} connections to one node, each with a token and in two rooms of {MEMBERS} (neighbours, and others \
             at equal distance); ws and actix-ws check no token and know one room per connection. Each sample has a \
             process of its own, in which {WARMING} connections come and go before its resident memory is read for the \
             first time; then all connect, idle for {} s, and it is read again. CPU time is that of the same process \
             over {} s of idling, which is one heartbeat of Tidings, Socket.IO and Centrifuge; ws and actix-ws have none \
             as they are used here, and their CPU time is not told. The gateway runs with MIMALLOC_PURGE_DELAY=0, as \
             `./dev up` has it. CPU time, and memory of the other servers, is measured three times at most.",
            SETTLED.as_secs(),
            HEARTBEAT.as_secs()
        ),
        plots: [("memory", MEMORY), ("cpu", CPU)]
            .map(|(name, figure)| Plot {
                name: name.into(),
                title: figure.into(),
                figure: figure.into(),
                logarithmic: false,
            })
            .into(),
        ..Scenario::default()
    };
    let mut subjects = Subject::chats(&mut scenario).await?;
    subjects.extend([Subject::ws(), Subject::actix_ws()]);
    for subject in subjects {
        eprintln!("idle: {}, {setting}", subject.name());
        measure(&mut scenario, scale, &subject, people, &setting).await?;
    }
    let of = |subject: &Subject| scenario.median(subject.name(), &setting, MEMORY);
    let (ours, share) = (of(&Subject::Tidings), of(&Subject::Tidings) / of(&Subject::socket_io()));
    scenario.target("resident bytes per idle connection", ours, Bound::AtMost, 3072.0);
    scenario.target("the same, share of Socket.IO's", share, Bound::AtMost, 0.2);
    Ok(scenario)
}

/// Rooms of neighbours, and rooms of users at the same distance: everybody is in one room of each kind.
fn members(people: u32) -> Vec<Vec<u32>> {
    let blocks = people / MEMBERS;
    let near = (0..blocks).map(|room| (0..MEMBERS).map(|place| room * MEMBERS + place).collect());
    let far = (0..blocks).map(|room| (0..MEMBERS).map(|place| room + place * blocks).collect());
    near.chain(far).collect()
}

fn rooms_of(person: u32, people: u32) -> Vec<u32> {
    let blocks = people / MEMBERS;
    vec![person / MEMBERS, blocks + person % blocks]
}

async fn measure(
    scenario: &mut Scenario,
    scale: &Scale,
    subject: &Subject,
    people: u32,
    setting: &str,
) -> Result<()> {
    let members = members(people);
    let has_heartbeat = ![Subject::ws(), Subject::actix_ws()].contains(subject);
    let purge = [("MIMALLOC_PURGE_DELAY", "0".to_owned())];
    let alone = Setting { nodes: 1, stored: false };
    let mut world = World::raise(subject, &alone, &members, &purge).await?;
    let samples = if *subject == Subject::Tidings { scale.samples } else { scale.few() };
    for sample in 0..samples {
        if sample > 0 {
            if *subject == Subject::Tidings {
                world.restart_gateways().await?;
            } else {
                drop(world);
                world = World::raise(subject, &alone, &members, &purge).await?;
            }
        }
        let everybody: Vec<_> =
            (0..people).map(|number| world.person(number, 0, rooms_of(number, people))).collect();
        world.enter(everybody[..WARMING as usize].to_vec())?;
        world.load.cut();
        tokio::time::sleep(WARM_AFTER).await;
        let before = world.front_resident()?;
        world.enter(everybody)?;
        let first = world.work(&Work::Listen(scale.or(SETTLED, WARM_AFTER)))?;
        let each = world.front_resident()?.saturating_sub(before) as f64 / f64::from(people);
        scenario.add(subject.name(), setting, MEMORY, each);
        let mut closed = first.tally.closed.len();
        if has_heartbeat && sample < scale.few() {
            let time = scale.or(HEARTBEAT, WARM_AFTER);
            let phase = world.work(&Work::Listen(time))?;
            let cpu = phase.front_cpu() * 1e6 / f64::from(people) / time.as_secs_f64();
            scenario.add(subject.name(), setting, CPU, cpu);
            closed += phase.tally.closed.len();
        }
        ensure!(closed == 0, "{}: connections ended while they idled", subject.name());
        world.load.cut();
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everybody_is_a_member_of_two_rooms() {
        let members = members(200);
        assert!(members.iter().all(|members| members.len() == 10));
        for person in 0..200 {
            let rooms = rooms_of(person, 200);
            assert!(rooms.iter().all(|room| members[*room as usize].contains(&person)), "{person}");
        }
    }
}

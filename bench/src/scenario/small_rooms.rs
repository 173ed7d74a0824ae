//! Many small rooms over two nodes: nearly every message passes from one node to the other, and all are stored.

use std::time::Duration;

use anyhow::Result;

use super::Scale;
use super::subject::Subject;
use super::world::{Phase, World};
use crate::load::{Gate, Work, paced};
use crate::peers::Setting;
use crate::results::{Bound, Plot, Scenario};

const CHARACTERS: u16 = 64;
const MEMBERS: u32 = 5;
/// Messages per second, well below the capacity of both servers.
const PER_SECOND: f64 = 500.0;
/// Unfinished messages at the highest rate.
const WINDOW: usize = 64;

const REST: Duration = Duration::from_secs(1);

const PACED: &str = "paced";
const ALL: &str = "as much as goes";
const PER_MESSAGE: &str = "CPU µs per message";
const PER_DELIVERY: &str = "CPU µs per delivery";
const P50: &str = "p50 (ms)";
const P99: &str = "p99 (ms)";
const RATE: &str = "messages per second";
const AT_REST: &str = "CPU ms per second";
const PER_CPU: &str = "messages per CPU second";

/// See the module.
///
/// # Errors
/// When a server does not come up, or ours loses something.
pub async fn run(scale: &Scale) -> Result<Scenario> {
    let rooms: u32 = scale.or(2000, 100);
    let mut scenario = Scenario {
        name: "small-rooms".into(),
        title: format!("{rooms} rooms of {MEMBERS} over two nodes"),
        method: format!(
            "{} people, half of them on each of two nodes, are in {rooms} rooms of {MEMBERS} members, with members on \
             both nodes in each room. Messages of {CHARACTERS} characters are sent in all rooms in turn and stored; the \
             senders are in the rooms and get their messages too. Paced: {PER_SECOND} messages per second, whatever \
             becomes of those before. As much as goes: {WINDOW} messages under way at any time; the next goes when one \
             has reached everybody. CPU time is that of all processes: nodes, Redis, persistence, PostgreSQL.",
            rooms / 2
        ),
        plots: [("cpu", PER_MESSAGE), ("p99", P99), ("throughput", PER_CPU)]
            .map(|(name, figure)| Plot {
                name: name.into(),
                title: figure.into(),
                figure: figure.into(),
                logarithmic: false,
            })
            .into(),
        ..Scenario::default()
    };
    for subject in Subject::chats(&mut scenario).await? {
        measure(&mut scenario, scale, &subject, rooms).await?;
    }
    let times = |setting: &str, figure: &str| {
        let of = |subject: &Subject| scenario.median(subject.name(), setting, figure);
        of(&Subject::Tidings) / of(&Subject::socket_io())
    };
    let (cpu, p99, rate) = (times(PACED, PER_MESSAGE), times(PACED, P99), times(ALL, PER_CPU));
    scenario.target("paced: CPU per message, share of Socket.IO's", cpu, Bound::AtMost, 1.0);
    scenario.target("paced: p99, share of Socket.IO's", p99, Bound::AtMost, 1.0);
    scenario.target("as much as goes: messages per CPU second, times Socket.IO", rate, Bound::AtLeast, 1.0);
    Ok(scenario)
}

/// The members of rooms: no pair is in two rooms, and each room has members on both nodes.
fn members(rooms: u32) -> Vec<Vec<u32>> {
    let people = rooms / 2;
    let of = |room: u32| {
        let stride = 7 + 4 * (room / people);
        (0..MEMBERS).map(|place| (room + place * stride) % people).collect()
    };
    (0..rooms).map(of).collect()
}

async fn measure(scenario: &mut Scenario, scale: &Scale, subject: &Subject, rooms: u32) -> Result<()> {
    let name = subject.name();
    eprintln!("small-rooms: {name}");
    let members = members(rooms);
    let mut world = World::raise(subject, &Setting { nodes: 2, stored: true }, &members, &[]).await?;
    let mut rooms_of = vec![Vec::new(); (rooms / 2) as usize];
    for (room, members) in (0..).zip(&members) {
        members.iter().for_each(|member| rooms_of[*member as usize].push(room));
    }
    let people = (0..).zip(rooms_of);
    let people = people.map(|(number, rooms)| world.person(number, number as usize, rooms)).collect();
    world.enter(people)?;
    let senders: Vec<(u32, u32)> = (0..).zip(&members).map(|(room, members)| (members[0], room)).collect();
    let time = Duration::from_secs(scale.or(4, 1));
    let pace = paced(&senders, CHARACTERS, PER_SECOND, time);
    let all = Work::Closed { senders, characters: CHARACTERS, window: WINDOW, gate: Gate::Delivered, time };
    // The first messages find everything cold.
    world.work(&all)?;
    for _ in 0..scale.samples {
        let rest = world.work(&Work::Listen(REST))?;
        scenario.add(name, "nobody says anything", AT_REST, rest.cpu.total() * 1000.0 / REST.as_secs_f64());
        let setting = PACED;
        let phase = world.work(&pace)?;
        if phase.counts(scenario, subject, setting)? {
            add_costs(scenario, name, setting, &phase);
        }
        let setting = ALL;
        let phase = world.work(&all)?;
        if phase.counts(scenario, subject, setting)? {
            add_costs(scenario, name, setting, &phase);
            let sent = phase.tally.sent as f64;
            scenario.add(name, setting, RATE, sent / phase.tally.wall.as_secs_f64());
            scenario.add(name, setting, PER_CPU, sent / phase.cpu.total());
        }
    }
    Ok(())
}

fn add_costs(scenario: &mut Scenario, name: &str, setting: &str, phase: &Phase) {
    let tally = &phase.tally;
    let total = phase.cpu.total() * 1e6;
    scenario.add(name, setting, PER_MESSAGE, total / tally.sent as f64);
    scenario.add(name, setting, PER_DELIVERY, total / tally.delivered as f64);
    for (process, seconds) in &phase.cpu.0 {
        let figure = format!("{process}: {PER_MESSAGE}");
        scenario.add(name, setting, &figure, seconds * 1e6 / tally.sent as f64);
    }
    scenario.add(name, setting, P50, tally.delivery_ms(0.5));
    scenario.add(name, setting, P99, tally.delivery_ms(0.99));
    scenario.note_if_limited(name, setting, tally);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_room_has_five_members_on_both_nodes() {
        for rooms in [100, 2000] {
            for members in members(rooms) {
                let mut different = members.clone();
                different.sort_unstable();
                different.dedup();
                assert_eq!(different.len(), 5, "{members:?}");
                assert!(members.iter().any(|member| member % 2 == 0), "{members:?}");
                assert!(members.iter().any(|member| member % 2 == 1), "{members:?}");
            }
        }
    }
}

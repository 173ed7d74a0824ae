//! Many small rooms over two nodes: nearly every message passes from one node to the other, and all are stored.

use std::time::Duration;

use anyhow::Result;

use super::Scale;
use super::subject::Subject;
use super::world::{Phase, World};
use crate::load::{Completion, Work, fixed_rate_work};
use crate::peers::ServerRequirements;
use crate::results::{Bound, Plot, Scenario};

const MESSAGE_CHARS: u16 = 64;
const MEMBERS_PER_ROOM: u32 = 5;
/// Messages per second at the fixed rate, which is well below the capacity of all servers.
const MESSAGES_PER_SECOND: f64 = 500.0;
/// Number of unfinished messages in the measurement of the highest rate.
const WINDOW_MESSAGES: usize = 64;

const REST_PERIOD: Duration = Duration::from_secs(1);

const FIXED_RATE: &str = "paced";
const SATURATED: &str = "as much as goes";
const CPU_PER_MESSAGE: &str = "CPU µs per message";
const CPU_PER_DELIVERY: &str = "CPU µs per delivery";
const P50: &str = "p50 (ms)";
const P99: &str = "p99 (ms)";
const MESSAGE_RATE: &str = "messages per second";
const CPU_AT_REST: &str = "CPU ms per second";
const MESSAGES_PER_CPU_SECOND: &str = "messages per CPU second";

/// Runs the scenario.
///
/// # Errors
/// When a server does not start, or Tidings loses messages.
pub async fn run(scale: &Scale) -> Result<Scenario> {
    let rooms: u32 = scale.choose(2000, 100);
    let mut scenario = Scenario {
        name: "small-rooms".into(),
        title: format!("{rooms} rooms of {MEMBERS_PER_ROOM} over two nodes"),
        method: format!(
            "{} people, half of them on each of two nodes, are in {rooms} rooms of {MEMBERS_PER_ROOM} members, with \
             members on both nodes in each room. Messages of {MESSAGE_CHARS} characters are sent in all rooms in turn \
             and stored; the senders are in the rooms and get their messages too. Paced: {MESSAGES_PER_SECOND} \
             messages per second, whatever becomes of those before. As much as goes: {WINDOW_MESSAGES} messages under \
             way at any time; the next goes when one has reached everybody. CPU time is that of all processes: nodes, \
             Redis, persistence, PostgreSQL.",
            rooms / 2
        ),
        plots: [("cpu", CPU_PER_MESSAGE), ("p99", P99), ("throughput", MESSAGES_PER_CPU_SECOND)]
            .map(|(name, figure)| Plot {
                name: name.into(),
                title: figure.into(),
                figure: figure.into(),
                logarithmic: false,
            })
            .into(),
        ..Scenario::default()
    };
    for subject in Subject::available_chat_servers(&mut scenario).await? {
        measure(&mut scenario, scale, &subject, rooms).await?;
    }
    let times = |setting: &str, figure: &str| {
        let median_of = |subject: &Subject| scenario.median(subject.name(), setting, figure);
        median_of(&Subject::Tidings) / median_of(&Subject::socket_io())
    };
    let (cpu, p99, rate) = (
        times(FIXED_RATE, CPU_PER_MESSAGE),
        times(FIXED_RATE, P99),
        times(SATURATED, MESSAGES_PER_CPU_SECOND),
    );
    scenario.add_target("paced: CPU per message, share of Socket.IO's", cpu, Bound::AtMost, 1.0);
    scenario.add_target("paced: p99, share of Socket.IO's", p99, Bound::AtMost, 1.0);
    scenario.add_target(
        "as much as goes: messages per CPU second, times Socket.IO",
        rate,
        Bound::AtLeast,
        1.0,
    );
    Ok(scenario)
}

/// The numbers of the members of each room. No two users share more than one room, and each room has members on both
/// nodes.
fn room_members(rooms: u32) -> Vec<Vec<u32>> {
    let people = rooms / 2;
    let of = |room: u32| {
        let stride = 7 + 4 * (room / people);
        (0..MEMBERS_PER_ROOM).map(|place| (room + place * stride) % people).collect()
    };
    (0..rooms).map(of).collect()
}

async fn measure(scenario: &mut Scenario, scale: &Scale, subject: &Subject, rooms: u32) -> Result<()> {
    let name = subject.name();
    eprintln!("small-rooms: {name}");
    let members = room_members(rooms);
    let mut world =
        World::start(subject, &ServerRequirements { nodes: 2, stored: true }, &members, &[]).await?;
    let mut rooms_of = vec![Vec::new(); (rooms / 2) as usize];
    for (room, members) in (0..).zip(&members) {
        members.iter().for_each(|member| rooms_of[*member as usize].push(room));
    }
    let people = (0..).zip(rooms_of);
    let people = people.map(|(number, rooms)| world.client_spec(number, number as usize, rooms)).collect();
    world.connect_all(people)?;
    let senders: Vec<(u32, u32)> = (0..).zip(&members).map(|(room, members)| (members[0], room)).collect();
    let time = Duration::from_secs(scale.choose(4, 1));
    let pace = fixed_rate_work(&senders, MESSAGE_CHARS, MESSAGES_PER_SECOND, time);
    let all = Work::Closed {
        senders,
        characters: MESSAGE_CHARS,
        window: WINDOW_MESSAGES,
        completion: Completion::Delivered,
        time,
    };
    // Warms up.
    world.run(&all)?;
    for _ in 0..scale.samples {
        let idle_phase = world.run(&Work::Listen(REST_PERIOD))?;
        scenario.add(
            name,
            "nobody says anything",
            CPU_AT_REST,
            idle_phase.cpu.total() * 1000.0 / REST_PERIOD.as_secs_f64(),
        );
        let setting = FIXED_RATE;
        let phase = world.run(&pace)?;
        if phase.accept_or_note(scenario, subject, setting)? {
            add_costs(scenario, name, setting, &phase);
        }
        let setting = SATURATED;
        let phase = world.run(&all)?;
        if phase.accept_or_note(scenario, subject, setting)? {
            add_costs(scenario, name, setting, &phase);
            let sent = phase.tally.sent as f64;
            scenario.add(name, setting, MESSAGE_RATE, sent / phase.tally.wall.as_secs_f64());
            scenario.add(name, setting, MESSAGES_PER_CPU_SECOND, sent / phase.cpu.total());
        }
    }
    Ok(())
}

fn add_costs(scenario: &mut Scenario, name: &str, setting: &str, phase: &Phase) {
    let tally = &phase.tally;
    let total = phase.cpu.total() * 1e6;
    scenario.add(name, setting, CPU_PER_MESSAGE, total / tally.sent as f64);
    scenario.add(name, setting, CPU_PER_DELIVERY, total / tally.delivered as f64);
    for (process, seconds) in &phase.cpu.0 {
        let figure = format!("{process}: {CPU_PER_MESSAGE}");
        scenario.add(name, setting, &figure, seconds * 1e6 / tally.sent as f64);
    }
    scenario.add(name, setting, P50, tally.delivery_ms(0.5));
    scenario.add(name, setting, P99, tally.delivery_ms(0.99));
    scenario.note_if_generator_bound(name, setting, tally);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_room_has_five_members_on_both_nodes() {
        for rooms in [100, 2000] {
            for members in room_members(rooms) {
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

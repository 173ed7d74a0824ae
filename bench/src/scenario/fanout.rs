//! Fan-out in one room: the cost of a delivery, for single frames and at the highest rate.

use std::time::Duration;

use anyhow::Result;

use super::Scale;
use super::subject::Subject;
use super::world::{Phase, World};
use crate::load::{Completion, Work, fixed_rate_work};
use crate::peers::ServerRequirements;
use crate::results::{Bound, Plot, Scenario};

const MESSAGE_CHARS: u16 = 64;
/// Deliveries per second when messages come one by one. This is well below the capacity of the slowest server, so
/// messages do not overlap.
const SINGLE_DELIVERIES_PER_SECOND: f64 = 25_000.0;
/// Number of unfinished messages in the measurement of the highest rate.
const MAX_IN_FLIGHT_MESSAGES: usize = 32;
const SENDERS: u32 = 16;

const SINGLE_FRAMES: &str = "single frames: deliveries per CPU second";
const SATURATED: &str = "saturated: deliveries per CPU second";
const SATURATED_ALL: &str = "saturated: deliveries per CPU second of all processes";
const SATURATED_RATE: &str = "saturated: deliveries per second";
const P99: &str = "single frames: p99 of all deliveries (ms)";

/// Runs the scenario. `described` are additional servers.
///
/// # Errors
/// When a server does not start, or loses messages.
pub async fn run(scale: &Scale, described: &[Subject]) -> Result<Scenario> {
    let mut scenario = Scenario {
        name: "fanout".into(),
        title: "Fan-out in one room".into(),
        method: format!(
            "Everybody is in one room on one node. Single frames: {SINGLE_DELIVERIES_PER_SECOND} deliveries per \
             second, a message at a time, far below what any of the servers can do. Saturated: {MAX_IN_FLIGHT_MESSAGES} \
             messages under way at any time, sent by {SENDERS} of the people in turn. CPU time is that of the process \
             that holds the connections; for Tidings also with Redis, persistence and PostgreSQL, which store each \
             message meanwhile, as nothing of the kind is done by the others here. Messages of {MESSAGE_CHARS} \
             characters; all servers send the same fields. The clients of Tidings (Socket.IO) speak Socket.IO over \
             WebSocket to a gateway."
        ),
        ..Scenario::default()
    };
    let mut chats = Subject::available_chat_servers(&mut scenario).await?;
    chats.push(Subject::TidingsSocketIo);
    for people in scale.choose(&[10, 100, 1000, 5000, 10_000][..], &[10, 200]) {
        let bare = match people {
            1000.. => vec![Subject::write_limit(), Subject::ws(), Subject::actix_ws()],
            _ => vec![Subject::ws()],
        };
        for subject in chats.iter().chain(&bare).chain(described) {
            measure(&mut scenario, scale, subject, *people).await?;
        }
    }
    add_targets(&mut scenario, scale);
    for (name, figure) in [("single", SINGLE_FRAMES), ("saturated", SATURATED)] {
        scenario.plots.push(Plot {
            name: name.into(),
            title: figure.into(),
            figure: figure.into(),
            logarithmic: name == "saturated",
        });
    }
    Ok(scenario)
}

fn setting_name(people: u32) -> String {
    format!("{people} in the room")
}

async fn measure(scenario: &mut Scenario, scale: &Scale, subject: &Subject, people: u32) -> Result<()> {
    let name = subject.name();
    eprintln!("fanout: {name}, {people} people");
    let mut world =
        World::start(subject, &ServerRequirements { nodes: 1, stored: false }, &[(0..people).collect()], &[])
            .await?;
    let everybody = (0..people).map(|number| world.client_spec(number, 0, vec![0])).collect();
    world.connect_all(everybody)?;
    let per_second = (SINGLE_DELIVERIES_PER_SECOND / f64::from(people)).min(500.0);
    let time = Duration::from_secs(scale.choose(3, 1));
    let single = fixed_rate_work(&[(0, 0)], MESSAGE_CHARS, per_second, time);
    let senders = (0..SENDERS.min(people)).map(|number| (number, 0)).collect();
    let saturated = Work::Closed {
        senders,
        characters: MESSAGE_CHARS,
        window: MAX_IN_FLIGHT_MESSAGES,
        completion: Completion::Delivered,
        time,
    };
    // Warms up.
    world.run(&single)?;
    let setting = setting_name(people);
    for _ in 0..scale.samples {
        let phase = world.run(&single)?;
        if !phase.accept_or_note(scenario, subject, &setting)? {
            continue;
        }
        scenario.add(name, &setting, SINGLE_FRAMES, deliveries_per_cpu_second(&phase));
        scenario.add(name, &setting, P99, phase.tally.delivery_ms(0.99));
        scenario.note_if_generator_bound(name, &setting, &phase.tally);
        let phase = world.run(&saturated)?;
        if !phase.accept_or_note(scenario, subject, &setting)? {
            continue;
        }
        scenario.add(name, &setting, SATURATED, deliveries_per_cpu_second(&phase));
        scenario.add(name, &setting, SATURATED_ALL, phase.tally.delivered as f64 / phase.cpu.total());
        scenario.add(
            name,
            &setting,
            SATURATED_RATE,
            phase.tally.in_time.delivered as f64 / phase.tally.wall.as_secs_f64(),
        );
        scenario.note_if_generator_bound(name, &setting, &phase.tally);
    }
    Ok(())
}

/// Deliveries per CPU second of the process with the connections.
fn deliveries_per_cpu_second(phase: &Phase) -> f64 {
    phase.tally.delivered as f64 / phase.front_cpu()
}

fn add_targets(scenario: &mut Scenario, scale: &Scale) {
    let (single, saturated) =
        scale.choose((setting_name(5000), setting_name(10_000)), (setting_name(200), setting_name(200)));
    let median_of =
        |subject: &Subject, setting: &str, figure: &str| scenario.median(subject.name(), setting, figure);
    let ours = median_of(&Subject::Tidings, &single, SINGLE_FRAMES);
    let limit = ours / median_of(&Subject::write_limit(), &single, SINGLE_FRAMES);
    let peer = ours / median_of(&Subject::socket_io(), &single, SINGLE_FRAMES);
    let ours = median_of(&Subject::Tidings, &saturated, SATURATED);
    let all = median_of(&Subject::Tidings, &saturated, SATURATED_ALL);
    let theirs = median_of(&Subject::socket_io(), &saturated, SATURATED);
    let (times, all_times) = (ours / theirs, all / theirs);
    let socket_io_times = median_of(&Subject::TidingsSocketIo, &saturated, SATURATED) / theirs;
    let socket_io_all_times = median_of(&Subject::TidingsSocketIo, &saturated, SATURATED_ALL) / theirs;
    scenario.add_target(
        "single frames to 5,000, share of the bare write(2) limit",
        limit,
        Bound::AtLeast,
        0.8,
    );
    scenario.add_target("single frames to 5,000, times Socket.IO", peer, Bound::AtLeast, 1.8);
    scenario.add_target(
        "saturated to 10,000, deliveries per server CPU second",
        ours,
        Bound::AtLeast,
        1_000_000.0,
    );
    scenario.add_target(
        "the same by the CPU of all processes (storing included)",
        all,
        Bound::AtLeast,
        1_000_000.0,
    );
    scenario.add_target("saturated to 10,000, times Socket.IO", times, Bound::AtLeast, 8.0);
    scenario.add_target(
        "the same by the CPU of all our processes, storing included",
        all_times,
        Bound::AtLeast,
        8.0,
    );
    scenario.add_target(
        "saturated to 10,000 Socket.IO clients, times Socket.IO",
        socket_io_times,
        Bound::AtLeast,
        10.0,
    );
    scenario.add_target(
        "the same by the CPU of all our processes, storing included, of Socket.IO clients",
        socket_io_all_times,
        Bound::AtLeast,
        10.0,
    );
}

//! Sends that are acknowledged after they are stored: the cost of one send in all processes together.

use std::time::Duration;

use anyhow::{Result, ensure};

use super::Scale;
use super::subject::Subject;
use super::world::World;
use crate::load::{Completion, Work};
use crate::peers::ServerRequirements;
use crate::results::{Bound, Plot, Scenario};

pub(super) const MESSAGE_CHARS: u16 = 64;
/// Number of unfinished messages at any time.
pub(super) const WINDOW_MESSAGES: usize = 1024;
pub(super) const PEOPLE: u32 = 200;

const SENDS_PER_CPU_SECOND: &str = "stored sends per CPU second";
const SENDS_PER_SECOND: &str = "stored sends per second";
const P99_UNTIL_STORED: &str = "p99 until stored (ms)";

/// Runs the scenario.
///
/// # Errors
/// When a server does not start, or loses messages.
pub async fn run(scale: &Scale) -> Result<Scenario> {
    let mut scenario = Scenario {
        name: "stored".into(),
        title: "Sends acknowledged when stored".into(),
        method: format!(
            "{PEOPLE} connections over two nodes send to one room of ten, to 100 rooms of two, or to 10,000 rooms of \
             two, {WINDOW_MESSAGES} messages under way at any time; the next goes when one is acknowledged as stored. \
             CPU time is that of everything: nodes, Redis, persistence, PostgreSQL. PostgreSQL is as durable as it \
             comes (fsync, synchronous_commit), Redis writes its append-only file. Everybody in a room is delivered \
             each message."
        ),
        ..Scenario::default()
    };
    let subjects = Subject::available_chat_servers(&mut scenario).await?;
    for rooms in scale.choose([1, 100, 10_000], [1, 20, 200]) {
        for subject in &subjects {
            measure(&mut scenario, scale, subject, rooms).await?;
        }
        let median_of =
            |subject: &Subject| scenario.median(subject.name(), &setting_name(rooms), SENDS_PER_CPU_SECOND);
        let times = median_of(&Subject::Tidings) / median_of(&Subject::socket_io());
        scenario.add_target(
            &format!("stored sends per CPU second, times Socket.IO + Redis + pg, {}", setting_name(rooms)),
            times,
            Bound::AtLeast,
            5.0,
        );
    }
    scenario.plots.push(Plot {
        name: "cpu".into(),
        title: SENDS_PER_CPU_SECOND.into(),
        figure: SENDS_PER_CPU_SECOND.into(),
        logarithmic: false,
    });
    Ok(scenario)
}

fn setting_name(rooms: u32) -> String {
    format!("{rooms} rooms")
}

/// The numbers of the members of each room. A single room has ten members. Otherwise each room has two members, and
/// every user has equally many rooms.
pub(super) fn room_members(rooms: u32) -> Vec<Vec<u32>> {
    let two = |room: u32| {
        let first = room * 2 % PEOPLE;
        // The second member has another distance in each round, so no pair of users occurs twice.
        vec![first, (first + 1 + 2 * (room * 2 / PEOPLE)) % PEOPLE]
    };
    if rooms == 1 { vec![(0..10).collect()] } else { (0..rooms).map(two).collect() }
}

/// Connects the members of these rooms, who are divided among the nodes. Returns the pairs of client and room that take
/// turns to send.
pub(super) fn connect_members(world: &mut World, members: &[Vec<u32>]) -> Result<Vec<(u32, u32)>> {
    let mut rooms_of = vec![Vec::new(); PEOPLE as usize];
    let mut senders = Vec::new();
    for (room, members) in (0..).zip(members) {
        for member in members {
            rooms_of[*member as usize].push(room);
            senders.push((*member, room));
        }
    }
    let users_with_rooms = rooms_of.iter().position(Vec::is_empty).unwrap_or(rooms_of.len());
    let people = rooms_of.into_iter().take(users_with_rooms).zip(0..);
    let people = people.map(|(rooms, number)| world.client_spec(number, number as usize, rooms)).collect();
    world.connect_all(people)?;
    // Mixes the senders, because consecutive messages must go to different rooms.
    let stride = senders.len() / 7 * 2 + 1;
    Ok((0..senders.len()).map(|at| senders[at * stride % senders.len()]).collect())
}

/// The closed loop that saturates a server.
pub(super) fn saturating_work(scale: &Scale, senders: Vec<(u32, u32)>) -> Work {
    Work::Closed {
        senders,
        characters: MESSAGE_CHARS,
        window: WINDOW_MESSAGES,
        completion: Completion::Acked,
        time: Duration::from_secs(scale.choose(5, 1)),
    }
}

async fn measure(scenario: &mut Scenario, scale: &Scale, subject: &Subject, rooms: u32) -> Result<()> {
    let name = subject.name();
    eprintln!("stored: {name}, {rooms} rooms");
    let members = room_members(rooms);
    let mut world =
        World::start(subject, &ServerRequirements { nodes: 2, stored: true }, &members, &[]).await?;
    let senders = connect_members(&mut world, &members)?;
    let work = saturating_work(scale, senders);
    world.run(&work)?;
    let setting = setting_name(rooms);
    for _ in 0..scale.samples {
        let phase = world.run(&work)?;
        phase.ensure_valid("stored sends")?;
        let tally = &phase.tally;
        ensure!(tally.acked == tally.sent, "{name}: {} of {} were answered", tally.acked, tally.sent);
        scenario.add(name, &setting, SENDS_PER_CPU_SECOND, tally.acked as f64 / phase.cpu.total());
        scenario.add(name, &setting, SENDS_PER_SECOND, tally.in_time.acked as f64 / tally.wall.as_secs_f64());
        scenario.add(name, &setting, P99_UNTIL_STORED, tally.ack_ms(0.99));
        for (process, seconds) in &phase.cpu.0 {
            let figure = format!("{process}: CPU µs per message");
            scenario.add(name, &setting, &figure, seconds * 1e6 / tally.acked as f64);
        }
        scenario.note_if_generator_bound(name, &setting, tally);
    }
    Ok(())
}

//! Sends that are acknowledged after they are stored: the cost of one, with all processes.

use std::time::Duration;

use anyhow::{Result, ensure};

use super::Scale;
use super::subject::Subject;
use super::world::World;
use crate::load::{Gate, Work};
use crate::peers::Setting;
use crate::results::{Bound, Plot, Scenario};

const CHARACTERS: u16 = 64;
/// Unfinished messages at any time.
const WINDOW: usize = 1024;
const PEOPLE: u32 = 200;

const PER_CPU: &str = "stored sends per CPU second";
const RATE: &str = "stored sends per second";
const P99: &str = "p99 until stored (ms)";

/// See the module.
///
/// # Errors
/// When a server does not come up, or loses something.
pub async fn run(scale: &Scale) -> Result<Scenario> {
    let mut scenario = Scenario {
        name: "stored".into(),
        title: "Sends acknowledged when stored".into(),
        method: format!(
            "{PEOPLE} connections over two nodes send to one room of ten, to 100 rooms of two, or to 10,000 rooms of \
             two, {WINDOW} messages under way at any time; the next goes when one is acknowledged as stored. CPU time \
             is that of everything: nodes, Redis, persistence, PostgreSQL. PostgreSQL is as durable as it comes \
             (fsync, synchronous_commit), Redis writes its append-only file. Everybody in a room is delivered each message."
        ),
        ..Scenario::default()
    };
    let subjects = Subject::chats(&mut scenario).await?;
    for rooms in scale.or([1, 100, 10_000], [1, 20, 200]) {
        for subject in &subjects {
            measure(&mut scenario, scale, subject, rooms).await?;
        }
        let of = |subject: &Subject| scenario.median(subject.name(), &setting(rooms), PER_CPU);
        let times = of(&Subject::Tidings) / of(&Subject::socket_io());
        scenario.target(
            &format!("stored sends per CPU second, times Socket.IO + Redis + pg, {}", setting(rooms)),
            times,
            Bound::AtLeast,
            5.0,
        );
    }
    scenario.plots.push(Plot {
        name: "cpu".into(),
        title: PER_CPU.into(),
        figure: PER_CPU.into(),
        logarithmic: false,
    });
    Ok(scenario)
}

fn setting(rooms: u32) -> String {
    format!("{rooms} rooms")
}

/// The members of rooms: ten in a single room, else two in each room, with the same number of rooms for everybody.
fn members(rooms: u32) -> Vec<Vec<u32>> {
    let two = |room: u32| {
        let first = room * 2 % PEOPLE;
        // Another neighbour in each round, so that pairs differ.
        vec![first, (first + 1 + 2 * (room * 2 / PEOPLE)) % PEOPLE]
    };
    if rooms == 1 { vec![(0..10).collect()] } else { (0..rooms).map(two).collect() }
}

async fn measure(scenario: &mut Scenario, scale: &Scale, subject: &Subject, rooms: u32) -> Result<()> {
    let name = subject.name();
    eprintln!("stored: {name}, {rooms} rooms");
    let members = members(rooms);
    let mut world = World::raise(subject, &Setting { nodes: 2, stored: true }, &members, &[]).await?;
    let mut rooms_of = vec![Vec::new(); PEOPLE as usize];
    let mut senders = Vec::new();
    for (room, members) in (0..).zip(&members) {
        for member in members {
            rooms_of[*member as usize].push(room);
            senders.push((*member, room));
        }
    }
    let in_a_room = rooms_of.iter().position(Vec::is_empty).unwrap_or(rooms_of.len());
    let people = rooms_of.into_iter().take(in_a_room).zip(0..);
    let people = people.map(|(rooms, number)| world.person(number, number as usize, rooms)).collect();
    world.enter(people)?;
    // Mixes the senders, so that consecutive messages go to different rooms.
    let stride = senders.len() / 7 * 2 + 1;
    let senders = (0..senders.len()).map(|at| senders[at * stride % senders.len()]).collect();
    let time = Duration::from_secs(scale.or(5, 1));
    let work = Work::Closed { senders, characters: CHARACTERS, window: WINDOW, gate: Gate::Acked, time };
    world.work(&work)?;
    let setting = setting(rooms);
    for _ in 0..scale.samples {
        let phase = world.work(&work)?;
        phase.whole("stored sends")?;
        let tally = &phase.tally;
        ensure!(tally.acked == tally.sent, "{name}: {} of {} were answered", tally.acked, tally.sent);
        scenario.add(name, &setting, PER_CPU, tally.acked as f64 / phase.cpu.total());
        scenario.add(name, &setting, RATE, tally.in_time.acked as f64 / tally.wall.as_secs_f64());
        scenario.add(name, &setting, P99, tally.ack_ms(0.99));
        for (process, seconds) in &phase.cpu.0 {
            let figure = format!("{process}: CPU µs per message");
            scenario.add(name, &setting, &figure, seconds * 1e6 / tally.acked as f64);
        }
        scenario.note_if_limited(name, &setting, tally);
    }
    Ok(())
}

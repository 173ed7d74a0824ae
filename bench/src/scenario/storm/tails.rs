//! All clients reconnect at once to rooms whose tails are full, while other clients send. Measures the latency of the
//! other clients' sends, and the time until all clients have caught up.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::json;
use tidings_harness::{Cursor, ServerFrame, Stack};

use super::{
    MAX_CONCURRENT_HANDSHAKES, MESSAGES_MISSING, NODES, SECONDS_TO_CATCH_UP, max_sample, room_heads,
    wait_until_all_disconnected,
};
use crate::load::{BackgroundLoad, ClientSpec, LoadGenerator, Tally, fixed_rate_work};
use crate::peers::ServerRequirements;
use crate::processes::MemoryWatch;
use crate::results::{Bound, Scenario};
use crate::scenario::Scale;
use crate::scenario::subject::Subject;
use crate::scenario::world::World;

const SUBJECT: &str = "Tidings";
/// Number of messages that fill a tail: together they are larger than its 64 KiB.
const RECORDS_PER_TAIL: u32 = 80;
const LONG_MESSAGE_CHARS: u16 = 1000;
/// Precision of the cursors, in records: the cursor of a client is at most this many records after the oldest record of
/// the tail.
const CURSOR_STEP: u64 = 4;
/// Characters of the other clients' messages.
const MESSAGE_CHARS: u16 = 64;
/// Limit of the connections that fill the tails. Each sends [`MESSAGES_PER_SECOND_PER_FILLER`] messages per second.
const MAX_FILLERS: u32 = 10;
const MESSAGES_PER_SECOND_PER_FILLER: u32 = 400;
/// Number of rooms of two in which the other clients send, for each of [`ACK_STAGES`].
const SENDER_ROOMS_PER_STAGE: u32 = 20;
const REST_PERIOD: Duration = Duration::from_secs(3);
const REPLAY_TIMEOUT: Duration = Duration::from_secs(30);
const MIB: f64 = 1024.0 * 1024.0;

/// The ack stages that senders request, with the fields of `message:send` for each.
const ACK_STAGES: [(&str, &str); 2] =
    [("accepted", r#""attempt":1,"ack":"accepted""#), ("stored", r#""attempt":1,"ack":"stored""#)];
const FAILED_SENDS: &str = "sends of the others that were refused or not answered";
const CLIENTS_NOT_CAUGHT_UP: &str = "clients that did not catch up";

/// Runs the scenario.
///
/// # Errors
/// When a process does not start, or a tail cannot be filled.
pub async fn run(scale: &Scale) -> Result<Scenario> {
    let people = scale.sizes.clients.unwrap_or(scale.choose(10_000, 200));
    let rooms = scale.sizes.rooms.unwrap_or(scale.choose(100, 5)).min(people);
    let rate = scale.sizes.rate.unwrap_or(scale.choose(500, 50));
    let setting = format!("{people} clients, {rooms} rooms");
    let mut scenario = Scenario {
        name: "storm --tails".into(),
        title: "Everybody reconnects to full tails".into(),
        method: format!(
            "{people} people in {rooms} rooms, each in one, over {NODES} gateways. Nobody is connected while \
             {RECORDS_PER_TAIL} messages of {LONG_MESSAGE_CHARS} characters are sent to each room, which fills the \
             room's tail of 64 KiB in Redis. Then all connect, {MAX_CONCURRENT_HANDSHAKES} handshakes under way at a \
             time, and join with a cursor at the beginning of the tail, at most {CURSOR_STEP} records behind it. The \
             time runs from the first connect until the last `room:caught_up`. Each must be delivered exactly the \
             messages after the cursor, in order. Meanwhile others, in {} rooms of two over both gateways, send {rate} \
             messages per second, whatever becomes of those before; half of them ask for the answer `accepted`, half \
             for `stored`. Their latencies count from the moment when a message was due. They send before, for {} s, \
             and in the storm. Each of the three load generators has a thread of its own, on the same machine. Memory \
             is the resident memory of all gateways.",
            2 * SENDER_ROOMS_PER_STAGE,
            REST_PERIOD.as_secs()
        ),
        ..Scenario::default()
    };
    eprintln!("storm --tails: {setting}");
    let mut members: Vec<Vec<u32>> =
        (0..rooms).map(|room| (0..people).filter(|number| number % rooms == room).collect()).collect();
    members
        .extend((0..2 * SENDER_ROOMS_PER_STAGE).map(|pair| vec![people + 2 * pair, people + 2 * pair + 1]));
    let mut world =
        World::start(&Subject::Tidings, &ServerRequirements { nodes: NODES, stored: true }, &members, &[])
            .await?;
    let stack = world.stack.clone().context("Tidings has a stack")?;
    for _ in 0..scale.samples {
        fill_tails(&mut world, &stack, rooms)?;
        wait_until_all_disconnected(&stack).await?;
        let cursors = cursors_near_tail_start(&stack, &world.rooms[..rooms as usize]).await?;
        wait_until_all_disconnected(&stack).await?;
        let mut others = BackgroundSenders::connect(&world, people, rooms, f64::from(rate))?;
        for (stage, tally) in others.send_during(wait_rest_period()).await?.1 {
            scenario.add(SUBJECT, &setting, &format!("p99 until {stage}, before (ms)"), tally.ack_ms(0.99));
        }
        let before = world.frontend_resident_bytes()?;
        let watch = MemoryWatch::start(world.frontend_processes());
        let coming = reconnecting_clients(&world, people, rooms, &cursors);
        let storm =
            others.send_during(async { world.try_connect_all(coming, MAX_CONCURRENT_HANDSHAKES) }).await;
        let max_resident = watch.finish();
        let (phase, tallies) = storm?;
        let mut add = |figure: &str, value: f64| scenario.add(SUBJECT, &setting, figure, value);
        let mut failed = 0;
        for (stage, tally) in &tallies {
            add(&format!("p99 until {stage}, in the storm (ms)"), tally.ack_ms(0.99));
            failed += tally.failed();
        }
        add(FAILED_SENDS, failed as f64);
        let wanted = (0..people).map(|number| cursors[(number % rooms) as usize].1);
        let wrong: u64 =
            world.load.received_counts().zip(wanted).map(|(count, wanted)| count.abs_diff(wanted)).sum();
        add(SECONDS_TO_CATCH_UP, phase.tally.wall.as_secs_f64());
        add(MESSAGES_MISSING, (wrong + phase.tally.out_of_order) as f64);
        add(CLIENTS_NOT_CAUGHT_UP, phase.disconnected as f64);
        add("replayed (MiB)", phase.tally.bytes as f64 / MIB);
        add("gateways: memory before (MiB)", before as f64 / MIB);
        add("gateways: most memory (MiB)", max_resident as f64 / MIB);
        for (process, seconds) in &phase.cpu.0 {
            add(&format!("{process}: CPU s"), *seconds);
        }
        scenario.note_if_generator_bound(SUBJECT, &setting, &phase.tally);
        world.load.reset_all();
        drop(others);
        wait_until_all_disconnected(&stack).await?;
    }
    let (missing, away, failed) = (
        max_sample(&scenario, SUBJECT, MESSAGES_MISSING),
        max_sample(&scenario, SUBJECT, CLIENTS_NOT_CAUGHT_UP),
        max_sample(&scenario, SUBJECT, FAILED_SENDS),
    );
    scenario.add_target(
        "messages missing, doubled or out of order, in all storms",
        missing,
        Bound::AtMost,
        0.0,
    );
    scenario.add_target("clients that did not catch up, in the worst storm", away, Bound::AtMost, 0.0);
    scenario.add_target("sends refused or not answered, in the worst storm", failed, Bound::AtMost, 0.0);
    Ok(scenario)
}

async fn wait_rest_period() -> Result<()> {
    tokio::time::sleep(REST_PERIOD).await;
    Ok(())
}

/// Fills the tail of each room with messages of the room's creator, and disconnects.
fn fill_tails(world: &mut World, stack: &Stack, rooms: u32) -> Result<()> {
    let fillers = MAX_FILLERS.min(rooms);
    let host = |number: u32| {
        let rooms = (number..rooms).step_by(fillers as usize).collect();
        ClientSpec {
            user: "host".into(),
            token: stack.token("host"),
            timed: false,
            ..world.client_spec(number, number as usize, rooms)
        }
    };
    let people = (0..fillers).map(host).collect();
    world.connect_all(people)?;
    let senders: Vec<(u32, u32)> = (0..rooms).map(|room| (room % fillers, room)).collect();
    let rate = f64::from(MESSAGES_PER_SECOND_PER_FILLER * fillers);
    let time = Duration::from_secs_f64(f64::from(RECORDS_PER_TAIL * rooms) / rate);
    world
        .run(&fixed_rate_work(&senders, LONG_MESSAGE_CHARS, rate, time))?
        .ensure_valid("the messages of the tails")?;
    world.load.reset_all();
    Ok(())
}

/// For each room, a cursor near the beginning of the tail, and the number of messages after the cursor. The function
/// finds the cursor by joining: the server answers a cursor before the tail with a gap.
async fn cursors_near_tail_start(stack: &Stack, rooms: &[String]) -> Result<Vec<(Cursor, u64)>> {
    let client = stack.connect("host").await?;
    let (mut beginnings, mut behind) = (Vec::with_capacity(rooms.len()), u64::from(RECORDS_PER_TAIL));
    for (room, head) in rooms.iter().zip(room_heads(stack, rooms).await?) {
        // The tails of all rooms have nearly the same length, so the search begins near the previous room's result.
        behind = u64::from(RECORDS_PER_TAIL).min(behind + CURSOR_STEP);
        let after = loop {
            ensure!(behind > 0, "the tail of {room} is empty");
            let after = Cursor { seq: head.seq.saturating_sub(behind), ..head.clone() };
            client.join_after(room, &after).await?;
            let is_gap = loop {
                match client.next_of_log(REPLAY_TIMEOUT).await? {
                    ServerFrame::Gap(_) => break true,
                    ServerFrame::CaughtUp(_) => break false,
                    _ => {}
                }
            };
            client.leave(room).await?;
            if !is_gap {
                break after;
            }
            behind -= CURSOR_STEP;
        };
        beginnings.push((after, behind));
    }
    client.close().await?;
    Ok(beginnings)
}

fn reconnecting_clients(
    world: &World,
    people: u32,
    rooms: u32,
    cursors: &[(Cursor, u64)],
) -> Vec<ClientSpec> {
    let person = |number: u32| {
        let room = number % rooms;
        let after = &cursors[room as usize].0;
        let join = json!({
            "type": "room:join", "ref": "join", "room": world.rooms[room as usize],
            "after": { "epoch": after.epoch, "seq": after.seq }
        });
        // The members of each room are on all nodes.
        let node = (number / rooms) as usize;
        ClientSpec { joins: Some(vec![join.to_string()]), ..world.client_spec(number, node, vec![room]) }
    };
    (0..people).map(person).collect()
}

/// The other clients, who send while clients reconnect. There is a load generator for each of [`ACK_STAGES`]; all use
/// the same pairs of sender and room.
struct BackgroundSenders {
    loads: Vec<Option<LoadGenerator>>,
    senders: Vec<(u32, u32)>,
    per_second: f64,
}

impl BackgroundSenders {
    fn connect(world: &World, people: u32, rooms: u32, rate: f64) -> Result<BackgroundSenders> {
        let mut loads = Vec::new();
        for (stage, (_, field)) in (0..).zip(ACK_STAGES) {
            let mut dialect = world.running.dialect.clone();
            dialect.send = dialect.send.replace(r#""attempt":1"#, field);
            ensure!(dialect.send.contains(field), "sends have no field `attempt`");
            // Each generator gets only its own rooms. So the numbers of senders and rooms begin at 0 in each, and all
            // generators can use the same `senders`.
            let first = rooms + stage * SENDER_ROOMS_PER_STAGE;
            let own = world.rooms[first as usize..(first + SENDER_ROOMS_PER_STAGE) as usize].to_vec();
            let mut load = LoadGenerator::new(dialect, own)?;
            let number = |one: u32| people + 2 * stage * SENDER_ROOMS_PER_STAGE + one;
            let pairs = (0..2 * SENDER_ROOMS_PER_STAGE)
                .map(|one| world.client_spec(number(one), one as usize, vec![one / 2]));
            load.connect_all(pairs.collect(), MAX_CONCURRENT_HANDSHAKES, REPLAY_TIMEOUT)?;
            loads.push(Some(load));
        }
        let senders = (0..SENDER_ROOMS_PER_STAGE).map(|room| (2 * room + room % 2, room)).collect();
        Ok(BackgroundSenders { loads, senders, per_second: rate / ACK_STAGES.len() as f64 })
    }

    /// Sends messages while the future `what` runs. Returns its output, and the tallies by ack stage.
    async fn send_during<T>(
        &mut self,
        what: impl Future<Output = Result<T>>,
    ) -> Result<(T, Vec<(&'static str, Tally)>)> {
        let started = self.loads.iter_mut().map(Option::take).map(|load| {
            let load = load.context("a load generator failed before")?;
            Ok(BackgroundLoad::start(load, &self.senders, MESSAGE_CHARS, self.per_second))
        });
        let started: Vec<BackgroundLoad> = started.collect::<Result<_>>()?;
        let outcome = what.await;
        let mut tallies = Vec::new();
        for (beside, (load, (stage, _))) in started.into_iter().zip(self.loads.iter_mut().zip(ACK_STAGES)) {
            let (again, tally) = beside.finish()?;
            *load = Some(again);
            tallies.push((stage, tally));
        }
        Ok((outcome?, tallies))
    }
}

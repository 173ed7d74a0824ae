//! PostgreSQL is away while people talk: what is accepted is delivered at once all the same, senders are answered or told
//! when to try again, memory stays bounded, and everything is stored once afterwards.

#[path = "support/steady.rs"]
mod steady;

use std::collections::HashMap;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use steady::{Hearer, Met, Sender};
use tidings_harness::Stack;
use tidings_shared::{ids::RoomId, log::keys::Partition};

const MIB: u64 = 1024 * 1024;

struct Plan {
    /// Rooms in which `rate` messages a second are sent together.
    rooms: usize,
    rate: u32,
    before: Duration,
    away: Duration,
    after: Duration,
    /// Records of one partition that may wait.
    bound: u64,
    /// By which no service may grow.
    growth: u64,
}

/// Resident memory by name of the process, in bytes.
type Memory = Vec<(String, u64)>;

fn memory(stack: &Stack) -> Result<Memory> {
    let nodes = stack.gateways().iter().map(|node| ("gateway", node.pid()));
    let others = [("persistence", stack.persistence(0).pid()), ("Redis", stack.redis().pid())];
    nodes.chain(others).map(|(name, pid)| Ok((name.to_owned(), resident(pid.context(name)?)?))).collect()
}

fn resident(pid: u32) -> Result<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS")?;
    Ok(line.trim().trim_end_matches(" kB").parse::<u64>()? * 1024)
}

/// What a run came to.
struct Figures {
    refused: HashMap<String, usize>,
    /// Largest memory before, while it was away, and behind it.
    memory: [Memory; 3],
    /// From a send to its arrival at the last of those who hear it, of messages accepted while it was away.
    delivery: Vec<Duration>,
    /// In the room where little is said, by second of the time that it was away.
    quiet: Vec<usize>,
    messages: usize,
}

/// Rooms in partitions of their own, the quiet one last.
async fn rooms(stack: &Stack, count: usize) -> Result<Vec<String>> {
    let mut rooms: Vec<String> = Vec::new();
    while rooms.len() < count {
        let number = rooms.len();
        let people = [format!("hearer{number}"), format!("other{number}")];
        let room = stack.http(&format!("sender{number}")).new_room(&[&people[0], &people[1]]).await?;
        let of = |room: &str| RoomId::parse(room).map(|room| Partition::of(&room));
        if rooms.iter().all(|other| of(other) != of(&room)) {
            rooms.push(room);
        }
    }
    Ok(rooms)
}

async fn largest_during(stack: &Stack, length: Duration) -> Result<Memory> {
    let begun = Instant::now();
    let mut largest = memory(stack)?;
    while begun.elapsed() < length {
        tokio::time::sleep(Duration::from_millis(500).min(length)).await;
        for ((_, largest), (_, now)) in largest.iter_mut().zip(memory(stack)?) {
            *largest = now.max(*largest);
        }
    }
    Ok(largest)
}

async fn play(plan: &Plan) -> Result<Figures> {
    let builder = Stack::builder().gateways(2).own_postgres().env("TIDINGS_MAX_BACKLOG_RECORDS", plan.bound);
    let stack = builder
        .gateway_env("TIDINGS_MESSAGES_PER_SECOND", 100_000)
        .gateway_env("TIDINGS_MESSAGES_BURST", 100_000)
        .start()
        .await?;
    let rooms = rooms(&stack, plan.rooms + 1).await?;
    let length = plan.before + plan.away + plan.after;
    let (mut senders, mut hearers) = (Vec::new(), Vec::new());
    for (number, room) in rooms.iter().enumerate() {
        for (gateway, name) in ["hearer", "other"].iter().enumerate() {
            let client = stack.connect_at(gateway, &format!("{name}{number}")).await?;
            hearers.push((room.clone(), Hearer::start(client, room).await?));
        }
        let busy = Duration::from_secs_f64(plan.rooms as f64 / f64::from(plan.rate));
        let pause = if number < plan.rooms { busy } else { Duration::from_millis(250) };
        let count = usize::try_from(length.as_nanos() / pause.as_nanos())?;
        let client = stack.connect(&format!("sender{number}")).await?;
        senders.push(Sender::start(client, room, count, pause));
    }
    let before = largest_during(&stack, plan.before).await?;
    stack.database().server().kill();
    let down = Instant::now();
    let away = largest_during(&stack, plan.away).await?;
    let up = Instant::now();
    stack.database().server().restart().await?;
    let mut met: HashMap<String, Met> = HashMap::new();
    let after = largest_during(&stack, plan.after).await?;
    for sender in senders {
        let answered = sender.answered();
        let (room, all) = sender.finish().await.with_context(|| format!("{answered} were answered"))?;
        met.insert(room, all);
    }
    let mut heard = Vec::new();
    for (room, hearer) in hearers {
        heard.push((room.clone(), hearer.finish(met[&room].sent.len()).await?));
    }
    stored_once(&stack, &met).await?;
    for node in stack.gateways().iter().chain(stack.persistence_nodes()) {
        ensure!(!node.log()?.contains("panicked"), "a panic");
    }

    let mut figures = Figures {
        refused: HashMap::new(),
        memory: [before, away, after],
        delivery: Vec::new(),
        quiet: vec![0; usize::try_from(plan.away.as_secs())?],
        messages: met.values().map(|met| met.sent.len()).sum(),
    };
    for (code, count) in met.values().flat_map(|met| &met.refused) {
        *figures.refused.entry(code.clone()).or_default() += count;
    }
    for (room, heard) in &heard {
        let heard: HashMap<&str, Instant> = heard.iter().map(|(id, _, at)| (id.as_str(), *at)).collect();
        let sent = met[room].sent.iter();
        // One that waits to be stored, or was repeated, was appended at a time that its sender does not know.
        for sent in sent.filter(|sent| sent.accepted && sent.tries == 1 && (down..up).contains(&sent.at)) {
            let heard = heard.get(sent.client_id.as_str()).context("it was not heard")?;
            figures.delivery.push(heard.saturating_duration_since(sent.at));
            let second = usize::try_from((*heard - down).as_secs())?;
            if room == &rooms[plan.rooms] && second < figures.quiet.len() {
                figures.quiet[second] += 1;
            }
        }
    }
    figures.delivery.sort_unstable();
    Ok(figures)
}

/// Each message stands in the database once, where its sender was told, and the logs have no hole.
async fn stored_once(stack: &Stack, met: &HashMap<String, Met>) -> Result<()> {
    let begun = Instant::now();
    for (room, met) in met {
        let last = met.sent.iter().map(|sent| sent.seq).max().unwrap_or_default();
        let head = format!("SELECT head_seq FROM rooms WHERE id = '{room}'");
        while stack.database().value(&head).await? != last.to_string() {
            ensure!(begun.elapsed() < Duration::from_secs(60), "not all is stored");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        let sql = format!("SELECT client_id, seq FROM messages WHERE room_id = '{room}' ORDER BY seq");
        let rows = stack.database().query(&sql).await?;
        let mut sent: Vec<_> = met.sent.iter().map(|sent| (sent.seq, &sent.client_id)).collect();
        sent.sort_unstable();
        let sent: Vec<Vec<String>> =
            sent.into_iter().map(|(seq, client_id)| vec![client_id.clone(), seq.to_string()]).collect();
        ensure!(rows == sent, "{} rows, {} sent", rows.len(), sent.len());
    }
    let voids =
        "SELECT (SELECT count(*) FROM events WHERE type = 'void') + (SELECT count(*) FROM dead_letters)";
    ensure!(stack.database().value(voids).await? == "0", "voids or dead letters");
    Ok(())
}

impl Figures {
    fn delivered_within(&self, share: f64) -> Duration {
        let place = (self.delivery.len() as f64 * share) as usize;
        self.delivery.get(place.min(self.delivery.len().saturating_sub(1))).copied().unwrap_or(Duration::MAX)
    }

    fn tell(&self, plan: &Plan) {
        println!("{} messages, PostgreSQL away for {:?} at {}/s", self.messages, plan.away, plan.rate);
        for (number, (name, before)) in self.memory[0].iter().enumerate() {
            let [away, after] = [1, 2].map(|phase: usize| self.memory[phase][number].1);
            let [before, away, after] = [*before, away, after].map(|bytes| bytes as f64 / MIB as f64);
            println!("{name:12} {before:8.1} MiB before, {away:8.1} while it was away, {after:8.1} after");
        }
        let [half, most] = [0.5, 0.99].map(|share| self.delivered_within(share));
        let (count, last) = (self.delivery.len(), self.delivered_within(1.0));
        println!("live delivery of {count} accepted meanwhile: p50 {half:?}, p99 {most:?}, at most {last:?}");
        println!("refused and sent again: {:?}; quiet room by second: {:?}", self.refused, self.quiet);
    }

    fn check(&self, plan: &Plan) -> Result<()> {
        self.tell(plan);
        ensure!(self.delivered_within(0.99) < Duration::from_secs(3), "live delivery did not go on");
        // Some second may lie between two of the quarter seconds that a busy machine makes longer.
        let silent = self.quiet.windows(3).find(|seconds| seconds.iter().sum::<usize>() == 0);
        ensure!(silent.is_none(), "nothing was heard for three seconds: {:?}", self.quiet);
        for phase in [1, 2] {
            for ((name, before), (_, now)) in self.memory[0].iter().zip(&self.memory[phase]) {
                ensure!(now.saturating_sub(*before) < plan.growth, "{name} grew from {before} to {now}");
            }
        }
        Ok(())
    }
}

#[tokio::test]
async fn while_postgresql_is_away_what_is_accepted_is_delivered_and_above_the_bound_senders_are_told_to_wait()
-> Result<()> {
    let plan = Plan {
        rooms: 3,
        rate: 150,
        before: Duration::from_secs(3),
        away: Duration::from_secs(11),
        after: Duration::from_secs(5),
        bound: 200,
        growth: 64 * MIB,
    };
    let figures = play(&plan).await?;
    figures.check(&plan)?;
    ensure!(figures.refused.get("overloaded").is_some_and(|count| *count > 0), "{:?}", figures.refused);
    Ok(())
}

/// `cargo test --release … -- --ignored --nocapture`
#[tokio::test]
#[ignore = "takes two minutes; run it to see the figures"]
async fn a_minute_without_postgresql_at_500_messages_a_second_costs_bounded_memory() -> Result<()> {
    let plan = Plan {
        rooms: 8,
        rate: 500,
        before: Duration::from_secs(10),
        away: Duration::from_secs(60),
        after: Duration::from_secs(20),
        bound: 10_000,
        growth: 128 * MIB,
    };
    play(&plan).await?.check(&plan)
}

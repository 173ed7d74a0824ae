//! PostgreSQL is away while people talk: what is accepted is delivered at once all the same, senders are answered or told
//! when to try again, memory stays bounded, and everything is stored once afterwards.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use crate::steady::{Hearer, Met, Sender};
use anyhow::{Context, Result, ensure};
use tidings_harness::{Stack, memory::resident};
use tidings_shared::{
    ids::RoomId,
    log::keys::{self, Partition},
};

const MIB: u64 = 1024 * 1024;
/// Bytes of a message's content, of most and of those that are to fill memory.
const USUAL: usize = 200;
const LARGE: usize = 32 * 1024;

struct Plan {
    /// Rooms in which `rate` messages a second are sent together.
    rooms: usize,
    rate: u32,
    /// So many of them nobody hears. Messages there are large: who hears a flood of such may be closed as too slow.
    unheard: usize,
    before: Duration,
    away: Duration,
    after: Duration,
    /// Records of one partition that may wait.
    bound: u64,
    /// Bytes by which no process may grow while it is away; by twice as much behind it.
    growth: u64,
}

impl Plan {
    /// Bytes of large messages that are sent while PostgreSQL is away: memory grows by as much when all are kept.
    fn large_while_away(&self) -> u64 {
        self.away.as_secs() * u64::from(self.rate) * (self.unheard * LARGE / self.rooms) as u64
    }
}

/// Resident memory by name of the process, in bytes.
type Memory = Vec<(String, u64)>;

fn memory(stack: &Stack) -> Result<Memory> {
    let nodes = stack.gateways().iter().map(|node| ("gateway", node.pid()));
    let others = [("persistence", stack.persistence(0).pid()), ("Redis", stack.redis().pid())];
    nodes.chain(others).map(|(name, pid)| Ok((name.to_owned(), resident(pid.context(name)?)?))).collect()
}

/// What a run came to.
struct Figures {
    refused: HashMap<String, usize>,
    /// Largest memory before, while it was away, and behind it.
    memory: [Memory; 3],
    /// From a send to its arrival at those who hear it, of messages accepted while it was away, up to the first refusal
    /// in their room.
    delivery: Vec<Duration>,
    /// In the room where little is said, by second of the time that it was away.
    quiet: Vec<usize>,
    /// Answered `accepted`, and `stored`.
    answered: [usize; 2],
    tries: u32,
    /// From PostgreSQL's return until all that was in the logs at that moment was written.
    written_after: Duration,
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

/// How long it takes until all that is in the logs now is in the database.
async fn until_written(stack: &Stack, rooms: &[String]) -> Result<Duration> {
    let begun = Instant::now();
    let mut heads = Vec::new();
    for room in rooms {
        let mut command = redis::cmd("HGET");
        command.arg(keys::room(&RoomId::parse(room)?)).arg("seq");
        heads.push((room, stack.redis().command::<u64>(&command).await?));
    }
    for (room, head) in heads {
        let written = format!("SELECT head_seq >= {head} FROM rooms WHERE id = '{room}'");
        while stack.database().value(&written).await? != "t" {
            ensure!(begun.elapsed() < Duration::from_secs(60), "not all is written");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
    Ok(begun.elapsed())
}

async fn play(plan: &Plan) -> Result<Figures> {
    let builder = Stack::builder().gateways(2).own_postgres().env("TIDINGS_MAX_BACKLOG_RECORDS", plan.bound);
    let stack = builder
        .env("TIDINGS_MAX_MESSAGE_CHARS", LARGE)
        .gateway_env("TIDINGS_MESSAGES_PER_SECOND", 100_000)
        .gateway_env("TIDINGS_MESSAGES_BURST", 100_000)
        .start()
        .await?;
    let rooms = rooms(&stack, plan.rooms + 1).await?;
    let length = plan.before + plan.away + plan.after;
    let (mut senders, mut hearers) = (Vec::new(), Vec::new());
    for (number, room) in rooms.iter().enumerate() {
        let heard = number >= plan.unheard;
        for (gateway, name) in ["hearer", "other"].iter().enumerate().filter(|_| heard) {
            let client = stack.connect_at(gateway, &format!("{name}{number}")).await?;
            hearers.push((room.clone(), Hearer::start(client, room).await?));
        }
        let busy = Duration::from_secs_f64(plan.rooms as f64 / f64::from(plan.rate));
        let pause = if number < plan.rooms { busy } else { Duration::from_millis(250) };
        let count = usize::try_from(length.as_nanos() / pause.as_nanos())?;
        let client = stack.connect(&format!("sender{number}")).await?;
        senders.push(Sender::start(client, room, count, pause, if heard { USUAL } else { LARGE }));
    }
    let before = largest_during(&stack, plan.before).await?;
    stack.database().server().kill();
    let down = Instant::now();
    let away = largest_during(&stack, plan.away).await?;
    let up = Instant::now();
    stack.database().server().restart().await?;
    let mut met: HashMap<String, Met> = HashMap::new();
    let (after, written_after) =
        tokio::try_join!(largest_during(&stack, plan.after), until_written(&stack, &rooms))?;
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

    let sent = || met.values().flat_map(|met| &met.sent);
    let mut figures = Figures {
        refused: HashMap::new(),
        memory: [before, away, after],
        delivery: Vec::new(),
        quiet: vec![0; usize::try_from(plan.away.as_secs())?],
        answered: [true, false].map(|accepted| sent().filter(|sent| sent.accepted == accepted).count()),
        tries: sent().map(|sent| sent.tries).sum(),
        written_after,
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
            // Later ones may have waited behind a repetition that is looked up first, which takes seconds now.
            if met[room].first_refusal.is_none_or(|refused| sent.at < refused) {
                figures.delivery.push(heard.saturating_duration_since(sent.at));
            }
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
        let [accepted, stored] = self.answered;
        let (sent, tries) = (accepted + stored, self.tries);
        println!("PostgreSQL away for {:?}, {}/s", plan.away, plan.rate);
        println!(
            "{sent} sent, each stored once: {accepted} answered accepted, {stored} stored; {tries} tries"
        );
        for (number, (name, before)) in self.memory[0].iter().enumerate() {
            let [away, after] = [1, 2].map(|phase: usize| self.memory[phase][number].1);
            let [before, away, after] = [*before, away, after].map(|bytes| bytes as f64 / MIB as f64);
            println!("{name:12} {before:8.1} MiB before, {away:8.1} while it was away, {after:8.1} after");
        }
        let [half, most] = [0.5, 0.99].map(|share| self.delivered_within(share));
        let (count, last) = (self.delivery.len(), self.delivered_within(1.0));
        println!("live delivery of {count} accepted meanwhile: p50 {half:?}, p99 {most:?}, at most {last:?}");
        println!("all that waited was written {:?} after PostgreSQL's return", self.written_after);
        println!("refused and sent again: {:?}; quiet room by second: {:?}", self.refused, self.quiet);
    }

    fn check(&self, plan: &Plan) -> Result<()> {
        self.tell(plan);
        ensure!(self.delivered_within(0.99) < Duration::from_secs(3), "live delivery did not go on");
        // Some second may lie between two of the quarter seconds that a busy machine makes longer.
        let silent = self.quiet.windows(3).find(|seconds| seconds.iter().sum::<usize>() == 0);
        ensure!(silent.is_none(), "nothing was heard for three seconds: {:?}", self.quiet);
        // What waited is written in few batches, which take a multiple of it for a moment.
        for (phase, growth) in [(1, plan.growth), (2, 2 * plan.growth)] {
            for ((name, before), (_, now)) in self.memory[0].iter().zip(&self.memory[phase]) {
                let [before, now, growth] = [*before, *now, growth].map(|bytes: u64| bytes / MIB);
                ensure!(now.saturating_sub(before) < growth, "{name} grew from {before} to {now} MiB");
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
        unheard: 2,
        before: Duration::from_secs(4),
        away: Duration::from_secs(12),
        after: Duration::from_secs(4),
        bound: 80,
        growth: 16 * MIB,
    };
    ensure!(plan.large_while_away() > 2 * plan.growth, "were all of it kept, it would not be noticed");
    let figures = play(&plan).await?;
    figures.check(&plan)?;
    ensure!(figures.refused.get("overloaded").is_some_and(|count| *count > 0), "{:?}", figures.refused);
    Ok(())
}

/// `./dev test --long a_minute_without_postgresql`
#[tokio::test]
#[ignore = "long: a minute without PostgreSQL"]
async fn a_minute_without_postgresql_at_500_messages_a_second_costs_bounded_memory() -> Result<()> {
    let plan = Plan {
        rooms: 8,
        rate: 500,
        unheard: 0,
        before: Duration::from_secs(10),
        away: Duration::from_secs(60),
        after: Duration::from_secs(20),
        bound: 10_000,
        growth: 128 * MIB,
    };
    play(&plan).await?.check(&plan)
}

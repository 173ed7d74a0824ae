//! PostgreSQL is away while clients talk. Accepted messages are delivered at once; senders are answered or told when to
//! retry; memory stays bounded; afterwards each message is stored once.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use crate::steady::{RoomListener, SendResults, Sender};
use anyhow::{Context, Result, ensure};
use tidings_harness::{Stack, memory::resident};
use tidings_shared::{
    ids::RoomId,
    log::keys::{self, Partition},
};

const MIB: u64 = 1024 * 1024;
/// How much more memory than during the outage the processes may use when the backlog is written: a batch exists in
/// several forms at once. Unoptimized builds use 36 MiB here, on a busy machine.
const AFTER_FACTOR: u64 = 3;
/// Bytes of a message's content: in most rooms, and in the rooms whose messages are to fill memory.
const USUAL_BYTES: usize = 200;
const LARGE_BYTES: usize = 32 * 1024;

struct Plan {
    /// Rooms in which `rate` messages a second are sent together.
    rooms: usize,
    rate: u32,
    /// The number of rooms without listeners. Their messages are large; a listener could be closed as too slow.
    rooms_without_listeners: usize,
    before: Duration,
    away: Duration,
    after: Duration,
    /// The backlog bound of one partition, in records.
    bound: u64,
    /// Bytes by which a process may grow during the outage; [`AFTER_FACTOR`] times as many afterwards.
    growth: u64,
}

impl Plan {
    /// Bytes of large messages that are sent during the outage. Memory would grow by as much if all of them were kept.
    fn large_while_away(&self) -> u64 {
        self.away.as_secs()
            * u64::from(self.rate)
            * (self.rooms_without_listeners * LARGE_BYTES / self.rooms) as u64
    }
}

/// Resident memory by name of the process, in bytes.
type Memory = Vec<(String, u64)>;

fn memory(stack: &Stack) -> Result<Memory> {
    let nodes = stack.gateways().iter().map(|node| ("gateway", node.pid()));
    let others = [("persistence", stack.persistence(0).pid()), ("Redis", stack.redis().pid())];
    nodes.chain(others).map(|(name, pid)| Ok((name.to_owned(), resident(pid.context(name)?)?))).collect()
}

/// The results of a run.
struct Figures {
    refused: HashMap<String, usize>,
    /// The largest memory before, during and after the outage.
    memory: [Memory; 3],
    /// Times from send to delivery of the messages accepted during the outage, up to the first refusal in their room.
    delivery: Vec<Duration>,
    /// Messages delivered in the quiet room, by second of the outage.
    quiet: Vec<usize>,
    /// Sends answered `accepted`, and sends answered `stored`.
    answered: [usize; 2],
    tries: u32,
    /// Time from PostgreSQL's return until the logs of that moment were written.
    written_after: Duration,
}

/// Creates rooms in different partitions; the last one is the quiet room.
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

/// Waits until everything that is in the logs now is in the database; returns how long that took.
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
            ensure!(begun.elapsed() < Duration::from_secs(60), "not everything is written");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
    Ok(begun.elapsed())
}

async fn play(plan: &Plan) -> Result<Figures> {
    let builder = Stack::builder().gateways(2).own_postgres().env("TIDINGS_MAX_BACKLOG_RECORDS", plan.bound);
    let stack = builder
        .env("TIDINGS_MAX_MESSAGE_CHARS", LARGE_BYTES)
        .gateway_env("TIDINGS_MESSAGES_PER_SECOND", 100_000)
        .gateway_env("TIDINGS_MESSAGES_BURST", 100_000)
        .start()
        .await?;
    let rooms = rooms(&stack, plan.rooms + 1).await?;
    let length = plan.before + plan.away + plan.after;
    let (mut senders, mut hearers) = (Vec::new(), Vec::new());
    for (number, room) in rooms.iter().enumerate() {
        let heard = number >= plan.rooms_without_listeners;
        for (gateway, name) in ["hearer", "other"].iter().enumerate().filter(|_| heard) {
            let client = stack.connect_at(gateway, &format!("{name}{number}")).await?;
            hearers.push((room.clone(), RoomListener::start(client, room).await?));
        }
        let busy = Duration::from_secs_f64(plan.rooms as f64 / f64::from(plan.rate));
        let pause = if number < plan.rooms { busy } else { Duration::from_millis(250) };
        let count = usize::try_from(length.as_nanos() / pause.as_nanos())?;
        let client = stack.connect(&format!("sender{number}")).await?;
        senders.push(Sender::start(
            client,
            room,
            count,
            pause,
            if heard { USUAL_BYTES } else { LARGE_BYTES },
        ));
    }
    let before = largest_during(&stack, plan.before).await?;
    stack.database().server().kill();
    let down = Instant::now();
    let away = largest_during(&stack, plan.away).await?;
    let up = Instant::now();
    stack.database().server().restart().await?;
    let mut met: HashMap<String, SendResults> = HashMap::new();
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
    ensure_stored_once(&stack, &met).await?;
    for node in stack.gateways().iter().chain(stack.persistence_nodes()) {
        ensure!(!node.log()?.contains("panicked"), "a node panicked");
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
        // The sender does not know the append time of a message that waited for `stored` or was repeated.
        for sent in sent.filter(|sent| sent.accepted && sent.tries == 1 && (down..up).contains(&sent.at)) {
            let heard = heard.get(sent.client_id.as_str()).context("the message was not delivered")?;
            // Later messages may have waited for the look-up of a repetition, which takes seconds during the outage.
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

/// Checks that each message is stored once, at the seq in its answer, and that the logs have no hole.
async fn ensure_stored_once(stack: &Stack, met: &HashMap<String, SendResults>) -> Result<()> {
    let begun = Instant::now();
    for (room, met) in met {
        let last = met.sent.iter().map(|sent| sent.seq).max().unwrap_or_default();
        let head = format!("SELECT head_seq FROM rooms WHERE id = '{room}'");
        while stack.database().value(&head).await? != last.to_string() {
            ensure!(begun.elapsed() < Duration::from_secs(60), "not everything is stored");
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
    fn delivery_quantile(&self, share: f64) -> Duration {
        let place = (self.delivery.len() as f64 * share) as usize;
        self.delivery.get(place.min(self.delivery.len().saturating_sub(1))).copied().unwrap_or(Duration::MAX)
    }

    fn print(&self, plan: &Plan) {
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
        let [half, most] = [0.5, 0.99].map(|share| self.delivery_quantile(share));
        let (count, last) = (self.delivery.len(), self.delivery_quantile(1.0));
        println!(
            "live delivery of {count} accepted during the outage: p50 {half:?}, p99 {most:?}, at most {last:?}"
        );
        println!("the backlog was written {:?} after PostgreSQL's return", self.written_after);
        println!("refused and sent again: {:?}; quiet room by second: {:?}", self.refused, self.quiet);
    }

    fn check(&self, plan: &Plan) -> Result<()> {
        self.print(plan);
        ensure!(self.delivery_quantile(0.99) < Duration::from_secs(3), "live delivery stalled");
        // A busy machine may stretch a pause of a quarter second to more than a second.
        let silent = self.quiet.windows(3).find(|seconds| seconds.iter().sum::<usize>() == 0);
        ensure!(silent.is_none(), "nothing was delivered for three seconds: {:?}", self.quiet);
        // The backlog is written in few batches, which take a multiple of its size for a moment.
        for (phase, growth) in [(1, plan.growth), (2, AFTER_FACTOR * plan.growth)] {
            for ((name, before), (_, now)) in self.memory[0].iter().zip(&self.memory[phase]) {
                let [before, now, growth] = [*before, *now, growth].map(|bytes: u64| bytes / MIB);
                ensure!(now.saturating_sub(before) < growth, "{name} grew from {before} to {now} MiB");
            }
        }
        Ok(())
    }
}

#[tokio::test]
async fn postgres_outage_delivers_accepted_and_refuses_above_bound() -> Result<()> {
    let plan = Plan {
        rooms: 3,
        rate: 150,
        rooms_without_listeners: 2,
        before: Duration::from_secs(4),
        away: Duration::from_secs(18),
        after: Duration::from_secs(4),
        bound: 80,
        growth: 16 * MIB,
    };
    ensure!(
        plan.large_while_away() > AFTER_FACTOR * plan.growth,
        "the test could not detect that all large messages are kept"
    );
    let figures = play(&plan).await?;
    figures.check(&plan)?;
    ensure!(figures.refused.get("overloaded").is_some_and(|count| *count > 0), "{:?}", figures.refused);
    Ok(())
}

/// `./dev test --long a_minute_without_postgresql`
#[tokio::test]
#[ignore = "long: a minute without PostgreSQL"]
async fn a_minute_without_postgresql_costs_bounded_memory() -> Result<()> {
    let plan = Plan {
        rooms: 8,
        rate: 500,
        rooms_without_listeners: 0,
        before: Duration::from_secs(10),
        away: Duration::from_secs(60),
        after: Duration::from_secs(20),
        bound: 10_000,
        growth: 128 * MIB,
    };
    play(&plan).await?.check(&plan)
}

//! A run, from the first connection to the last received copy. The module `outcome` evaluates the result.

use std::collections::{BTreeMap, HashSet};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use anyhow::Result;
use futures_util::future::join_all;

use super::history;
use super::outcome::{FinishedRun, SendOutcome};
use super::player::Players;
use super::report::Report;
use super::transcript::{Act, Conversation};
use super::users::{self, RoomUser, RunRoom, RunUsers};
use super::verdict::Verdict;
use crate::http::Http;
use crate::listener::{Nodes, lock};
use crate::token::Token;

const POLL_INTERVAL: Duration = Duration::from_millis(100);
const PROGRESS_INTERVAL: Duration = Duration::from_secs(2);

/// The speed of a run.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Speed {
    /// This multiple of the original speed.
    Times(f64),
    /// As fast as the limits allow.
    Max,
}

/// How a conversation is played.
#[derive(Debug, Clone, Copy)]
pub struct PlayOptions {
    /// The speed of a run.
    pub speed: Speed,
    /// Additional members of each room, who only listen.
    pub observers: usize,
    /// The run ends after this time without a stored or received message.
    pub standstill: Duration,
}

impl PlayOptions {
    /// Plays at this speed with this many observers, and ends after two minutes without progress.
    pub fn new(speed: Speed, observers: usize) -> PlayOptions {
        PlayOptions { speed, observers, standstill: Duration::from_secs(120) }
    }
}

/// The progress of a run, for display.
#[derive(Debug, Default)]
pub struct Progress {
    total: AtomicUsize,
    stored: AtomicUsize,
    under_way: AtomicUsize,
}

impl Progress {
    /// Number of messages to be sent.
    pub fn total(&self) -> usize {
        self.total.load(Ordering::Relaxed)
    }

    /// Number of messages with the answer `stored`.
    pub fn stored(&self) -> usize {
        self.stored.load(Ordering::Relaxed)
    }
}

/// Plays the conversations, and compares everything that was received with the sent messages.
///
/// # Errors
/// When the rooms cannot be created. Later errors of the system are in the verdict.
pub async fn play(
    conversations: BTreeMap<String, Conversation>,
    options: PlayOptions,
    nodes: Nodes,
    progress: &Progress,
) -> Result<(Report, Verdict)> {
    Ok(run_conversations(conversations, options, nodes, progress).await?.evaluate().await)
}

/// Like [`play`], with these clients.
pub async fn play_with(
    players: Players,
    conversations: BTreeMap<String, Conversation>,
    options: PlayOptions,
    nodes: Nodes,
    progress: &Progress,
) -> Result<(Report, Verdict)> {
    Ok(run_conversations_with(players, conversations, options, nodes, progress).await?.evaluate().await)
}

/// Plays the conversations until the last copy has come or there is no progress any more.
pub async fn run_conversations(
    conversations: BTreeMap<String, Conversation>,
    options: PlayOptions,
    nodes: Nodes,
    progress: &Progress,
) -> Result<FinishedRun> {
    run_conversations_with(Players::Harness, conversations, options, nodes, progress).await
}

async fn run_conversations_with(
    players: Players,
    conversations: BTreeMap<String, Conversation>,
    options: PlayOptions,
    nodes: Nodes,
    progress: &Progress,
) -> Result<FinishedRun> {
    let suffix = format!("{:06x}", rand::random_range(0..0x100_0000));
    let names: HashSet<&String> = conversations.values().flat_map(|room| room.people.keys()).collect();
    let (rooms, names) = (conversations.len(), names.len());

    let nodes = Arc::new(nodes);
    // The host creates the rooms as a back end, because it may need more of them than one account may create per day.
    let token = Token::of(users::HOST).scope("tidings.admin").ttl_s(24 * 3600).sign(&nodes.jwt_secret);
    let host: Vec<Http> =
        nodes.persistence.iter().map(|base| Http::sharing(nodes.http.clone(), base, &token)).collect();
    let users = RunUsers::create(conversations, options.observers, &suffix, &nodes, &players, &host).await?;
    let lines = users.stages.iter().flat_map(|stage| &stage.people).map(RoomUser::message_count);
    progress.total.store(lines.sum(), Ordering::Relaxed);
    eprintln!("play: {rooms} rooms, {names} people, {} messages, run {suffix}", progress.total());

    let there = users.stages.iter().flat_map(|stage| stage.people.iter().map(move |person| (stage, person)));
    join_all(
        there
            .filter(|(_, person)| person.from_start)
            .map(|(stage, person)| users.connect_limiter.connect(stage, person)),
    )
    .await;
    eprintln!("play: everybody who was there before is there");

    let begun = Instant::now();
    // The outcomes are stored outside of the `acting` futures, which are cancelled if there is no progress.
    let outcomes: Vec<Vec<Mutex<Vec<SendOutcome>>>> =
        users.stages.iter().map(|stage| stage.people.iter().map(|_| Mutex::default()).collect()).collect();
    let acting = users.stages.iter().zip(&outcomes).flat_map(|(stage, outcomes)| {
        let parts = stage.people.iter().zip(outcomes);
        parts.map(|(person, outcomes)| {
            play_lines(&users, stage, person, options.speed, begun, progress, outcomes)
        })
    });
    tokio::select! {
        _ = join_all(acting) => eprintln!("play: all said after {:.1} s", begun.elapsed().as_secs_f64()),
        () = wait_for_standstill(progress, options.standstill) => {
            eprintln!("play: no send was answered with stored for {:?}", options.standstill);
        }
    }
    eprintln!("play: waiting for the last copies");

    let outcomes =
        outcomes.into_iter().map(|stage| stage.iter().map(|said| std::mem::take(&mut *lock(said))).collect());
    let mut played = FinishedRun::new(users, host, names, outcomes.collect());
    wait_until_caught_up(&played, options.standstill).await;
    played.set_duration(begun.elapsed());
    Ok(played)
}

/// Plays one user's lines, one after the other.
async fn play_lines(
    users: &RunUsers,
    stage: &RunRoom,
    person: &RoomUser,
    speed: Speed,
    begun: Instant,
    progress: &Progress,
    outcomes: &Mutex<Vec<SendOutcome>>,
) {
    let mut here = person.from_start;
    for line in &person.lines {
        if let Speed::Times(times) = speed {
            let at = begun + Duration::from_millis(line.at_ms).div_f64(times);
            tokio::time::sleep_until(at.into()).await;
        }
        match &line.act {
            Act::Go => {
                person.player.go_offline();
                here = false;
            }
            Act::Come | Act::Say(_) if !here => {
                users.connect_limiter.connect(stage, person).await;
                here = true;
            }
            Act::Come | Act::Say(_) => {}
        }
        if let Act::Say(text) = &line.act {
            progress.under_way.fetch_add(1, Ordering::Relaxed);
            let sent = person.player.send(&stage.room, text).await;
            progress.under_way.fetch_sub(1, Ordering::Relaxed);
            progress.stored.fetch_add(usize::from(sent.is_ok()), Ordering::Relaxed);
            lock(outcomes).push(SendOutcome { text: text.clone(), sent });
        }
    }
}

/// Shows the progress. Returns when sent messages wait for their answer and none was stored for this time.
async fn wait_for_standstill(progress: &Progress, standstill: Duration) {
    let (mut before, mut moved, mut shown) = (0, Instant::now(), Instant::now());
    while moved.elapsed() < standstill {
        tokio::time::sleep(POLL_INTERVAL).await;
        let stored = progress.stored();
        if stored != before || progress.under_way.load(Ordering::Relaxed) == 0 {
            (before, moved) = (stored, Instant::now());
        }
        if shown.elapsed() >= PROGRESS_INTERVAL {
            shown = Instant::now();
            eprintln!("play: {stored} of {} messages", progress.total());
        }
    }
}

/// Waits until everybody online has reached the head of their room, or there is no progress any more.
async fn wait_until_caught_up(played: &FinishedRun, standstill: Duration) {
    let mut moved = Instant::now();
    let mut before = 0;
    loop {
        let (mut sum, mut behind) = (0, 0);
        for (stage, expected) in played.rooms() {
            let Ok(head) = history::read_head(&played.host, &stage.room).await else {
                eprintln!("play: the head of {} cannot be read", stage.name);
                return;
            };
            sum += head;
            let goal = head.max(expected.last_seq());
            behind += u64::from(head < goal);
            for person in stage.people.iter().filter(|person| person.player.is_online()) {
                let seq = person.player.seq(&stage.room);
                sum += seq;
                behind += u64::from(seq < goal);
            }
        }
        if behind == 0 {
            return;
        }
        if sum != before {
            (before, moved) = (sum, Instant::now());
        }
        if moved.elapsed() > standstill {
            eprintln!("play: {behind} stay behind");
            return;
        }
        tokio::time::sleep(POLL_INTERVAL).await;
    }
}

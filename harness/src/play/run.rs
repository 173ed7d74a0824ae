//! A run from the first connection to the last copy. `outcome` evaluates it.

use std::collections::{BTreeMap, HashSet};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use anyhow::Result;
use futures_util::future::join_all;

use super::cast::{self, Cast, CastMember, Stage};
use super::history;
use super::outcome::{Outcome, Played};
use super::player::Players;
use super::report::Report;
use super::transcript::{Act, Conversation};
use super::verdict::Verdict;
use crate::http::Http;
use crate::listener::{Nodes, lock};
use crate::token::Token;

const LOOK: Duration = Duration::from_millis(100);
const TELL: Duration = Duration::from_secs(2);

/// How fast.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Speed {
    /// This many times the original pace.
    Times(f64),
    /// As fast as the limits allow.
    Max,
}

/// How a conversation is played.
#[derive(Debug, Clone, Copy)]
pub struct PlayOptions {
    /// How fast.
    pub speed: Speed,
    /// Additional members of each room, who only listen.
    pub observers: usize,
    /// If no message was stored or received for this time, the run ends.
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
    /// Messages to be sent.
    pub fn total(&self) -> usize {
        self.total.load(Ordering::Relaxed)
    }

    /// Messages acked as stored.
    pub fn stored(&self) -> usize {
        self.stored.load(Ordering::Relaxed)
    }
}

/// Plays the conversations and compares everything.
///
/// # Errors
/// When the rooms cannot be created; later errors of the system are in the verdict.
pub async fn play(
    conversations: BTreeMap<String, Conversation>,
    direction: PlayOptions,
    nodes: Nodes,
    progress: &Progress,
) -> Result<(Report, Verdict)> {
    Ok(perform(conversations, direction, nodes, progress).await?.judged().await)
}

/// As [`play`], with these clients.
///
/// # Errors
/// As [`play`].
pub async fn play_with(
    players: Players,
    conversations: BTreeMap<String, Conversation>,
    direction: PlayOptions,
    nodes: Nodes,
    progress: &Progress,
) -> Result<(Report, Verdict)> {
    Ok(perform_with(players, conversations, direction, nodes, progress).await?.judged().await)
}

/// Plays the conversations until the last copy has come or there is no progress any more.
///
/// # Errors
/// As [`play`].
pub async fn perform(
    conversations: BTreeMap<String, Conversation>,
    direction: PlayOptions,
    nodes: Nodes,
    progress: &Progress,
) -> Result<Played> {
    perform_with(Players::Harness, conversations, direction, nodes, progress).await
}

async fn perform_with(
    players: Players,
    conversations: BTreeMap<String, Conversation>,
    direction: PlayOptions,
    nodes: Nodes,
    progress: &Progress,
) -> Result<Played> {
    let suffix = format!("{:06x}", rand::random_range(0..0x100_0000));
    let names: HashSet<&String> = conversations.values().flat_map(|room| room.people.keys()).collect();
    let (rooms, names) = (conversations.len(), names.len());

    let nodes = Arc::new(nodes);
    let token = Token::of(cast::HOST).ttl_s(24 * 3600).sign(&nodes.jwt_secret);
    let host: Vec<Http> =
        nodes.persistence.iter().map(|base| Http::sharing(nodes.http.clone(), base, &token)).collect();
    let cast = Cast::hire(conversations, direction.observers, &suffix, &nodes, &players, &host).await?;
    let lines = cast.stages.iter().flat_map(|stage| &stage.people).map(CastMember::says);
    progress.total.store(lines.sum(), Ordering::Relaxed);
    eprintln!("play: {rooms} rooms, {names} people, {} messages, run {suffix}", progress.total());

    let there = cast.stages.iter().flat_map(|stage| stage.people.iter().map(move |person| (stage, person)));
    join_all(
        there
            .filter(|(_, person)| person.from_start)
            .map(|(stage, person)| cast.connect_limiter.enter(stage, person)),
    )
    .await;
    eprintln!("play: everybody who was there before is there");

    let begun = Instant::now();
    // Kept outside of the acting futures, so that outcomes are kept when these are cancelled without progress.
    let outcomes: Vec<Vec<Mutex<Vec<Outcome>>>> =
        cast.stages.iter().map(|stage| stage.people.iter().map(|_| Mutex::default()).collect()).collect();
    let acting = cast.stages.iter().zip(&outcomes).flat_map(|(stage, outcomes)| {
        let parts = stage.people.iter().zip(outcomes);
        parts.map(|(person, outcomes)| act(&cast, stage, person, direction.speed, begun, progress, outcomes))
    });
    tokio::select! {
        _ = join_all(acting) => eprintln!("play: all said after {:.1} s", begun.elapsed().as_secs_f64()),
        () = until_standstill(progress, direction.standstill) => {
            eprintln!("play: no send was answered with stored for {:?}", direction.standstill);
        }
    }
    eprintln!("play: waiting for the last copies");

    let outcomes =
        outcomes.into_iter().map(|stage| stage.iter().map(|said| std::mem::take(&mut *lock(said))).collect());
    let mut played = Played::new(cast, host, names, outcomes.collect());
    until_caught_up(&played, direction.standstill).await;
    played.took(begun.elapsed());
    Ok(played)
}

/// Plays one user's lines, one after the other.
async fn act(
    cast: &Cast,
    stage: &Stage,
    person: &CastMember,
    speed: Speed,
    begun: Instant,
    progress: &Progress,
    outcomes: &Mutex<Vec<Outcome>>,
) {
    let mut here = person.from_start;
    for line in &person.lines {
        if let Speed::Times(times) = speed {
            let at = begun + Duration::from_millis(line.at_ms).div_f64(times);
            tokio::time::sleep_until(at.into()).await;
        }
        match &line.act {
            Act::Go => {
                person.player.go();
                here = false;
            }
            Act::Come | Act::Say(_) if !here => {
                cast.connect_limiter.enter(stage, person).await;
                here = true;
            }
            Act::Come | Act::Say(_) => {}
        }
        if let Act::Say(text) = &line.act {
            progress.under_way.fetch_add(1, Ordering::Relaxed);
            let sent = person.player.say(&stage.room, text).await;
            progress.under_way.fetch_sub(1, Ordering::Relaxed);
            progress.stored.fetch_add(usize::from(sent.is_ok()), Ordering::Relaxed);
            lock(outcomes).push(Outcome { text: text.clone(), sent });
        }
    }
}

/// Shows the progress; returns when messages are waiting and none was stored for this time.
async fn until_standstill(progress: &Progress, standstill: Duration) {
    let (mut before, mut moved, mut told) = (0, Instant::now(), Instant::now());
    while moved.elapsed() < standstill {
        tokio::time::sleep(LOOK).await;
        let stored = progress.stored();
        if stored != before || progress.under_way.load(Ordering::Relaxed) == 0 {
            (before, moved) = (stored, Instant::now());
        }
        if told.elapsed() >= TELL {
            told = Instant::now();
            eprintln!("play: {stored} of {} messages", progress.total());
        }
    }
}

/// Waits until everybody online has reached the head of their room, or there is no progress any more.
async fn until_caught_up(played: &Played, standstill: Duration) {
    let mut moved = Instant::now();
    let mut before = 0;
    loop {
        let (mut sum, mut behind) = (0, 0);
        for (stage, expected) in played.rooms() {
            let Ok(head) = history::head(&played.host, &stage.room).await else {
                eprintln!("play: the head of {} cannot be read", stage.name);
                return;
            };
            sum += head;
            let goal = head.max(expected.last_seq());
            behind += u64::from(head < goal);
            for person in stage.people.iter().filter(|person| person.player.is_here()) {
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
        tokio::time::sleep(LOOK).await;
    }
}

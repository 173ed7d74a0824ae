//! A run from the first connection to the verdict.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::Result;
use futures_util::future::join_all;
use hdrhistogram::Histogram;

use super::cast::{self, Cast, Person, Stage};
use super::history;
use super::report::Report;
use super::transcript::{Act, Conversation};
use super::verdict::{self, Expected, Verdict};
use crate::http::Http;
use crate::listener::{Nodes, Sent, lock};
use crate::recorder::Received;
use crate::token::Token;

/// Listeners that make no progress for this long will not make any more.
const STANDSTILL: Duration = Duration::from_secs(60);
const LOOK: Duration = Duration::from_millis(100);
const PROGRESS: Duration = Duration::from_secs(2);

/// How fast.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Speed {
    /// This many times the original pace.
    Times(f64),
    /// As fast as the limits allow.
    Max,
}

/// One message and what became of it.
struct Outcome {
    text: String,
    sent: Result<Sent, String>,
}

/// Plays the conversations and compares everything.
///
/// # Errors
/// When the system cannot be reached at all; whatever it does wrong is in the verdict.
pub async fn play(
    conversations: BTreeMap<String, Conversation>,
    speed: Speed,
    observers: usize,
    nodes: Nodes,
) -> Result<(Report, Verdict)> {
    let suffix = format!("{:06x}", rand::random_range(0..0x100_0000));
    let people: HashSet<&String> = conversations.values().flat_map(|room| room.people.keys()).collect();
    let (rooms, people) = (conversations.len(), people.len());
    let says = |line: &&super::transcript::Line| matches!(line.act, Act::Say(_));
    let lines = conversations.values().flat_map(|room| room.people.values().flatten());
    let total = lines.filter(says).count();

    let nodes = Arc::new(nodes);
    let token = Token::of(cast::HOST).ttl_s(24 * 3600).sign(&nodes.jwt_secret);
    let host: Vec<Http> =
        nodes.persistence.iter().map(|base| Http::sharing(nodes.http.clone(), base, &token)).collect();
    let cast = Cast::hire(conversations, observers, &suffix, &nodes, &host).await?;
    eprintln!("play: {rooms} rooms, {people} people, {total} messages, run {suffix}");

    let there = cast.stages.iter().flat_map(|stage| stage.people.iter().map(move |person| (stage, person)));
    join_all(
        there.filter(|(_, person)| person.from_start).map(|(stage, person)| cast.door.enter(stage, person)),
    )
    .await;
    eprintln!("play: everybody who was there before is there");

    let begun = Instant::now();
    let stored = AtomicU64::new(0);
    let acting = cast.stages.iter().map(|stage| {
        let people = stage.people.iter().map(|person| act(&cast, stage, person, speed, begun, &stored));
        join_all(people)
    });
    let outcomes = tokio::select! {
        outcomes = join_all(acting) => outcomes,
        () = tell_progress(&stored, total) => Vec::new(),
    };
    eprintln!("play: all said after {:.1} s, waiting for the last copies", begun.elapsed().as_secs_f64());

    let mut verdict = Verdict::default();
    let mut acks = cast::histogram();
    let mut messages = 0;
    let mut expected = Vec::new();
    for (stage, outcomes) in cast.stages.iter().zip(outcomes) {
        let sent = gather(stage, outcomes, &mut acks, &mut verdict);
        messages += sent.count();
        expected.push(sent);
    }
    until_caught_up(&cast, &expected, &host).await?;
    let seconds = begun.elapsed().as_secs_f64();

    for (stage, expected) in cast.stages.iter().zip(&expected) {
        verdict.add(judge(stage, expected, &host).await?);
    }
    let report = Report::new((messages, rooms, people), &verdict, &acks, &cast.delays.total(), seconds);
    Ok((report, verdict))
}

/// One person's part: line by line, the next when the one before is done.
async fn act(
    cast: &Cast,
    stage: &Stage,
    person: &Person,
    speed: Speed,
    begun: Instant,
    stored: &AtomicU64,
) -> Vec<Outcome> {
    let mut outcomes = Vec::new();
    let mut here = person.from_start;
    for line in &person.lines {
        if let Speed::Times(times) = speed {
            let at = begun + Duration::from_millis(line.at_ms).div_f64(times);
            tokio::time::sleep_until(at.into()).await;
        }
        match &line.act {
            Act::Go => {
                person.listener.offline();
                here = false;
            }
            Act::Come | Act::Say(_) if !here => {
                cast.door.enter(stage, person).await;
                here = true;
            }
            Act::Come | Act::Say(_) => {}
        }
        if let Act::Say(text) = &line.act {
            let sent = person.listener.send(&stage.room, text).await;
            stored.fetch_add(1, Ordering::Relaxed);
            outcomes.push(Outcome { text: text.clone(), sent });
        }
    }
    outcomes
}

async fn tell_progress(stored: &AtomicU64, total: usize) {
    loop {
        tokio::time::sleep(PROGRESS).await;
        eprintln!("play: {} of {total} messages", stored.load(Ordering::Relaxed));
    }
}

fn gather(
    stage: &Stage,
    outcomes: Vec<Vec<Outcome>>,
    acks: &mut Histogram<u64>,
    verdict: &mut Verdict,
) -> Expected {
    let mut expected = Expected::default();
    for (person, outcomes) in stage.people.iter().zip(outcomes) {
        for Outcome { text, sent } in outcomes {
            match sent {
                Ok(sent) => {
                    acks.saturating_record(u64::try_from(sent.took.as_micros()).unwrap_or(u64::MAX).max(1));
                    expected.add(Received {
                        seq: sent.seq,
                        id: sent.id,
                        client_id: sent.client_id,
                        sender: person.user.clone(),
                        text,
                    });
                }
                Err(why) => {
                    verdict.missing += 1;
                    verdict.tell(format!("{} could not send {text:?} to {}: {why}", person.user, stage.name));
                }
            }
        }
    }
    expected
}

/// Waits until everybody online stands at the head of their room, or nothing moves any more.
async fn until_caught_up(cast: &Cast, expected: &[Expected], host: &[Http]) -> Result<()> {
    let mut moved = Instant::now();
    let mut before = 0;
    loop {
        let (mut sum, mut behind) = (0, 0);
        for (stage, expected) in cast.stages.iter().zip(expected) {
            let head = history::head(host, &stage.room).await?;
            sum += head;
            let goal = head.max(expected.last_seq());
            behind += u64::from(head < goal);
            for person in stage.people.iter().filter(|person| person.listener.is_wanted_online()) {
                let seq = person.listener.cursor(&stage.room).map_or(0, |cursor| cursor.seq);
                sum += seq;
                behind += u64::from(seq < goal);
            }
        }
        if behind == 0 {
            return Ok(());
        }
        if sum != before {
            (before, moved) = (sum, Instant::now());
        }
        if moved.elapsed() > STANDSTILL {
            eprintln!("play: {behind} stay behind");
            return Ok(());
        }
        tokio::time::sleep(LOOK).await;
    }
}

async fn judge(stage: &Stage, expected: &Expected, host: &[Http]) -> Result<Verdict> {
    let mut verdict = Verdict::default();
    for person in &stage.people {
        let who = format!("{} in {}", person.user, stage.name);
        if let Some(record) = person.listener.record(&stage.room) {
            let recorder = lock(&record);
            verdict.add(verdict::of_listener(&who, expected, &recorder));
            let seq = recorder.cursor().map_or(0, |cursor| cursor.seq);
            if person.listener.is_wanted_online() && seq < expected.last_seq() {
                verdict.missing += expected.count_above(seq);
                verdict.tell(format!("{who} stayed behind at {seq} of {}", expected.last_seq()));
            }
        }
        for broken in person.listener.broken_rules().into_iter().chain(person.listener.failed()) {
            verdict.others += 1;
            verdict.tell(format!("{who}: {broken}"));
        }
    }
    let messages = history::messages(host, &stage.room).await?;
    verdict.add(verdict::of_history(&format!("messages of {}", stage.name), expected, &messages));
    let events = history::events(host, &stage.room).await?;
    verdict.add(verdict::of_history(&format!("events of {}", stage.name), expected, &events));
    Ok(verdict)
}

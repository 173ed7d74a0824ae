//! The people of a run: who listens where, from when on, and the clock of their messages.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::{Result, ensure};
use hdrhistogram::Histogram;
use serde_json::{Value, json};
use tokio::sync::Semaphore;

use super::history;
use super::player::{Player, Players};
use super::transcript::{Act, Conversation, Line};
use crate::frames::Cursor;
use crate::http::Http;
use crate::listener::{Hearing, Nodes, lock};
use crate::recorder::Interner;

/// A room is created with all its people at once; the creator is one more.
const MOST_MEMBERS: usize = 1000;
/// How many connect at once: a crowd at the door only makes all of them late.
const CONNECTING: usize = 64;
const SHARDS: usize = 16;

/// The person who creates the rooms.
pub const HOST: &str = "play-host";

/// Microseconds up to ten minutes, to three digits.
pub fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, 600_000_000, 3).expect("these bounds are valid")
}

/// How long messages were under way, gathered from all listeners.
pub struct Delays(Vec<Arc<Mutex<Histogram<u64>>>>);

impl Delays {
    fn new() -> Delays {
        Delays((0..SHARDS).map(|_| Arc::new(Mutex::new(histogram()))).collect())
    }

    fn hearing(&self, number: usize) -> Hearing {
        let shard = Arc::clone(&self.0[number % SHARDS]);
        Arc::new(move |delay: Duration| {
            lock(&shard).saturating_record(u64::try_from(delay.as_micros()).unwrap_or(u64::MAX).max(1));
        })
    }

    /// All of them.
    pub fn total(&self) -> Histogram<u64> {
        let mut total = histogram();
        for shard in &self.0 {
            // The bounds are the same, so this cannot fail.
            let _ = total.add(&*lock(shard));
        }
        total
    }
}

/// Somebody in one room.
pub struct Person {
    /// User id.
    pub user: String,
    /// Their client.
    pub player: Player,
    /// What they do; nothing for observers.
    pub lines: Vec<Line>,
    /// Whether they were there before the conversation began.
    pub from_start: bool,
}

impl Person {
    /// How many messages they are to send.
    pub fn says(&self) -> usize {
        self.lines.iter().filter(|line| matches!(line.act, Act::Say(_))).count()
    }
}

/// One room of the run.
pub struct Stage {
    /// The id the server gave.
    pub room: String,
    /// Its name.
    pub name: String,
    /// Its head when created.
    pub head: Cursor,
    /// Equal messages are held once.
    pub interner: Arc<Interner>,
    /// People and observers.
    pub people: Vec<Person>,
}

impl Stage {
    /// Has this person come in: at the creation's head from the start, later by loading the last page.
    async fn bring_in(&self, person: &Person) {
        let head = person.from_start.then_some(&self.head);
        person.player.come(&self.room, head, &self.interner).await;
    }
}

/// Lets a few connect at a time.
pub struct Door(Semaphore);

impl Door {
    /// Brings somebody in and waits until the connection stands, or it takes too long to wait for it.
    pub async fn enter(&self, stage: &Stage, person: &Person) {
        let Ok(_permit) = self.0.acquire().await else { return };
        stage.bring_in(person).await;
    }
}

/// Everybody.
pub struct Cast {
    /// The rooms.
    pub stages: Vec<Stage>,
    /// How long messages were under way.
    pub delays: Delays,
    /// Where they come in.
    pub door: Door,
}

impl Cast {
    /// Creates the rooms and hires the people, all still offline.
    ///
    /// # Errors
    /// When a room has too many people, or cannot be created.
    pub async fn hire(
        conversations: impl IntoIterator<Item = (String, Conversation)>,
        observers: usize,
        suffix: &str,
        nodes: &Arc<Nodes>,
        players: &Players,
        host: &[Http],
    ) -> Result<Cast> {
        let delays = Delays::new();
        let mut stages = Vec::new();
        let mut number = 0;
        for (room, conversation) in conversations {
            let name = format!("{room}-{suffix}");
            let stage = stages.len();
            let watching =
                (1..=observers).map(|watching| (format!("observer-{stage}-{watching}"), Vec::new()));
            let parts: Vec<(String, Vec<Line>)> = conversation.people.into_iter().chain(watching).collect();
            ensure!(
                parts.len() < MOST_MEMBERS,
                "{name} has {} people and observers; a room is created with at most {MOST_MEMBERS} members",
                parts.len()
            );
            let members: Vec<Value> = parts.iter().map(|(user, _)| json!({ "user": user })).collect();
            let (room, head) = history::create_room(host, &name, members).await?;
            let mut people = Vec::new();
            for (user, lines) in parts {
                let hearing = delays.hearing(number);
                let player = players.hire(&user, &room, nodes, number, hearing);
                number += 1;
                let from_start = lines.first().is_none_or(|line| line.act != Act::Come);
                people.push(Person { user, player, lines, from_start });
            }
            stages.push(Stage { room, name, head, interner: Arc::default(), people });
        }
        Ok(Cast { stages, delays, door: Door(Semaphore::new(CONNECTING)) })
    }
}

//! The users of a run: in which rooms they listen, from when on, and the latencies of their messages.

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
use crate::listener::{LatencyObserver, Nodes, lock};
use crate::recorder::Interner;

/// Most members that a room is created with; the creator is one more.
const MOST_MEMBERS: usize = 1000;
/// Concurrent connection attempts; more would only delay all of them.
const CONNECTING: usize = 64;
const SHARDS: usize = 16;

/// The user who creates the rooms.
pub const HOST: &str = "play-host";

/// A histogram of microseconds up to ten minutes, with three digits.
pub fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, 600_000_000, 3).expect("these bounds are valid")
}

/// The latencies of messages at all listeners.
pub struct Delays(Vec<Arc<Mutex<Histogram<u64>>>>);

impl Delays {
    fn new() -> Delays {
        Delays((0..SHARDS).map(|_| Arc::new(Mutex::new(histogram()))).collect())
    }

    fn on_latency(&self, number: usize) -> LatencyObserver {
        let shard = Arc::clone(&self.0[number % SHARDS]);
        Arc::new(move |delay: Duration| {
            lock(&shard).saturating_record(u64::try_from(delay.as_micros()).unwrap_or(u64::MAX).max(1));
        })
    }

    /// The sum of all histograms.
    pub fn total(&self) -> Histogram<u64> {
        let mut total = histogram();
        for shard in &self.0 {
            // This cannot fail, because the bounds are the same.
            let _ = total.add(&*lock(shard));
        }
        total
    }
}

/// A user in one room.
pub struct CastMember {
    /// User id.
    pub user: String,
    /// Their client.
    pub player: Player,
    /// What they do; empty for observers.
    pub lines: Vec<Line>,
    /// Whether they are present before the conversation begins.
    pub from_start: bool,
}

impl CastMember {
    /// How many messages they send.
    pub fn says(&self) -> usize {
        self.lines.iter().filter(|line| matches!(line.act, Act::Say(_))).count()
    }
}

/// One room of the run.
pub struct Stage {
    /// The room id.
    pub room: String,
    /// Its name.
    pub name: String,
    /// Its head when created.
    pub head: Cursor,
    /// Stores equal messages once.
    pub interner: Arc<Interner>,
    /// Users and observers.
    pub people: Vec<CastMember>,
}

impl Stage {
    /// Lets this user join: at the head of the room's creation, or later by loading the last page.
    async fn bring_in(&self, person: &CastMember) {
        let head = person.from_start.then_some(&self.head);
        person.player.come(&self.room, head, &self.interner).await;
    }
}

/// Limits concurrent connection attempts.
pub struct ConnectLimiter(Semaphore);

impl ConnectLimiter {
    /// Lets a user join, and waits for the connection for a limited time.
    pub async fn enter(&self, stage: &Stage, person: &CastMember) {
        let Ok(_permit) = self.0.acquire().await else { return };
        stage.bring_in(person).await;
    }
}

/// All users of a run.
pub struct Cast {
    /// The rooms.
    pub stages: Vec<Stage>,
    /// The latencies of messages.
    pub delays: Delays,
    /// Limits connection attempts.
    pub connect_limiter: ConnectLimiter,
}

impl Cast {
    /// Creates the rooms and the users, who are still offline.
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
                let on_latency = delays.on_latency(number);
                let player = players.hire(&user, &room, nodes, number, on_latency);
                number += 1;
                let from_start = lines.first().is_none_or(|line| line.act != Act::Come);
                people.push(CastMember { user, player, lines, from_start });
            }
            stages.push(Stage { room, name, head, interner: Arc::default(), people });
        }
        Ok(Cast { stages, delays, connect_limiter: ConnectLimiter(Semaphore::new(CONNECTING)) })
    }
}

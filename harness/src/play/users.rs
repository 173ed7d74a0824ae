//! The users of a run: their rooms, whether they are present from the start, and the latencies of the messages that
//! they receive.

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

/// Limit of the members of a new room, including its creator.
const MAX_MEMBERS: usize = 1000;
/// Limit of concurrent connection attempts. More attempts would only delay each other.
const MAX_CONCURRENT_CONNECTS: usize = 64;
const HISTOGRAM_SHARDS: usize = 16;

/// The user who creates the rooms.
pub const HOST: &str = "play-host";

/// A histogram of microseconds up to ten minutes, with three digits.
pub fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, 600_000_000, 3).expect("these bounds are valid")
}

/// The latencies of the messages that listeners receive. There are several histograms, so that listeners seldom wait
/// for a lock.
pub struct LatencyHistograms(Vec<Arc<Mutex<Histogram<u64>>>>);

impl LatencyHistograms {
    fn new() -> LatencyHistograms {
        LatencyHistograms((0..HISTOGRAM_SHARDS).map(|_| Arc::new(Mutex::new(histogram()))).collect())
    }

    fn on_latency(&self, number: usize) -> LatencyObserver {
        let shard = Arc::clone(&self.0[number % HISTOGRAM_SHARDS]);
        Arc::new(move |delay: Duration| {
            lock(&shard).saturating_record(u64::try_from(delay.as_micros()).unwrap_or(u64::MAX).max(1));
        })
    }

    /// One histogram with the latencies of all histograms.
    pub fn merged(&self) -> Histogram<u64> {
        let mut total = histogram();
        for shard in &self.0 {
            // This cannot fail, because all histograms have the same bounds.
            let _ = total.add(&*lock(shard));
        }
        total
    }
}

/// A user in one room.
pub struct RoomUser {
    /// User id.
    pub user: String,
    /// The user's client.
    pub player: Player,
    /// The user's actions; empty for observers.
    pub lines: Vec<Line>,
    /// Whether the user is present before the conversation begins.
    pub from_start: bool,
}

impl RoomUser {
    /// How many messages the user sends.
    pub fn message_count(&self) -> usize {
        self.lines.iter().filter(|line| matches!(line.act, Act::Say(_))).count()
    }
}

/// One room of the run.
pub struct RunRoom {
    /// The room id.
    pub room: String,
    /// The room's name.
    pub name: String,
    /// The room's head when it was created.
    pub head: Cursor,
    /// Stores equal messages once.
    pub interner: Arc<Interner>,
    /// Users and observers.
    pub people: Vec<RoomUser>,
}

impl RunRoom {
    /// Connects a user and joins the room. A user who is present from the start joins at the head that the new room
    /// had. Others load the latest page of history.
    async fn join_user(&self, person: &RoomUser) {
        let head = person.from_start.then_some(&self.head);
        person.player.go_online(&self.room, head, &self.interner).await;
    }
}

/// Limits concurrent connection attempts.
pub struct ConnectLimiter(Semaphore);

impl ConnectLimiter {
    /// Connects a user as soon as few enough others are connecting, and waits for the connection for a limited time.
    pub async fn connect(&self, stage: &RunRoom, person: &RoomUser) {
        let Ok(_permit) = self.0.acquire().await else { return };
        stage.join_user(person).await;
    }
}

/// All users of a run.
pub struct RunUsers {
    /// The rooms.
    pub stages: Vec<RunRoom>,
    /// The latencies of messages.
    pub delays: LatencyHistograms,
    /// Limits connection attempts.
    pub connect_limiter: ConnectLimiter,
}

impl RunUsers {
    /// Creates the rooms and the users, who are still offline.
    ///
    /// # Errors
    /// When a room has too many people, or cannot be created.
    pub async fn create(
        conversations: impl IntoIterator<Item = (String, Conversation)>,
        observers: usize,
        suffix: &str,
        nodes: &Arc<Nodes>,
        players: &Players,
        host: &[Http],
    ) -> Result<RunUsers> {
        let delays = LatencyHistograms::new();
        let mut stages = Vec::new();
        let mut number = 0;
        for (room, conversation) in conversations {
            let name = format!("{room}-{suffix}");
            let stage = stages.len();
            let watching =
                (1..=observers).map(|watching| (format!("observer-{stage}-{watching}"), Vec::new()));
            let parts: Vec<(String, Vec<Line>)> = conversation.people.into_iter().chain(watching).collect();
            ensure!(
                parts.len() < MAX_MEMBERS,
                "{name} has {} people and observers; a room is created with at most {MAX_MEMBERS} members",
                parts.len()
            );
            let members: Vec<Value> = parts.iter().map(|(user, _)| json!({ "user": user })).collect();
            let (room, head) = history::create_room(host, &name, members).await?;
            let mut people = Vec::new();
            for (user, lines) in parts {
                let on_latency = delays.on_latency(number);
                let player = players.create_user(&user, &room, nodes, number, on_latency);
                number += 1;
                let from_start = lines.first().is_none_or(|line| line.act != Act::Come);
                people.push(RoomUser { user, player, lines, from_start });
            }
            stages.push(RunRoom { room, name, head, interner: Arc::default(), people });
        }
        Ok(RunUsers {
            stages,
            delays,
            connect_limiter: ConnectLimiter(Semaphore::new(MAX_CONCURRENT_CONNECTS)),
        })
    }
}

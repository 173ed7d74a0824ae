//! Quiet rooms beside the load: measures the time from a fault until all of these rooms deliver again, and in a cluster
//! the latency of the rooms that are in other shards than the fault. Their clients connect to the gateways without
//! proxies, so faults of client links do not affect them. A long time is reported, but is no violation.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use serde_json::json;
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval, sleep};

use super::Fault;
use crate::listener::{Begin, Listener, Nodes, SendOptions, TOKEN_TTL_S, lock};
use crate::play::history::create_room;
use crate::recorder::Interner;
use crate::redis::partition_of;
use crate::{Http, Stack, Token, clock};

const ROOMS: usize = 4;
/// Pause between two messages of a room.
const MESSAGE_INTERVAL: Duration = Duration::from_millis(200);
/// The longest wait for a delivery.
const MAX_WAIT: Duration = Duration::from_secs(30);
const POLL_INTERVAL: Duration = Duration::from_millis(20);

/// A room with a sender and a receiver.
struct Room {
    id: String,
    sender: Arc<Listener>,
    receiver: Listener,
    deliveries: Arc<Mutex<Deliveries>>,
}

/// The delivered messages of a room. Times of creation are times since 1970.
#[derive(Default)]
struct Deliveries {
    newest_created_at: Duration,
    /// When each message was created, and its latency.
    latencies: Vec<(Duration, Duration)>,
}

/// The time of a fault, as times since 1970, and the rooms that it must not disturb.
pub(super) struct FaultWindow {
    kind: String,
    time: Range<Duration>,
    /// The indexes of the quiet rooms that are in other shards than the fault.
    rooms: Vec<usize>,
}

/// The quiet rooms of a run.
pub(super) struct QuietRooms {
    rooms: Vec<Room>,
    sender_tasks: JoinSet<()>,
    stop: Arc<AtomicBool>,
    failed: Arc<Mutex<Vec<String>>>,
    seconds: BTreeMap<String, f64>,
    windows: Vec<FaultWindow>,
}

impl QuietRooms {
    /// Starts the clients, and returns when each room has delivered a message. Otherwise the time after the first fault
    /// would contain the first connection and the first join.
    pub async fn start(stack: &Stack) -> Result<QuietRooms> {
        let nodes = Arc::new(Nodes::of(stack));
        let (stop, failed) = (Arc::new(AtomicBool::new(false)), Arc::<Mutex<Vec<String>>>::default());
        let (mut rooms, mut sender_tasks) = (Vec::new(), JoinSet::new());
        for number in 0..ROOMS {
            let (one, other) = (format!("quiet-{number}"), format!("quieter-{number}"));
            let token = Token::of(&one).ttl_s(TOKEN_TTL_S).sign(&nodes.jwt_secret);
            let http = nodes.persistence.iter().map(|base| Http::sharing(nodes.http.clone(), base, &token));
            let http: Vec<Http> = http.collect();
            let members = vec![json!({ "user": other, "role": "member" })];
            let (room, head) = create_room(&http, &one, members).await?;
            let deliveries = Arc::<Mutex<Deliveries>>::default();
            let delivered = Arc::clone(&deliveries);
            let on_latency = Arc::new(move |latency: Duration| {
                let (made_at, mut delivered) = (clock::now().saturating_sub(latency), lock(&delivered));
                delivered.newest_created_at = made_at.max(delivered.newest_created_at);
                delivered.latencies.push((made_at, latency));
            });
            let sender = Arc::new(Listener::new(&one, Arc::clone(&nodes), number, None));
            let receiver = Listener::new(&other, Arc::clone(&nodes), number + 1, Some(on_latency));
            let interner = Arc::new(Interner::default());
            for listener in [&*sender, &receiver] {
                listener.join(&room, Begin::At(head.clone()), Arc::clone(&interner));
                listener.online();
            }
            sender_tasks.spawn(send_repeatedly(
                Arc::clone(&sender),
                room.clone(),
                Arc::clone(&stop),
                Arc::clone(&failed),
            ));
            rooms.push(Room { id: room, sender, receiver, deliveries });
        }
        let (seconds, windows) = (BTreeMap::new(), Vec::new());
        let quiet = QuietRooms { rooms, sender_tasks, stop, failed, seconds, windows };
        // Zero means that no message was delivered.
        let waited = quiet.wait_for_message_since(Duration::from_nanos(1)).await;
        ensure!(
            waited < MAX_WAIT,
            "quiet rooms deliver nothing before the first fault: {:?}",
            quiet.client_errors()
        );
        Ok(quiet)
    }

    /// Waits until each room has delivered a message that was created at or after `from`, at most for [`MAX_WAIT`].
    /// Returns how long it waited.
    async fn wait_for_message_since(&self, from: Duration) -> Duration {
        let begun = Instant::now();
        while self.rooms.iter().any(|room| lock(&room.deliveries).newest_created_at < from)
            && begun.elapsed() < MAX_WAIT
        {
            sleep(POLL_INTERVAL).await;
        }
        begun.elapsed().min(MAX_WAIT)
    }

    /// Waits until each room has delivered a message that was created after this call, at most for [`MAX_WAIT`].
    /// Returns how long it waited, and records it for the kind of fault.
    pub async fn measure_recovery(&mut self, fault: &Fault) -> Duration {
        let waited = self.wait_for_message_since(clock::now()).await;
        let max_seconds = self.seconds.entry(fault.kind()).or_default();
        *max_seconds = max_seconds.max(waited.as_secs_f64());
        waited
    }

    /// To be called when a fault begins. Finds the quiet rooms in other shards: during [`Fault::Nothing`] these are all
    /// rooms. Without a cluster, and for faults that hit no shard, there are none. `rooms` are those of the users.
    pub async fn begin_fault(&self, stack: &Stack, rooms: &[String], fault: &Fault) -> Result<FaultWindow> {
        let mut others = Vec::new();
        if let Some(cluster) = stack.shards().cluster()
            && let Fault::Nothing(_) | Fault::Shard(..) = fault
        {
            let hit = match fault {
                Fault::Shard(room, _) => Some(cluster.master_of(partition_of(&rooms[*room])).await?),
                _ => None,
            };
            for (number, room) in self.rooms.iter().enumerate() {
                if Some(cluster.master_of(partition_of(&room.id)).await?) != hit {
                    others.push(number);
                }
            }
        }
        let now = clock::now();
        Ok(FaultWindow { kind: fault.kind(), time: now..now, rooms: others })
    }

    /// To be called when a fault has ended.
    pub fn end_fault(&mut self, window: FaultWindow) {
        let time = window.time.start..clock::now();
        self.windows.push(FaultWindow { time, ..window });
    }

    /// The 99th percentile of the latencies of messages that were created during faults, in rooms of other shards: in
    /// seconds, by kind of fault. Messages that are not delivered yet do not count.
    pub fn other_shards_p99_seconds(&self) -> BTreeMap<String, f64> {
        let mut latencies = BTreeMap::<String, Vec<Duration>>::new();
        for window in &self.windows {
            for number in &window.rooms {
                let delivered = lock(&self.rooms[*number].deliveries);
                let during = delivered.latencies.iter().filter(|(at, _)| window.time.contains(at));
                latencies.entry(window.kind.clone()).or_default().extend(during.map(|(_, latency)| latency));
            }
        }
        let seconds = |(kind, latencies): (String, Vec<Duration>)| {
            Some((kind, percentile_99(latencies)?.as_secs_f64()))
        };
        latencies.into_iter().filter_map(seconds).collect()
    }

    /// Stops sending. Returns the longest time in seconds by kind of fault.
    pub fn finish(&mut self) -> BTreeMap<String, f64> {
        self.stop.store(true, Ordering::Relaxed);
        self.sender_tasks.abort_all();
        std::mem::take(&mut self.seconds)
    }

    /// Errors that the clients report.
    pub fn client_errors(&self) -> Vec<String> {
        let mut errors = lock(&self.failed).clone();
        for listener in self.rooms.iter().flat_map(|room| [&*room.sender, &room.receiver]) {
            errors.extend(listener.failed().map(|why| format!("a quiet user gave up: {why}")));
            errors.extend(listener.broken_rules().into_iter().map(|what| format!("a quiet user: {what}")));
        }
        errors
    }
}

/// Sends messages until the run stops. Waits only for `accepted`, not for `stored`, because only deliveries are
/// measured.
async fn send_repeatedly(
    sender: Arc<Listener>,
    room: String,
    stop: Arc<AtomicBool>,
    failed: Arc<Mutex<Vec<String>>>,
) {
    let mut tick = interval(MESSAGE_INTERVAL);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while !stop.load(Ordering::Relaxed) {
        tick.tick().await;
        let options = SendOptions { accepted: true, ..SendOptions::default() };
        if let Err(why) = sender.send_as(&room, "quiet", options).await {
            lock(&failed).push(format!("a quiet user could not send: {why}"));
            break;
        }
    }
}

/// The smallest value that at least 99 % of the values do not exceed.
fn percentile_99(mut values: Vec<Duration>) -> Option<Duration> {
    values.sort_unstable();
    values.get((values.len() * 99).div_ceil(100).checked_sub(1)?).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentile_99_leaves_out_the_slowest_of_a_hundred() {
        let values = |count: u64| -> Vec<Duration> { (1..=count).rev().map(Duration::from_secs).collect() };
        assert_eq!(percentile_99(values(100)), Some(Duration::from_secs(99)));
        assert_eq!(percentile_99(values(3)), Some(Duration::from_secs(3)));
        assert_eq!(percentile_99(Vec::new()), None);
    }
}

//! Consumers of the feed during a run. Two consumers share the partitions. Each reads through either node of
//! persistence, and now and then repeats a page, as after a crash before it stored its cursor.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};

use super::World;
use crate::feed::FeedConsumer;
use crate::frames::ServerFrame;
use crate::history::{Event, Rule, StoredLog, Violation};
use crate::{Http, Token};

const CONSUMERS: [&str; 2] = ["partitions=0-31", "partitions=32-63"];
const WAIT_MS: u64 = 500;
const ANSWER_TIMEOUT: Duration = Duration::from_secs(20);
/// How long a consumer retries the last pages after the run has settled.
const FINISH_TIMEOUT: Duration = Duration::from_secs(30);
const RETRY_PAUSE: Duration = Duration::from_millis(100);
/// One page of this many is repeated.
const REPEATED: usize = 7;
/// Limit of the violations that are reported.
const MAX_VIOLATIONS: usize = 20;

/// The running consumers.
pub(super) struct FeedConsumers {
    stop: Arc<Notify>,
    tasks: Vec<JoinHandle<Result<FeedConsumer>>>,
}

impl FeedConsumers {
    pub fn start(world: &World) -> FeedConsumers {
        let stop = Arc::new(Notify::new());
        let token = Token::of("feed").scope("tidings.feed").ttl_s(24 * 3600).sign(world.stack.jwt_secret());
        let nodes: Vec<Http> = world.nodes().persistence.iter().map(|url| Http::new(url, &token)).collect();
        let start = |parameters: &'static str| tokio::spawn(consume(parameters, nodes.clone(), stop.clone()));
        FeedConsumers { tasks: CONSUMERS.into_iter().map(start).collect(), stop }
    }

    /// Lets the consumers read the rest, and compares what they got with the stored logs. Returns the number of events
    /// that they got.
    pub async fn finish(self, stored: &BTreeMap<String, StoredLog>) -> (u64, Vec<Violation>) {
        let (mut rooms, mut violations) = (BTreeMap::new(), Vec::new());
        let violation = |room: &str, seq, what| Violation {
            rule: Rule::Feed,
            room: room.to_owned(),
            seq,
            user: "feed".to_owned(),
            what,
        };
        self.stop.notify_waiters();
        for task in self.tasks {
            match task.await.map_err(anyhow::Error::from).and_then(|ended| ended) {
                Ok(consumer) => {
                    violations.extend(consumer.misplaced.iter().map(|what| violation("", 0, what.clone())));
                    rooms.extend(consumer.rooms);
                }
                Err(error) => violations.push(violation("", 0, format!("{error:#}"))),
            }
        }
        for (room, log) in stored {
            let got = rooms.get(room);
            for (seq, events) in &log.events {
                let frame = got.and_then(|got| got.get(seq)).cloned().map(ServerFrame::from_value);
                let event = frame.as_ref().and_then(Event::from_frame);
                let is_void = events.iter().any(|stored| stored.event.kind == "void");
                let equals = |event: &Event| events.iter().any(|stored| stored.equals_received(event));
                if !(frame.is_some() && is_void || event.as_ref().is_some_and(equals)) {
                    violations.push(violation(room, *seq, format!("the feed has {event:?} for {events:?}")));
                }
            }
        }
        violations.truncate(MAX_VIOLATIONS);
        (rooms.values().map(|log| log.len() as u64).sum(), violations)
    }
}

/// Reads until `stop` is notified, and then everything that is stored.
async fn consume(parameters: &str, nodes: Vec<Http>, stop: Arc<Notify>) -> Result<FeedConsumer> {
    let mut consumer = FeedConsumer::from_start(parameters);
    let mut nodes = nodes.iter().cycle();
    let stopped = stop.notified();
    tokio::pin!(stopped);
    let mut finishing_until = None;
    for number in 0.. {
        if finishing_until.is_none() && timeout(Duration::ZERO, &mut stopped).await.is_ok() {
            finishing_until = Some(Instant::now() + FINISH_TIMEOUT);
        }
        let Some(node) = nodes.next() else { break };
        let wait_ms = if finishing_until.is_some() { 0 } else { WAIT_MS };
        let reading = consumer.read(node, wait_ms, number % REPEATED == 0);
        match timeout(ANSWER_TIMEOUT, reading).await.map_err(anyhow::Error::from).and_then(|read| read) {
            Ok(false) if finishing_until.is_some() => break,
            Ok(_) => {}
            Err(error) if finishing_until.is_some_and(|end| Instant::now() > end) => return Err(error),
            Err(_) => sleep(RETRY_PAUSE).await,
        }
    }
    Ok(consumer)
}

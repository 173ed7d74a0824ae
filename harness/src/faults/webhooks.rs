//! A receiver of webhooks during a run. Two replicas of `tidings-webhooks` serve it. Now and then one of them is killed or
//! paused, and the receiver fails or is slow, while the other parts of the system break.

use std::collections::BTreeMap;
use std::sync::Arc;

use anyhow::Result;
use rand::SeedableRng;
use rand::rngs::StdRng;
use serde_json::json;
use tokio::sync::Notify;
use tokio::task::JoinHandle;

use super::World;
use super::replicas::{disturb_with_receiver, start_anew, wait_for_deliveries};
use crate::frames::ServerFrame;
use crate::history::{Event, Rule, StoredLog, Violation};
use crate::webhooks::{Receiver, ReceiverBehaviour, WebhooksNode};

/// The pauses between attempts. They are short, because a run is short, and many, so that no event becomes a dead letter.
const RETRY_DELAYS_S: &str = "0.2,0.2,0.5,0.5,1,1,2,2,2,3,3,3,5,5,5,5,5,5,5,10,10,10,10,10,10";
/// Counts the deliveries in the queue, without dead letters.
const QUEUE_LENGTH_SQL: &str = "SELECT count(*) FROM webhook_deliveries WHERE dead_at IS NULL";
/// Limit of the violations that are reported.
const MAX_VIOLATIONS: usize = 20;

/// The running replicas and the receiver.
pub(super) struct WebhookReceiver {
    receiver: Arc<Receiver>,
    stop: Arc<Notify>,
    task: JoinHandle<Result<[WebhooksNode; 2]>>,
}

impl WebhookReceiver {
    /// Starts replicas and a receiver, and registers an ordered endpoint that begins with the oldest event.
    pub async fn start(world: &World, seed: u64, settings: &[(String, String)]) -> Result<WebhookReceiver> {
        let mut own = vec![("TIDINGS_WEBHOOKS_RETRY_DELAYS_S", RETRY_DELAYS_S)];
        own.extend(settings.iter().map(|(name, value)| (name.as_str(), value.as_str())));
        let start = |name| WebhooksNode::start(&world.stack, name, &own);
        let nodes = [start("webhooks-0").await?, start("webhooks-1").await?];
        let receiver = Arc::new(Receiver::keeping_events().await?);
        nodes[0].register(receiver.url(), json!({})).await?;
        let stop = Arc::new(Notify::new());
        let task = tokio::spawn(disturb_with_receiver(
            nodes,
            receiver.clone(),
            stop.clone(),
            StdRng::seed_from_u64(seed),
        ));
        Ok(WebhookReceiver { receiver, stop, task })
    }

    /// Ends the disturbances, waits until the receiver has everything, and compares what it got with the stored logs.
    /// Returns the number of events that it got.
    pub async fn finish(self, world: &World, stored: &BTreeMap<String, StoredLog>) -> (u64, Vec<Violation>) {
        let violation = |room: &str, seq, what| Violation {
            rule: Rule::Webhook,
            room: room.to_owned(),
            seq,
            user: "webhook".to_owned(),
            what,
        };
        self.stop.notify_one();
        let nodes = match self.task.await.map_err(anyhow::Error::from).and_then(|ended| ended) {
            Ok(nodes) => start_anew(&nodes).await.map(|()| nodes),
            Err(error) => Err(error),
        };
        self.receiver.behave(ReceiverBehaviour::Accept);
        let progress = || {
            let got = self.receiver.first_accepted();
            let is_room_complete =
                |room: &str, log: &StoredLog| got.get(room).map_or(0, Vec::len) >= log.events.len();
            let is_complete = stored.iter().all(|(room, log)| is_room_complete(room, log));
            Ok((self.receiver.accepted_count(), is_complete))
        };
        // The webhooks send the events of a room one after the other, so the queue of a busy room is long after a long run.
        let waited = wait_for_deliveries(world.stack.database(), QUEUE_LENGTH_SQL, progress).await;
        let mut violations: Vec<Violation> = nodes
            .err()
            .into_iter()
            .chain(waited.err())
            .map(|error| violation("", 0, format!("{error:#}")))
            .collect();
        let rooms = self.receiver.accepted();
        for (room, log) in stored {
            let got = rooms.get(room).cloned().unwrap_or_default();
            if !got.order.is_sorted() {
                let at = got.order.windows(2).find(|pair| pair[0] > pair[1]);
                violations.push(violation(room, 0, format!("events came out of order: {at:?}")));
            }
            for (seq, events) in &log.events {
                let frame = got.events.get(seq).cloned().map(ServerFrame::from_value);
                let event = frame.as_ref().and_then(Event::from_frame);
                let is_void = events.iter().any(|stored| stored.event.kind == "void");
                let equals = |event: &Event| events.iter().any(|stored| stored.equals_received(event));
                if !(frame.is_some() && is_void || event.as_ref().is_some_and(equals)) {
                    violations.push(violation(room, *seq, format!("got {event:?} for {events:?}")));
                }
            }
        }
        violations.truncate(MAX_VIOLATIONS);
        (self.receiver.accepted_count() as u64, violations)
    }
}

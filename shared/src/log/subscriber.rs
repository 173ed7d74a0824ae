//! The one pub/sub connection of a node. A task keeps the set of wanted channels, subscribes to all of them after every
//! connect, and checks the connection by PING every 2 s. It calls an event handler with published messages, and when
//! the connection is lost or Redis has confirmed all wanted channels. A subscription that Redis refuses or ends without
//! a request also ends the connection. The connection does not use the Redis client: see `connection`.

mod connection;
mod protocol;
mod resp;
mod stream;

use std::{collections::HashSet, sync::Arc, time::Duration};

use tokio::sync::{mpsc, oneshot};

use super::RedisClient;
use connection::{PubSubConnection, PubSubError};
pub use stream::Messages;
use stream::Socket;

const PING_EVERY: Duration = Duration::from_secs(2);
const RECONNECT_PAUSE: Duration = Duration::from_millis(200);
/// Maximum number of channels in one SUBSCRIBE, and of requests that are taken from the queue at once.
const MAX_BATCH: usize = 1000;
/// Maximum number of requests that wait in the queue; further requests are refused.
const QUEUE_CAPACITY: usize = 65_536;

/// An event of the pub/sub connection.
#[derive(Debug)]
pub enum Event<'a> {
    /// Messages were published on wanted channels.
    Messages(Messages<'a>),
    /// After a connect, Redis has confirmed every wanted channel. `run_id` is the id of the Redis process. Messages
    /// that were published before this event may be lost.
    Online { run_id: Arc<str> },
    /// The connection is lost.
    Offline,
}

type Connection = PubSubConnection<Box<dyn Socket>>;

/// Called with each event, on the task of the connection. It must not block.
type EventHandler = Arc<dyn Fn(Event<'_>) + Send + Sync>;

/// A request of a caller to the task.
enum SubscriptionRequest {
    Subscribe(String, oneshot::Sender<()>),
    Unsubscribe(String),
    Reconnect,
}

/// Handle of the task that keeps the pub/sub connection.
#[derive(Clone)]
pub struct Subscriber {
    requests: mpsc::Sender<SubscriptionRequest>,
}

impl Subscriber {
    /// Starts the task of the connection. The task calls `handler` with each event; `handler` must not block.
    pub fn start(client: RedisClient, handler: impl Fn(Event<'_>) + Send + Sync + 'static) -> Self {
        let (requests, queue) = mpsc::channel(QUEUE_CAPACITY);
        let task = ConnectionTask {
            client,
            handler: Arc::new(handler),
            wanted_channels: HashSet::new(),
            confirmations: Vec::new(),
        };
        tokio::spawn(task.run(queue));
        Self { requests }
    }

    /// Adds a wanted channel. The returned receiver resolves when Redis has confirmed the channel, without a time
    /// limit. Returns `None`, and changes nothing, if too many requests are waiting.
    #[must_use]
    pub fn subscribe(&self, channel: String) -> Option<oneshot::Receiver<()>> {
        let (confirmed, confirmation) = oneshot::channel();
        self.requests.try_send(SubscriptionRequest::Subscribe(channel, confirmed)).ok().map(|()| confirmation)
    }

    /// Removes a wanted channel. Returns false, and changes nothing, if too many requests are waiting.
    #[must_use]
    pub fn unsubscribe(&self, channel: String) -> bool {
        self.requests.try_send(SubscriptionRequest::Unsubscribe(channel)).is_ok()
    }

    /// Replaces the connection by a new one. Used when the address may lead to another Redis process than before.
    pub fn reconnect(&self) {
        // If the queue is full, the request is dropped. A caller that still needs a new connection calls this again.
        let _ = self.requests.try_send(SubscriptionRequest::Reconnect);
    }
}

/// The state of the task that keeps the pub/sub connection.
struct ConnectionTask {
    client: RedisClient,
    handler: EventHandler,
    wanted_channels: HashSet<String>,
    /// Senders to the callers of [`Subscriber::subscribe`] whose channels Redis has not confirmed yet.
    confirmations: Vec<oneshot::Sender<()>>,
}

impl ConnectionTask {
    async fn run(mut self, mut requests: mpsc::Receiver<SubscriptionRequest>) {
        loop {
            match self.connect().await {
                Ok((mut connection, run_id)) => {
                    self.send_confirmations();
                    (self.handler)(Event::Online { run_id });
                    let ended = self.serve_requests(&mut connection, &mut requests).await;
                    (self.handler)(Event::Offline);
                    if ended {
                        return;
                    }
                }
                Err(error) => tracing::warn!(%error, "pub/sub connection failed"),
            }
            // Requests during the pause change the set of channels to which the next attempt subscribes.
            let pause = tokio::time::sleep(RECONNECT_PAUSE);
            tokio::pin!(pause);
            loop {
                tokio::select! {
                    () = &mut pause => break,
                    request = requests.recv() => match request {
                        Some(request) => drop(self.update_wanted(request)),
                        None => return,
                    },
                }
            }
        }
    }

    /// Connects, and subscribes to all wanted channels. Returns the connection and the `run_id` of the process.
    async fn connect(&self) -> Result<(Connection, Arc<str>), PubSubError> {
        let (mut connection, run_id) = PubSubConnection::open(&self.client, self.handler.clone()).await?;
        let wanted: Vec<&str> = self.wanted_channels.iter().map(String::as_str).collect();
        for channels in wanted.chunks(MAX_BATCH) {
            connection.change(channels, &[]).await?;
        }
        Ok((connection, run_id))
    }

    /// Serves requests until the connection is lost or must be replaced (returns false), or until all handles are
    /// dropped (returns true).
    async fn serve_requests(
        &mut self,
        connection: &mut Connection,
        requests: &mut mpsc::Receiver<SubscriptionRequest>,
    ) -> bool {
        let mut ping = tokio::time::interval(PING_EVERY);
        ping.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut batch = Vec::new();
        loop {
            let outcome = tokio::select! {
                error = connection.until_lost() => Err(error),
                _ = ping.tick() => connection.ping().await,
                count = requests.recv_many(&mut batch, MAX_BATCH) => {
                    if count == 0 {
                        return true;
                    }
                    let reconnect = batch.iter().any(|request| matches!(request, SubscriptionRequest::Reconnect));
                    let applied = self.apply_requests(connection, &mut batch).await;
                    if reconnect {
                        return false;
                    }
                    applied
                }
            };
            if let Err(error) = outcome {
                tracing::warn!(%error, "pub/sub connection lost");
                return false;
            }
        }
    }

    /// Applies a request to the set of wanted channels, and returns the channel of the request, if it has one.
    fn update_wanted(&mut self, request: SubscriptionRequest) -> Option<String> {
        match request {
            SubscriptionRequest::Subscribe(channel, confirmed) => {
                self.wanted_channels.insert(channel.clone());
                // Senders whose callers were cancelled are removed, so that `confirmations` stays bounded.
                if self.confirmations.len() >= QUEUE_CAPACITY {
                    self.confirmations.retain(|confirmed| !confirmed.is_closed());
                }
                self.confirmations.push(confirmed);
                Some(channel)
            }
            SubscriptionRequest::Unsubscribe(channel) => {
                self.wanted_channels.remove(&channel);
                Some(channel)
            }
            SubscriptionRequest::Reconnect => None,
        }
    }

    /// Applies a batch of requests to Redis: subscribes to channels and unsubscribes from others. If several requests
    /// name a channel, the last one decides.
    async fn apply_requests(
        &mut self,
        connection: &mut Connection,
        batch: &mut Vec<SubscriptionRequest>,
    ) -> Result<(), PubSubError> {
        let changed: HashSet<String> =
            batch.drain(..).filter_map(|request| self.update_wanted(request)).collect();
        let changed = changed.iter().map(String::as_str);
        let (added, removed): (Vec<&str>, Vec<&str>) =
            changed.partition(|channel| self.wanted_channels.contains(*channel));
        if !added.is_empty() || !removed.is_empty() {
            connection.change(&added, &removed).await?;
        }
        self.send_confirmations();
        Ok(())
    }

    /// Tells all waiting callers that Redis has confirmed their channels.
    fn send_confirmations(&mut self) {
        for confirmed in self.confirmations.drain(..) {
            // Sending fails if the caller was cancelled.
            let _ = confirmed.send(());
        }
    }
}

#[cfg(test)]
mod tests;

//! The one pub/sub connection of a node. A task keeps the set of wanted channels, subscribes to all of them after every
//! connect, and checks the connection by PING every 2 s. It calls an event handler with published messages, and when
//! the connection is lost or Redis has confirmed all wanted channels. Messages do not pass through the Redis client:
//! see `stream`.

mod resp;
mod stream;

use std::{collections::HashSet, sync::Arc, time::Duration};

use redis::{
    AsyncConnectionConfig, ProtocolVersion, PushInfo, PushKind, RedisError, Value, aio::MultiplexedConnection,
};
use tokio::sync::{Notify, mpsc, oneshot};
use tokio_util::task::AbortOnDropHandle;

use super::{RedisClient, session};
use stream::HintStream;
pub use stream::Messages;

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

/// A connection of the Redis client, and the task that reads and writes its stream.
struct DrivenConnection {
    connection: MultiplexedConnection,
    _driver: AbortOnDropHandle<()>,
}

impl ConnectionTask {
    async fn run(mut self, mut requests: mpsc::Receiver<SubscriptionRequest>) {
        loop {
            let lost = Arc::new(Notify::new());
            match self.connect(&lost).await {
                Ok((mut driven, run_id)) => {
                    self.send_confirmations();
                    (self.handler)(Event::Online { run_id });
                    let ended = self.serve_requests(&mut driven.connection, &lost, &mut requests).await;
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

    async fn connect(
        &self,
        lost: &Arc<Notify>,
    ) -> Result<(DrivenConnection, Arc<str>), session::SessionError> {
        let settings = self.client.get_connection_info().redis_settings().clone();
        let settings = settings.set_protocol(ProtocolVersion::RESP3);
        let lost = lost.clone();
        let config = AsyncConnectionConfig::new().set_push_sender(move |push: PushInfo| -> Result<(), ()> {
            if push.kind == PushKind::Disconnection {
                lost.notify_one();
            }
            Ok(())
        });
        let connected = async {
            let stream = HintStream::new(stream::open(&self.client).await?, self.handler.clone());
            MultiplexedConnection::new_with_config(&settings, stream, session::with_limits(config)).await
        };
        let connected = tokio::time::timeout(session::CONNECT_TIMEOUT, connected).await;
        let (connection, driver) =
            connected.map_err(|elapsed| RedisError::from(std::io::Error::from(elapsed)))??;
        let mut driven =
            DrivenConnection { connection, _driver: AbortOnDropHandle::new(tokio::spawn(driver)) };
        let run_id = session::read_run_id(&mut driven.connection).await?;
        let wanted: Vec<&String> = self.wanted_channels.iter().collect();
        for channels in wanted.chunks(MAX_BATCH) {
            driven.connection.subscribe(channels).await?;
        }
        Ok((driven, run_id.into()))
    }

    /// Serves requests until the connection is lost or must be replaced (returns false), or until all handles are
    /// dropped (returns true).
    async fn serve_requests(
        &mut self,
        connection: &mut MultiplexedConnection,
        lost: &Notify,
        requests: &mut mpsc::Receiver<SubscriptionRequest>,
    ) -> bool {
        let mut ping = tokio::time::interval(PING_EVERY);
        ping.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut batch = Vec::new();
        loop {
            let outcome = tokio::select! {
                () = lost.notified() => return false,
                _ = ping.tick() => redis::cmd("PING").query_async::<Value>(connection).await.map(drop),
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
        connection: &mut MultiplexedConnection,
        batch: &mut Vec<SubscriptionRequest>,
    ) -> Result<(), redis::RedisError> {
        let changed: HashSet<String> =
            batch.drain(..).filter_map(|request| self.update_wanted(request)).collect();
        let (added, removed): (Vec<&String>, Vec<&String>) =
            changed.iter().partition(|channel| self.wanted_channels.contains(*channel));
        if !removed.is_empty() {
            connection.unsubscribe(removed).await?;
        }
        if !added.is_empty() {
            connection.subscribe(added).await?;
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

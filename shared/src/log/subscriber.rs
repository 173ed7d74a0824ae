//! The one pub/sub connection of a node. It keeps an explicit set of wanted channels, subscribes to all of them after
//! every reconnect, and checks the connection by PING every 2 s. It reports when all wanted channels are confirmed, and
//! on which Redis process.

use std::{collections::HashSet, sync::Arc, time::Duration};

use bytes::Bytes;
use redis::{
    AsyncConnectionConfig, Client, ProtocolVersion, PushInfo, PushKind, Value, aio::MultiplexedConnection,
};
use tokio::sync::{Notify, mpsc, oneshot};

use super::session;

const PING_EVERY: Duration = Duration::from_secs(2);
const RECONNECT_PAUSE: Duration = Duration::from_millis(200);
/// Most channels in one SUBSCRIBE, and most requests that are taken from the queue at once.
const MAX_BATCH: usize = 1000;
/// Requests that may wait in the queue; further ones are refused.
const QUEUE_CAPACITY: usize = 65_536;

/// An event of the connection. The connection's own task calls the sink, so the sink must not block.
#[derive(Debug)]
pub enum Event {
    Message {
        channel: String,
        payload: Bytes,
    },
    /// Every wanted channel is confirmed on the process `run_id`. Messages that were published before this event may be
    /// lost.
    Online {
        run_id: Arc<str>,
    },
    Offline,
}

type Sink = Arc<dyn Fn(Event) + Send + Sync>;

enum Request {
    Subscribe(String, oneshot::Sender<()>),
    Unsubscribe(String),
    Reconnect,
}

/// Handle of the connection's task.
#[derive(Clone)]
pub struct Subscriber {
    requests: mpsc::Sender<Request>,
}

impl Subscriber {
    /// Starts the task; `sink` gets all events.
    pub fn start(client: Client, sink: impl Fn(Event) + Send + Sync + 'static) -> Self {
        let (requests, queue) = mpsc::channel(QUEUE_CAPACITY);
        let connection =
            Connection { client, sink: Arc::new(sink), wanted: HashSet::new(), unconfirmed: Vec::new() };
        tokio::spawn(connection.serve(queue));
        Self { requests }
    }

    /// Adds a wanted channel. The receiver resolves when Redis has confirmed the channel, without a time limit. `None`:
    /// too many requests are waiting, and nothing was changed.
    #[must_use]
    pub fn subscribe(&self, channel: String) -> Option<oneshot::Receiver<()>> {
        let (confirmed, confirmation) = oneshot::channel();
        self.requests.try_send(Request::Subscribe(channel, confirmed)).ok().map(|()| confirmation)
    }

    /// Removes a wanted channel; false: too many requests are waiting.
    #[must_use]
    pub fn unsubscribe(&self, channel: String) -> bool {
        self.requests.try_send(Request::Unsubscribe(channel)).is_ok()
    }

    /// Replaces the connection by a new one, because the address may lead to another process now.
    pub fn reconnect(&self) {
        // If the queue is full, the request is dropped: the connection is in use, and a later caller asks again.
        let _ = self.requests.try_send(Request::Reconnect);
    }
}

struct Connection {
    client: Client,
    sink: Sink,
    wanted: HashSet<String>,
    /// Receivers of confirmations that Redis has not sent yet.
    unconfirmed: Vec<oneshot::Sender<()>>,
}

impl Connection {
    async fn serve(mut self, mut requests: mpsc::Receiver<Request>) {
        loop {
            let lost = Arc::new(Notify::new());
            match self.connect(&lost).await {
                Ok((mut connection, run_id)) => {
                    self.confirm();
                    (self.sink)(Event::Online { run_id });
                    let ended = self.follow(&mut connection, &lost, &mut requests).await;
                    (self.sink)(Event::Offline);
                    if ended {
                        return;
                    }
                }
                Err(error) => tracing::warn!(%error, "pub/sub connection failed"),
            }
            // Requests during the pause change what the next attempt subscribes to.
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
    ) -> Result<(MultiplexedConnection, Arc<str>), session::SessionError> {
        let settings =
            self.client.get_connection_info().redis_settings().clone().set_protocol(ProtocolVersion::RESP3);
        let client = Client::open(self.client.get_connection_info().clone().set_redis_settings(settings))?;
        let (sink, lost) = (self.sink.clone(), lost.clone());
        let config = AsyncConnectionConfig::new().set_push_sender(move |push: PushInfo| -> Result<(), ()> {
            match push.kind {
                PushKind::Message => {
                    if let Some(message) = message_of(push.data) {
                        sink(message);
                    }
                }
                PushKind::Disconnection => lost.notify_one(),
                _ => {}
            }
            Ok(())
        });
        let (mut connection, run_id) = session::connect(&client, config).await?;
        let wanted: Vec<&String> = self.wanted.iter().collect();
        for channels in wanted.chunks(MAX_BATCH) {
            connection.subscribe(channels).await?;
        }
        Ok((connection, run_id.into()))
    }

    /// Serves requests on a connection until it is lost. Returns true when all handles are dropped.
    async fn follow(
        &mut self,
        connection: &mut MultiplexedConnection,
        lost: &Notify,
        requests: &mut mpsc::Receiver<Request>,
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
                    let reconnect = batch.iter().any(|request| matches!(request, Request::Reconnect));
                    let applied = self.apply(connection, &mut batch).await;
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

    /// Changes the set of wanted channels, and returns the channel of the request.
    fn update_wanted(&mut self, request: Request) -> Option<String> {
        match request {
            Request::Subscribe(channel, confirmed) => {
                self.wanted.insert(channel.clone());
                // Cancelled waiters are removed, so that this list stays bounded.
                if self.unconfirmed.len() >= QUEUE_CAPACITY {
                    self.unconfirmed.retain(|confirmed| !confirmed.is_closed());
                }
                self.unconfirmed.push(confirmed);
                Some(channel)
            }
            Request::Unsubscribe(channel) => {
                self.wanted.remove(&channel);
                Some(channel)
            }
            Request::Reconnect => None,
        }
    }

    /// Applies a batch of requests; the last request for each channel decides.
    async fn apply(
        &mut self,
        connection: &mut MultiplexedConnection,
        batch: &mut Vec<Request>,
    ) -> Result<(), redis::RedisError> {
        let changed: HashSet<String> =
            batch.drain(..).filter_map(|request| self.update_wanted(request)).collect();
        let (on, off): (Vec<&String>, Vec<&String>) =
            changed.iter().partition(|channel| self.wanted.contains(*channel));
        if !off.is_empty() {
            connection.unsubscribe(off).await?;
        }
        if !on.is_empty() {
            connection.subscribe(on).await?;
        }
        self.confirm();
        Ok(())
    }

    fn confirm(&mut self) {
        for confirmed in self.unconfirmed.drain(..) {
            // The caller may be gone.
            let _ = confirmed.send(());
        }
    }
}

/// The channel and the payload of a push of kind `message`.
fn message_of(data: Vec<Value>) -> Option<Event> {
    let mut data = data.into_iter();
    match (data.next()?, data.next()?) {
        (Value::BulkString(channel), Value::BulkString(payload)) => {
            Some(Event::Message { channel: String::from_utf8(channel).ok()?, payload: payload.into() })
        }
        _ => None,
    }
}

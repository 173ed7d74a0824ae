//! The one pub/sub connection of a node: an explicit set of wanted channels, subscribed again after every
//! reconnect, checked by PING every 2 s. Tells when all wanted channels are confirmed, and on which process.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use redis::{
    AsyncConnectionConfig, Client, ProtocolVersion, PushInfo, PushKind, Value, aio::MultiplexedConnection,
};
use tokio::sync::{Notify, mpsc, oneshot};

use super::session;

const PING_EVERY: Duration = Duration::from_secs(2);
const RECONNECT_AFTER: Duration = Duration::from_millis(200);
/// Channels in one SUBSCRIBE.
const CHANNELS_PER_COMMAND: usize = 1000;
/// Requests that may wait; above it callers are refused.
const QUEUE: usize = 65_536;

/// What the connection brings. Called from the connection's own task: it must not block.
#[derive(Debug)]
pub enum Event {
    Message {
        channel: String,
        payload: Bytes,
    },
    /// Every wanted channel is confirmed on the process `run_id`; what was published before may have been missed.
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
    /// Starts the task; `sink` gets everything that happens.
    pub fn start(client: Client, sink: impl Fn(Event) + Send + Sync + 'static) -> Self {
        let (requests, queue) = mpsc::channel(QUEUE);
        tokio::spawn(Connection { client, sink: Arc::new(sink), wanted: HashSet::new() }.serve(queue));
        Self { requests }
    }

    /// Adds a channel to the wanted ones. What is returned resolves when the server has confirmed it, however
    /// long that takes; `None`: too many requests are waiting, nothing was changed.
    #[must_use]
    pub fn subscribe(&self, channel: String) -> Option<oneshot::Receiver<()>> {
        let (confirmed, confirmation) = oneshot::channel();
        self.requests.try_send(Request::Subscribe(channel, confirmed)).ok().map(|()| confirmation)
    }

    /// Takes a channel out of the wanted ones; false when too many requests are waiting.
    #[must_use]
    pub fn unsubscribe(&self, channel: String) -> bool {
        self.requests.try_send(Request::Unsubscribe(channel)).is_ok()
    }
}

impl Subscriber {
    /// Gives the connection up for a new one: the address may lead to another process by now.
    pub fn reconnect(&self) {
        // Full of requests, the connection is in use; the next caller asks again.
        let _ = self.requests.try_send(Request::Reconnect);
    }
}

struct Connection {
    client: Client,
    sink: Sink,
    wanted: HashSet<String>,
}

impl Connection {
    async fn serve(mut self, mut requests: mpsc::Receiver<Request>) {
        let mut unconfirmed = Vec::new();
        loop {
            let lost = Arc::new(Notify::new());
            match self.connect(&lost).await {
                Ok((mut connection, run_id)) => {
                    for confirmed in unconfirmed.drain(..) {
                        let _: Result<(), ()> = oneshot::Sender::send(confirmed, ());
                    }
                    (self.sink)(Event::Online { run_id });
                    let ended = self.follow(&mut connection, &lost, &mut requests, &mut unconfirmed).await;
                    (self.sink)(Event::Offline);
                    if ended {
                        return;
                    }
                }
                Err(error) => tracing::warn!(%error, "pub/sub connection failed"),
            }
            // Requests made meanwhile are part of what is wanted at the next attempt.
            let pause = tokio::time::sleep(RECONNECT_AFTER);
            tokio::pin!(pause);
            loop {
                tokio::select! {
                    () = &mut pause => break,
                    request = requests.recv() => match request {
                        Some(Request::Subscribe(channel, confirmed)) => {
                            self.wanted.insert(channel);
                            // Those who gave up waiting make room for those who come.
                            if unconfirmed.len() >= QUEUE {
                                unconfirmed.retain(|confirmed: &oneshot::Sender<()>| !confirmed.is_closed());
                            }
                            unconfirmed.push(confirmed);
                        }
                        Some(Request::Unsubscribe(channel)) => {
                            self.wanted.remove(&channel);
                        }
                        Some(Request::Reconnect) => {}
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
        for channels in wanted.chunks(CHANNELS_PER_COMMAND) {
            connection.subscribe(channels).await?;
        }
        Ok((connection, run_id.into()))
    }

    /// Serves requests on a connection until it is lost; true when nobody can make requests any more.
    async fn follow(
        &mut self,
        connection: &mut MultiplexedConnection,
        lost: &Notify,
        requests: &mut mpsc::Receiver<Request>,
        unconfirmed: &mut Vec<oneshot::Sender<()>>,
    ) -> bool {
        let mut ping = tokio::time::interval(PING_EVERY);
        ping.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut gathered = Vec::new();
        loop {
            let outcome = tokio::select! {
                () = lost.notified() => return false,
                _ = ping.tick() => redis::cmd("PING").query_async::<Value>(connection).await.map(drop),
                count = requests.recv_many(&mut gathered, CHANNELS_PER_COMMAND) => {
                    if count == 0 {
                        return true;
                    }
                    let reconnect = gathered.iter().any(|request| matches!(request, Request::Reconnect));
                    let applied = self.apply(connection, &mut gathered, unconfirmed).await;
                    if reconnect {
                        return false;
                    }
                    applied
                }
            };
            if let Err(error) = outcome {
                tracing::warn!(%error, "pub/sub connection given up");
                return false;
            }
        }
    }

    /// Applies gathered requests: what counts is the last word on each channel.
    async fn apply(
        &mut self,
        connection: &mut MultiplexedConnection,
        gathered: &mut Vec<Request>,
        unconfirmed: &mut Vec<oneshot::Sender<()>>,
    ) -> Result<(), redis::RedisError> {
        let mut touched: HashMap<String, bool> = HashMap::new();
        let first_unconfirmed = unconfirmed.len();
        for request in gathered.drain(..) {
            match request {
                Request::Subscribe(channel, confirmed) => {
                    self.wanted.insert(channel.clone());
                    touched.insert(channel, true);
                    unconfirmed.push(confirmed);
                }
                Request::Unsubscribe(channel) => {
                    self.wanted.remove(&channel);
                    touched.insert(channel, false);
                }
                Request::Reconnect => {}
            }
        }
        let named =
            |wanted: bool| touched.iter().filter(move |(_, w)| **w == wanted).map(|(channel, _)| channel);
        let (off, on): (Vec<_>, Vec<_>) = (named(false).collect(), named(true).collect());
        if !off.is_empty() {
            connection.unsubscribe(off).await?;
        }
        if !on.is_empty() {
            connection.subscribe(on).await?;
        }
        for confirmed in unconfirmed.drain(first_unconfirmed..) {
            let _ = confirmed.send(());
        }
        Ok(())
    }
}

/// A push of kind `message`: channel and payload.
fn message_of(data: Vec<Value>) -> Option<Event> {
    let mut data = data.into_iter();
    match (data.next()?, data.next()?) {
        (Value::BulkString(channel), Value::BulkString(payload)) => {
            Some(Event::Message { channel: String::from_utf8(channel).ok()?, payload: payload.into() })
        }
        _ => None,
    }
}

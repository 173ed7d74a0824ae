//! All that the gateway does with Redis and persistence: the room log, the one pub/sub connection and who on this
//! node wants which channel, accounts and memberships, the channels of users. Shared by all workers; nothing here
//! knows a connection but by its place.

mod flights;
mod hearing;
mod interest;
mod people;
mod presence;
mod published;
mod recheck;
mod seats;
mod user_channel;

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use redis::Client;
use tidings_shared::{
    ids::{Epoch, RoomId, Seq, UserId},
    internal::InternalClient,
    log::{
        AppendError, Log, LogLimits, Record, Step, TailRead,
        keys::{self, Partition},
        record::TYPE_MARKS,
        stored::Notice,
        subscriber::{Event, Subscriber},
    },
    people::CHANNEL_PREFIX,
};
use tokio::sync::watch;

pub use hearing::Heard;
pub use interest::{Hint, MAX_WORKERS, WorkerQueue};
pub use people::{PeopleError, Standing};
pub use published::{Published, take_time};
pub use seats::Place;
pub use user_channel::{Entering, Told};

use crate::{
    metrics::{Metrics, redis_timings},
    transport::Frame,
};
use interest::Interest;
use recheck::Recheck;
use seats::Seats;

/// How long a join waits for the pub/sub connection to come back before it is told `unavailable`.
const RECONNECT_PATIENCE: Duration = Duration::from_secs(3);
/// Nothing heard for longer than this, marks of changed memberships may be gone, which Redis keeps for two hours.
pub const MARKS_TRUSTED: Duration = Duration::from_secs(3600);

/// See the module.
pub struct Bus {
    pub log: Arc<Log>,
    persistence: Arc<InternalClient>,
    subscriber: Subscriber,
    shared: Arc<Shared>,
    loads: people::Loads,
}

/// What the pub/sub connection's task and the workers both touch.
struct Shared {
    interest: Mutex<Interest>,
    seats: Mutex<Seats>,
    presence: presence::Parts,
    hearing: hearing::Hearing,
    recheck: Recheck,
    /// Since when the pub/sub connection is away.
    offline: Mutex<Option<Instant>>,
    /// The process that all wanted channels are confirmed on; `None` while there is none.
    process: watch::Sender<Option<Arc<str>>>,
    metrics: Metrics,
}

impl Shared {
    fn interest(&self) -> std::sync::MutexGuard<'_, Interest> {
        // Nothing under the lock can panic half-way through a change.
        self.interest.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn seats(&self) -> std::sync::MutexGuard<'_, Seats> {
        // As above.
        self.seats.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// All wanted channels are confirmed: what was told before may have been missed.
    fn online(&self, run_id: Arc<str>) {
        let since = self.offline.lock().unwrap_or_else(PoisonError::into_inner).take();
        self.hearing.back(&run_id);
        self.process.send_replace(Some(run_id));
        self.metrics.resubscribed.inc();
        self.interest().refill_all(since.is_some_and(|since| since.elapsed() > MARKS_TRUSTED));
        self.recheck.all();
    }

    fn went_offline(&self) {
        self.offline.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert_with(Instant::now);
        // Before channels are subscribed again: the first of them bring hints while others are still silent.
        self.interest().deafen();
        self.hearing.away();
        self.process.send_replace(None);
    }
}

impl Bus {
    /// Starts the log and the pub/sub connection on the present runtime.
    pub fn start(
        client: Client,
        persistence: Arc<InternalClient>,
        limits: LogLimits,
        queues: Vec<WorkerQueue>,
        connections_per_user: usize,
        metrics: Metrics,
    ) -> Arc<Self> {
        let log = Log::start(client.clone(), persistence.clone(), limits);
        log.tell_timings(redis_timings(&metrics));
        let interest = Mutex::new(Interest::new(queues));
        let seats = Mutex::new(Seats::new(connections_per_user));
        let shared = Arc::new(Shared {
            interest,
            seats,
            presence: presence::Parts::default(),
            hearing: hearing::Hearing::default(),
            recheck: Recheck::default(),
            offline: Mutex::default(),
            process: watch::Sender::new(None),
            metrics,
        });
        let (sink, watermarks) = (shared.clone(), log.watermarks().clone());
        let subscriber = Subscriber::start(client, move |event| match event {
            Event::Message { channel, payload } => match Partition::of_stored_channel(&channel) {
                Some(partition) => {
                    if let Some(notice) = std::str::from_utf8(&payload).ok().and_then(Notice::parse) {
                        watermarks.notice(partition, &notice);
                    }
                }
                None => sink.publish(&channel, payload),
            },
            Event::Online { run_id } => sink.online(run_id),
            Event::Offline => sink.went_offline(),
        });
        drop(subscriber.subscribe(tidings_shared::presence::CHANNEL.to_owned()));
        for partition in Partition::all() {
            // Before anything else is asked for, so there is room in the queue; confirmed again with every reconnect.
            drop(subscriber.subscribe(partition.stored()));
        }
        let bus = Arc::new(Self { log, persistence, subscriber, shared, loads: people::Loads::default() });
        tokio::spawn(recheck::run(Arc::downgrade(&bus)));
        tokio::spawn(hearing::run(Arc::downgrade(&bus)));
        bus
    }

    /// Makes a worker hear of a room's events from now on; resolves once the server has confirmed it.
    ///
    /// # Errors
    /// [`AppendError::Overloaded`] when too many channels are being asked for.
    pub async fn subscribe(&self, worker: usize, room: &RoomId) -> Result<(), AppendError> {
        let confirmed = {
            let mut interest = self.shared.interest();
            let confirmed = self.subscriber.subscribe(keys::room(room)).ok_or(AppendError::Overloaded)?;
            interest.add(worker, room);
            confirmed
        };
        let confirmed = self.log.timed(Step::Subscribe, tokio::time::timeout(RECONNECT_PATIENCE, confirmed));
        match confirmed.await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err(AppendError::Unavailable("shutting down".to_owned())),
            Err(_) => Err(AppendError::Unavailable("the subscription is not confirmed".to_owned())),
        }
    }

    /// Makes a worker hear no more of a room.
    pub fn unsubscribe(&self, worker: usize, room: &RoomId) {
        let mut interest = self.shared.interest();
        // Under the lock, so that it cannot overtake another worker's wish for the same channel.
        if interest.remove(worker, room) && !self.subscriber.unsubscribe(keys::room(room)) {
            tracing::warn!("a channel stays subscribed: too many requests are waiting");
        }
    }

    /// Reads a room from the very process that this node is subscribed to, with the marks of some users.
    ///
    /// # Errors
    /// As [`Log::read`]; also while there is no subscribed process.
    pub async fn read(
        &self,
        room: &RoomId,
        after: Option<Seq>,
        not_before: Epoch,
        users: &[UserId],
    ) -> Result<TailRead, AppendError> {
        let mut process = self.shared.process.subscribe();
        let process = match tokio::time::timeout(RECONNECT_PATIENCE, process.wait_for(Option::is_some)).await
        {
            Ok(Ok(process)) => process.clone(),
            _ => None,
        };
        let Some(process) = process else {
            return Err(AppendError::Unavailable("the pub/sub connection is down".to_owned()));
        };
        let users: Vec<&str> = users.iter().map(UserId::as_str).collect();
        let read = self.log.read(room, after, not_before, Some(&process), &users).await;
        if matches!(read, Err(AppendError::OtherProcess)) {
            // The command connection was given up already; whichever of the two is behind, both are made anew.
            self.subscriber.reconnect();
        }
        read
    }

    /// What is missing for serving, in words.
    pub async fn missing(&self) -> Vec<String> {
        let mut missing = Vec::new();
        if self.shared.process.borrow().is_none() {
            missing.push("pub/sub connection".to_owned());
        }
        if let Err(error) = self.log.session().await {
            missing.push(error.to_string());
        }
        missing
    }
}

impl Shared {
    fn publish(&self, channel: &str, payload: bytes::Bytes) {
        if let Some(user) = channel.strip_prefix(CHANNEL_PREFIX) {
            return self.notify(user, &payload);
        }
        if channel == tidings_shared::presence::CHANNEL {
            return self.presence_told(&payload);
        }
        let Some(room) = keys::room_of_channel(channel) else { return };
        self.metrics.hints.inc();
        match Record::parse(payload) {
            Ok(record) if record.kind() == TYPE_MARKS => {}
            Ok(record) => {
                if !record.is_live_only() {
                    self.metrics.pubsub_seconds.observe(published::since(&record).as_secs_f64());
                }
                // Framed once for all connections of the node.
                let frame = Frame::text(record.json());
                let record = Arc::new(Published::new(record, self.metrics.deliver_seconds.clone()));
                let dropped = self.interest().publish(room, &Hint::Record { record, frame });
                self.metrics.hints_dropped.inc_by(dropped);
            }
            Err(error) => tracing::error!(%error, "a published record cannot be read"),
        }
    }
}

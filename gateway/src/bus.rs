//! All access of the gateway to Redis and persistence: the room log, the pub/sub channels of rooms and users, accounts,
//! memberships and presence. All workers share one [`Bus`], which identifies a connection by its [`ConnectionKey`].

mod connections;
mod hint;
mod interest;
mod node_addresses;
mod online;
mod paced;
mod presence;
mod presence_feed;
mod published;
mod recheck;
mod single_flight;
mod tampering;
mod user_channel;
mod users;
mod worker_queue;

use std::{
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use bytes::Bytes;
use tidings_shared::{
    ids::{Epoch, RoomId, UserId},
    internal::InternalClient,
    log::{
        Accepted, AppendBatcher, AppendError, Entry, Layout, Log, LogLimits, Record, RedisClient, RoundTrip,
        TailPart, TailRead,
        keys::{self, PARTITIONS, Partition, PartitionSet},
        record::TYPE_MARKS,
        stored::Watermarks,
        subscriber::{Event, Messages, Subscriber},
    },
    people,
    sabotage::is_removed,
};
use tokio::sync::watch;

pub use connections::ConnectionKey;
pub use hint::Hint;
pub use interest::MAX_WORKERS;
pub use node_addresses::{NodeAddresses, NodeAnnouncement};
pub use presence_feed::PresenceUpdate;
pub use published::{PublishedRecord, observe_delivery};
pub use user_channel::PendingRegistration;
pub use users::{LookupError, MembershipSnapshot};
pub use worker_queue::{UserEvent, WorkerMessage, WorkerQueue};

use crate::{
    lock::lock,
    metrics::{Metrics, redis_timing_recorder},
};
use connections::ConnectionRegistry;
use interest::RoomInterest;
use recheck::RecheckQueue;

/// A join or a read of a room fails as `unavailable` after waiting this long for pub/sub of the room's partition.
const RECONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// After an interruption of pub/sub or a refill that took longer than this, the node assumes that membership marks have
/// expired unread. Redis keeps a mark for two hours.
pub const MARKS_TRUST_PERIOD: Duration = Duration::from_secs(3600);

/// Gives all workers of a node access to Redis and persistence.
pub struct Bus {
    pub log: Arc<Log>,
    persistence: Arc<InternalClient>,
    subscriber: Subscriber,
    shared: Arc<SharedState>,
    loads: users::MembershipLoads,
}

/// State shared by the tasks of the pub/sub connections and the workers.
struct SharedState {
    interest: Mutex<RoomInterest>,
    connections: Mutex<ConnectionRegistry>,
    presence: presence::PresenceQueries,
    presence_feed: presence_feed::PresenceFeed,
    /// The layout in which the wanted channels of users and of presence are named; `None` before the first user
    /// connects. Locked after `connections`.
    layout: Mutex<Option<Layout>>,
    recheck: RecheckQueue,
    /// When each partition went offline; `None` while it is online, and before it was online for the first time.
    offline: Mutex<[Option<Instant>; PARTITIONS as usize]>,
    /// For each partition the `run_id` of the Redis process that has confirmed all its wanted channels; `None` while
    /// not all are confirmed.
    processes: watch::Sender<[Option<Arc<str>>; PARTITIONS as usize]>,
    metrics: Metrics,
}

impl SharedState {
    /// Called when Redis has confirmed all wanted channels of these partitions. Messages may have been lost before
    /// that, so this refills their rooms, and compares the membership and account versions of their users with Redis.
    fn handle_online(&self, run_id: &Arc<str>, partitions: PartitionSet) {
        let marks_expired: PartitionSet = {
            let mut offline = lock(&self.offline);
            let mut was_offline_long = |partition: &Partition| {
                let lost_at = offline[usize::from(partition.0)].take();
                lost_at.is_some_and(|lost_at| lost_at.elapsed() > MARKS_TRUST_PERIOD)
            };
            partitions.iter().filter(|partition| was_offline_long(partition)).collect()
        };
        self.presence_feed.mark_connected(run_id, partitions);
        self.set_process(partitions, Some(run_id));
        self.metrics.resubscribed.inc();
        lock(&self.interest).refill(partitions, marks_expired);
        self.recheck.schedule_check_of(partitions);
    }

    fn handle_offline(&self, partitions: PartitionSet) {
        {
            let mut offline = lock(&self.offline);
            for partition in partitions.iter() {
                offline[usize::from(partition.0)].get_or_insert_with(Instant::now);
            }
        }
        // `disconnected` must be set before the channels are subscribed again, because hints of the first channels
        // arrive before the last channels are confirmed.
        lock(&self.interest).mark_disconnected(partitions);
        self.presence_feed.mark_disconnected(partitions);
        self.set_process(partitions, None);
    }

    fn set_process(&self, partitions: PartitionSet, run_id: Option<&Arc<str>>) {
        self.processes.send_modify(|processes| {
            for partition in partitions.iter() {
                processes[usize::from(partition.0)] = run_id.cloned();
            }
        });
    }

    /// Dispatches the messages of one read of a pub/sub connection. Consecutive records go to the workers together,
    /// before any later notice, so that a worker gets records and notices in the order in which Redis sent them.
    fn handle_messages(&self, messages: Messages<'_>, watermarks: &Arc<Watermarks>) {
        let mut hints = Vec::new();
        for (channel, payload) in messages {
            if let Some(room) = keys::room_of_channel(channel) {
                self.parse_hints(payload, |hint| hints.push((room, hint)));
                continue;
            }
            if watermarks.apply_notice(channel, payload) {
                continue;
            }
            self.flush_hints(&mut hints);
            if let Some(user) = people::user_of_channel(channel) {
                self.handle_user_notice(user, &Bytes::copy_from_slice(payload));
            } else if tidings_shared::presence::is_presence_channel(channel) {
                self.handle_presence_message(payload);
            }
        }
        self.flush_hints(&mut hints);
    }

    /// Sends records to the workers with subscriptions in their rooms, and empties the list.
    fn flush_hints(&self, hints: &mut Vec<(&str, Hint)>) {
        if !hints.is_empty() {
            let dropped = lock(&self.interest).dispatch_hints(hints.drain(..));
            self.metrics.hints_dropped.inc_by(dropped);
        }
    }

    /// Parses the records of a payload, and passes their hints to `add`. Copies the payload, because the hints outlive
    /// it.
    fn parse_hints(&self, payload: &[u8], add: impl FnMut(Hint)) {
        match Record::split_payload(Bytes::copy_from_slice(payload)) {
            Ok(split) => {
                let mut records = Vec::with_capacity(split.len());
                for record in split {
                    tampering::alter_published(record, |record| records.extend(self.parse_record(record)));
                }
                Hint::create_all(records, &self.metrics.deliver_seconds, add);
            }
            Err(error) => tracing::error!(%error, "a published payload cannot be parsed"),
        }
    }

    /// Parses a record; `None` if it is malformed or is not for clients.
    fn parse_record(&self, record: Bytes) -> Option<Record> {
        self.metrics.hints.inc();
        let record = Record::parse(record)
            .inspect_err(|error| tracing::error!(%error, "a published record cannot be parsed"))
            .ok()
            .filter(|record| record.kind() != TYPE_MARKS)?;
        if !record.is_live_only() {
            self.metrics.pubsub_seconds.observe(published::record_age(&record).as_secs_f64());
        }
        Some(record)
    }
}

impl Bus {
    /// Starts the room log and the pub/sub connections on the current Tokio runtime.
    pub fn start(
        client: RedisClient,
        persistence: Arc<InternalClient>,
        limits: LogLimits,
        queues: Vec<WorkerQueue>,
        connections_per_user: usize,
        metrics: Metrics,
    ) -> Arc<Self> {
        let log = Log::start(client.clone(), persistence.clone(), limits);
        log.observe_timings(redis_timing_recorder(&metrics));
        let shared = Arc::new(SharedState {
            interest: Mutex::new(RoomInterest::new(queues)),
            connections: Mutex::new(ConnectionRegistry::new(connections_per_user)),
            presence: presence::PresenceQueries::default(),
            presence_feed: presence_feed::PresenceFeed::default(),
            layout: Mutex::default(),
            recheck: RecheckQueue::default(),
            offline: Mutex::new([None; PARTITIONS as usize]),
            processes: watch::Sender::new(std::array::from_fn(|_| None)),
            metrics,
        });
        let (handler, watermarks) = (shared.clone(), log.watermarks().clone());
        let subscriber = Subscriber::start(log.map_watch().clone(), client, move |event| match event {
            Event::Messages(messages) => handler.handle_messages(messages, &watermarks),
            Event::Online { run_id, partitions } => handler.handle_online(&run_id, partitions),
            Event::Offline { partitions } => handler.handle_offline(partitions),
        });
        for partition in Partition::all() {
            // The watermark channels are requested before the channels of rooms and users, while the request queue has
            // space. The subscriber requests them again after every reconnect.
            drop(subscriber.subscribe(partition.stored()));
        }
        let bus =
            Arc::new(Self { log, persistence, subscriber, shared, loads: users::MembershipLoads::default() });
        tokio::spawn(recheck::run_checks(Arc::downgrade(&bus)));
        tokio::spawn(recheck::run_paced_sends(Arc::downgrade(&bus)));
        tokio::spawn(presence_feed::run_catch_ups(Arc::downgrade(&bus)));
        bus
    }

    /// Appends an event by [`Log::append`].
    pub async fn append(&self, entry: &mut Entry<'_>) -> Result<Accepted, AppendError> {
        tampering::alter_entry(entry);
        let mut accepted = self.log.append(entry).await;
        accepted.iter_mut().for_each(tampering::alter_accepted);
        accepted
    }

    /// Appends messages of one room in their order by [`Log::append_messages`], and passes each result to `answered`.
    pub async fn append_messages(
        &self,
        batcher: &Arc<AppendBatcher>,
        entries: &mut [Entry<'_>],
        mut answered: impl FnMut(Result<Accepted, AppendError>),
    ) {
        entries.iter_mut().for_each(tampering::alter_entry);
        let answered = |mut answer: Result<Accepted, AppendError>| {
            answer.iter_mut().for_each(tampering::alter_accepted);
            answered(answer);
        };
        if is_removed("a group ends before a look-up") {
            return tampering::append_concurrently(&self.log, entries).await.into_iter().for_each(answered);
        }
        self.log.append_messages(batcher, entries, answered).await;
    }

    /// Subscribes a worker to a room's channel. Returns when Redis has confirmed the subscription.
    pub async fn subscribe_room(&self, worker: usize, room: &RoomId) -> Result<(), AppendError> {
        let confirmed = {
            let mut interest = lock(&self.shared.interest);
            let confirmed = self.subscriber.subscribe(keys::room(room)).ok_or(AppendError::Overloaded)?;
            interest.add_worker(worker, room);
            confirmed
        };
        let confirmed =
            self.log.timed(RoundTrip::Subscribe, tokio::time::timeout(RECONNECT_TIMEOUT, confirmed));
        let problem = match confirmed.await {
            Ok(Ok(())) => return Ok(()),
            Ok(Err(_)) => "shutting down",
            Err(_) => "Redis has not confirmed the subscription; retry",
        };
        Err(AppendError::Unavailable(problem.to_owned()))
    }

    /// Removes a worker from a room. If no other worker has subscriptions in the room, unsubscribes the room's channel.
    pub fn unsubscribe_room(&self, worker: usize, room: &RoomId) {
        let mut interest = lock(&self.shared.interest);
        // The request is made under the lock, so that it cannot overtake another worker's request for the same channel.
        if interest.remove_worker(worker, room) && !self.subscriber.unsubscribe(keys::room(room)) {
            tracing::warn!("a room's channel stays subscribed because too many requests are waiting");
        }
    }

    /// Reads a room's head, the given part of its tail and the membership marks of `users`, from the Redis process to
    /// which this node is subscribed for the room's partition. Fails like [`Log::read`]. If the
    /// partition is offline, fails immediately as [`AppendError::Unavailable`]: see [`Bus::until_online`].
    pub async fn read_room(
        &self,
        room: &RoomId,
        part: Option<TailPart>,
        not_before: Epoch,
        users: &[UserId],
    ) -> Result<TailRead, AppendError> {
        let process = self.process_of(room).ok_or_else(online::offline)?;
        let users: Vec<&str> = users.iter().map(UserId::as_str).collect();
        let mut read = self.log.read_part(room, part, not_before, Some(&process), &users).await;
        read.iter_mut().for_each(|read| tampering::alter_read(read, part.map(|part| part.after)));
        if matches!(read, Err(AppendError::OtherProcess)) {
            // Commands and pub/sub are connected to different Redis processes, so one connection is outdated. The log
            // has already dropped the connection for commands, and this call renews the connection for pub/sub.
            self.subscriber.reconnect(Partition::of(room));
        }
        read
    }

    /// Returns the reasons why the node cannot serve; empty if it can serve. A node serves while one shard is
    /// reachable, because the failure of another shard would otherwise make all nodes unready.
    pub async fn unready_reasons(&self) -> Vec<String> {
        let mut missing = Vec::new();
        if self.shared.processes.borrow().iter().all(Option::is_none) {
            missing.push("pub/sub connection".to_owned());
        }
        let has_session = Partition::all().any(|partition| self.log.current_session(partition).is_some());
        if !has_session && let Err(error) = self.log.sessions().await {
            missing.push(error.to_string());
        }
        missing
    }
}

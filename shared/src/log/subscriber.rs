//! The pub/sub connections of a node: one for each shard, so a single Redis has one connection. A task follows the map
//! of the shards, and starts a task for each connection. Each channel belongs to a partition, and is subscribed at the
//! shard of the partition. An event handler gets the published messages, and learns which partitions are online, which
//! means that all their wanted channels are confirmed. The connections do not use the Redis client: see `connection`.

mod channels;
mod connection;
mod protocol;
mod resp;
mod shard_task;
mod stream;

use std::{sync::Arc, time::Duration};

use tokio::sync::{mpsc, oneshot, watch};

use super::{
    RedisClient,
    keys::{Partition, PartitionSet},
    layout::Layout,
    map_watch::MapWatch,
    shard_map::{NodeAddress, ShardMap},
};
use channels::{Channels, TaskWake};
use shard_task::ShardTask;
pub use stream::Messages;

/// Pause before a lost connection or a lost subscription is tried again, and before the unknown map is asked for again.
const RECONNECT_PAUSE: Duration = Duration::from_millis(200);

/// An event of the pub/sub connections. The events of a partition are passed one after another.
#[derive(Debug)]
pub enum Event<'a> {
    /// Messages were published on wanted channels.
    Messages(Messages<'a>),
    /// Redis has confirmed every wanted channel of these partitions. `run_id` is the id of their Redis process.
    /// Messages that were published before this event may be lost.
    Online { run_id: Arc<str>, partitions: PartitionSet },
    /// Subscriptions of these partitions are lost.
    Offline { partitions: PartitionSet },
}

/// Called with each event, on the task of a connection or of the map. It must not block.
type EventHandler = Arc<dyn Fn(Event<'_>) + Send + Sync>;

/// Asks for the map again. Called when a connection or a subscription is lost.
type RefreshMap = Arc<dyn Fn() + Send + Sync>;

/// Handle of the tasks that keep the pub/sub connections. The tasks end when all handles are dropped.
#[derive(Clone)]
pub struct Subscriber {
    channels: Arc<Channels>,
    _running: mpsc::Sender<()>,
}

impl Subscriber {
    /// Starts the tasks. They connect to the addresses of the map with the settings of `client`, and call `handler`
    /// with each event; `handler` must not block.
    pub fn start(
        map_watch: Arc<MapWatch>,
        client: RedisClient,
        handler: impl Fn(Event<'_>) + Send + Sync + 'static,
    ) -> Self {
        let map = map_watch.subscribe();
        Self::follow(map, Arc::new(move || map_watch.refresh()), client, handler)
    }

    fn follow(
        map: watch::Receiver<Option<Arc<ShardMap>>>,
        refresh_map: RefreshMap,
        client: RedisClient,
        handler: impl Fn(Event<'_>) + Send + Sync + 'static,
    ) -> Self {
        let channels = Arc::new(Channels::new(Arc::new(handler)));
        let (running, handles) = mpsc::channel(1);
        let router = Router { client, channels: channels.clone(), refresh_map, shards: Vec::new() };
        tokio::spawn(router.run(map, handles));
        Self { channels, _running: running }
    }

    /// Adds a wanted channel. The returned receiver resolves when Redis has confirmed the channel, without a time
    /// limit. Returns `None`, and changes nothing, if too many requests are waiting.
    #[must_use]
    pub fn subscribe(&self, channel: String) -> Option<oneshot::Receiver<()>> {
        self.channels.subscribe(channel)
    }

    /// Removes a wanted channel. Returns false, and changes nothing, if too many requests are waiting.
    #[must_use]
    pub fn unsubscribe(&self, channel: String) -> bool {
        self.channels.unsubscribe(&channel)
    }

    /// Replaces the connection of the partition's shard by a new one. Used when the address may lead to another Redis
    /// process than before.
    pub fn reconnect(&self, partition: Partition) {
        self.channels.request_reconnect(partition);
    }
}

/// A shard that owns partitions, and its task.
struct RunningShard {
    layout: Layout,
    address: NodeAddress,
    wake: TaskWake,
}

/// The state of the task that follows the map.
struct Router {
    client: RedisClient,
    channels: Arc<Channels>,
    refresh_map: RefreshMap,
    shards: Vec<RunningShard>,
}

impl Router {
    async fn run(mut self, mut map: watch::Receiver<Option<Arc<ShardMap>>>, mut handles: mpsc::Receiver<()>) {
        loop {
            let current = map.borrow_and_update().clone();
            match &current {
                Some(map) => self.apply(map),
                None => (self.refresh_map)(),
            }
            tokio::select! {
                changed = map.changed() => if changed.is_err() { break },
                // Nothing is ever sent, so this ends when all handles are dropped.
                _ = handles.recv() => break,
                () = tokio::time::sleep(RECONNECT_PAUSE), if current.is_none() => {}
            }
        }
        // Tasks without partitions end.
        self.channels.set_owners(Partition::all().map(|_| None).collect());
    }

    /// Gives each partition to the task of its shard. Starts the tasks of new shards. The tasks of other shards end,
    /// because they own no partition any more.
    fn apply(&mut self, map: &ShardMap) {
        let layout = map.layout();
        let mut shards: Vec<RunningShard> = Vec::new();
        let mut started = Vec::new();
        let owners = Partition::all().map(|partition| {
            let address = map.master(partition)?;
            if let Some(shard) = shards.iter().find(|shard| shard.address == *address) {
                return Some(shard.wake.clone());
            }
            let running =
                self.shards.iter().find(|shard| shard.layout == layout && shard.address == *address);
            let wake = running.map_or_else(
                || {
                    let wake = TaskWake::default();
                    started.push((address.clone(), wake.clone()));
                    wake
                },
                |running| running.wake.clone(),
            );
            shards.push(RunningShard { layout, address: address.clone(), wake: wake.clone() });
            Some(wake)
        });
        let owners = owners.collect();
        self.channels.set_owners(owners);
        self.shards = shards;
        for (address, wake) in started {
            let task = ShardTask {
                client: self.client.at(&address),
                layout,
                channels: self.channels.clone(),
                refresh_map: self.refresh_map.clone(),
                wake,
            };
            tokio::spawn(task.run());
        }
    }
}

#[cfg(test)]
mod tests;

//! Keeps the shard map current. The first answer decides whether the Redis is a cluster. A single Redis is not asked
//! again. The map of a cluster, or of a master that Sentinels know, is read every 10 s, and whenever a caller learns that
//! it is out of date.

use std::{
    net::IpAddr,
    sync::{Arc, Weak},
    time::Duration,
};

use redis::{AsyncConnectionConfig, RedisError, Value, aio::MultiplexedConnection};
use thiserror::Error;
use tokio::{
    sync::{Mutex, Notify, watch},
    time::{Instant, sleep, sleep_until, timeout},
};

use super::{
    MasterSource, RedisClient,
    keys::Partition,
    layout::Layout,
    process_id::layout_of,
    sentinel::{NoMasterError, master_of},
    shard_map::{NodeAddress, ShardMap, ShardMapError},
};

/// Interval between two reads of the map of a cluster.
const READ_EVERY: Duration = Duration::from_secs(10);
/// Minimum interval between two reads.
const MIN_INTERVAL: Duration = Duration::from_millis(100);
/// Interval between attempts while no node has answered yet and somebody waits for the map.
const RETRY_EVERY: Duration = Duration::from_millis(500);
/// Limit for the connection to one node and its answer.
const NODE_TIMEOUT: Duration = Duration::from_secs(2);

/// Why the map cannot be read. Callers that wait for the same read share the error.
#[derive(Debug, Clone, Error)]
#[error("{0}")]
pub struct MapError(String);

impl From<RedisError> for MapError {
    fn from(error: RedisError) -> Self {
        Self(format!("Redis: {error}"))
    }
}

impl From<ShardMapError> for MapError {
    fn from(error: ShardMapError) -> Self {
        Self(error.to_string())
    }
}

impl From<NoMasterError> for MapError {
    fn from(error: NoMasterError) -> Self {
        Self(error.to_string())
    }
}

/// The last attempt to read the map.
#[derive(Default)]
struct LastRead {
    begun_at: Option<Instant>,
    /// The reason if it failed.
    error: Option<MapError>,
}

/// The shard map, and the task that keeps it current. The task ends when the watch is dropped.
pub struct MapWatch {
    client: RedisClient,
    map: watch::Sender<Option<Arc<ShardMap>>>,
    /// Locked during a read, so that one read runs at a time.
    last_read: Mutex<LastRead>,
    /// Wakes the task.
    wanted: Arc<Notify>,
}

impl MapWatch {
    /// Starts the task on the current runtime. The map is read for the first time when a caller asks for it.
    pub fn start(client: RedisClient) -> Arc<Self> {
        let watch = Arc::new(Self {
            client,
            map: watch::Sender::new(None),
            last_read: Mutex::default(),
            wanted: Arc::default(),
        });
        tokio::spawn(keep_current(Arc::downgrade(&watch), watch.wanted.clone()));
        watch
    }

    /// The map as it was last read, or `None` before the first answer.
    pub fn current(&self) -> Option<Arc<ShardMap>> {
        self.map.borrow().clone()
    }

    /// Receives the map whenever it changes; `None` until the first answer, for which the task then asks.
    pub fn subscribe(&self) -> watch::Receiver<Option<Arc<ShardMap>>> {
        let receiver = self.map.subscribe();
        if self.current().is_none() {
            self.wanted.notify_one();
        }
        receiver
    }

    /// Makes the task read the map soon, unless it cannot change.
    pub fn refresh(&self) {
        if self.current().is_none() || self.may_change() {
            self.wanted.notify_one();
        }
    }

    /// Whether the map may change after the first answer: it is of a cluster, or from Sentinels. A single Redis keeps its
    /// address.
    fn may_change(&self) -> bool {
        matches!(self.client.source(), MasterSource::Sentinels(_))
            || self.current().is_some_and(|map| map.layout() == Layout::Cluster)
    }

    /// The map as it was last read. Reads it if no node has answered yet.
    pub async fn get(&self) -> Result<Arc<ShardMap>, MapError> {
        match self.current() {
            Some(map) => Ok(map),
            None => self.read().await,
        }
    }

    /// Reads the map, also that of a single Redis. Callers that arrive during a read wait for the next one, and share
    /// it.
    pub async fn read(&self) -> Result<Arc<ShardMap>, MapError> {
        let called_at = Instant::now();
        let mut last = self.last_read.lock().await;
        if last.begun_at.is_none_or(|begun_at| begun_at < called_at) {
            if let Some(begun_at) = last.begun_at {
                sleep_until(begun_at + MIN_INTERVAL).await;
            }
            last.begun_at = Some(Instant::now());
            last.error = match self.ask_nodes().await {
                Ok(map) => {
                    self.publish(map);
                    None
                }
                Err(error) => Some(error),
            };
        }
        match (&last.error, self.current()) {
            (None, Some(map)) => Ok(map),
            (Some(error), _) => Err(error.clone()),
            // The last read was cancelled.
            (None, None) => Err(MapError("the map of the Redis shards is not known yet".to_owned())),
        }
    }

    /// Asks the known nodes, one after the other, until one answers; or the Sentinels.
    async fn ask_nodes(&self) -> Result<ShardMap, MapError> {
        let own = match self.client.source() {
            MasterSource::Sentinels(sentinels) => {
                return Ok(ShardMap::single(master_of(sentinels, &self.client).await?));
            }
            MasterSource::Cluster(nodes) => nodes.to_vec(),
            MasterSource::OwnAddress => vec![self.client.address()],
        };
        // Two single servers behind one URL would end each other's epochs.
        let may_be_single = matches!(self.client.source(), MasterSource::OwnAddress);
        let mut addresses = match self.current() {
            Some(map) if map.layout() == Layout::Cluster => map.addresses(),
            _ => Vec::new(),
        };
        // A node that has just answered wrongly or not at all must not always be the first.
        fastrand::shuffle(&mut addresses);
        addresses.extend(own.iter().cloned());
        let mut failed = MapError("no node of Redis is known".to_owned());
        for address in addresses {
            let is_own = may_be_single && own.contains(&address);
            let client = self.client.at(&address);
            let asking = ask_node(&client, &address, self.current().is_none());
            match timeout(NODE_TIMEOUT, asking).await {
                Ok(Ok(map)) if is_own || map.layout() == Layout::Cluster => return Ok(map),
                Ok(Ok(_)) => failed = MapError(format!("{address} is not a node of a Redis Cluster")),
                Ok(Err(error)) => failed = error,
                Err(_) => failed = MapError(format!("Redis: no answer from {address}")),
            }
        }
        Err(failed)
    }

    fn publish(&self, map: ShardMap) {
        let changed = self.map.send_if_modified(|held| {
            if held.as_deref() == Some(&map) {
                return false;
            }
            *held = Some(Arc::new(map));
            true
        });
        if let Some(map) = self.current()
            && changed
            && map.layout() == Layout::Cluster
        {
            self.report(&map);
        }
    }

    /// Logs the map of a cluster, and what may be wrong with it.
    fn report(&self, map: &ShardMap) {
        let addresses = map.addresses();
        tracing::info!(masters = addresses.len(), "the map of the Redis Cluster has changed");
        let unowned: Vec<u16> = Partition::all()
            .filter(|partition| map.master(*partition).is_none())
            .map(|partition| partition.0)
            .collect();
        if !unowned.is_empty() {
            tracing::error!(?unowned, "no node of the Redis Cluster owns the slots of these partitions");
        }
        let is_ip = |address: &&NodeAddress| address.host.parse::<IpAddr>().is_ok();
        if self.client.tls().is_some()
            && let Some(address) = addresses.iter().find(is_ip)
        {
            tracing::warn!(
                %address,
                "a node of the Redis Cluster announces an IP address, which its certificate may not contain; \
                 set cluster-announce-hostname and cluster-preferred-endpoint-type hostname"
            );
        }
    }
}

impl Drop for MapWatch {
    fn drop(&mut self) {
        // The task finds that the watch is gone.
        self.wanted.notify_one();
    }
}

/// Reads the map when a caller wants it, and the map of a cluster also at intervals.
async fn keep_current(weak: Weak<MapWatch>, wanted: Arc<Notify>) {
    loop {
        let pause = {
            let Some(watch) = weak.upgrade() else { return };
            match watch.current() {
                Some(_) => watch.may_change().then_some(READ_EVERY),
                None => (watch.map.receiver_count() > 0).then_some(RETRY_EVERY),
            }
        };
        let wait_for_pause = async {
            match pause {
                Some(pause) => sleep(pause).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = wanted.notified() => {}
            () = wait_for_pause => {}
        }
        let Some(watch) = weak.upgrade() else { return };
        if let Err(error) = watch.read().await {
            tracing::debug!(%error, "the map of the Redis shards cannot be read");
        }
    }
}

/// Asks one node whether it belongs to a cluster, and for the map. `is_first` also checks a setting of the cluster.
async fn ask_node(client: &RedisClient, address: &NodeAddress, is_first: bool) -> Result<ShardMap, MapError> {
    let config = AsyncConnectionConfig::new()
        .set_connection_timeout(Some(NODE_TIMEOUT))
        .set_response_timeout(Some(NODE_TIMEOUT));
    let mut connection = client.connect(&config).await?;
    let server: String = redis::cmd("INFO").arg("server").query_async(&mut connection).await?;
    match layout_of(&server) {
        Layout::Single => Ok(ShardMap::single(address.clone())),
        Layout::Cluster => {
            let slots: Value = redis::cmd("CLUSTER").arg("SLOTS").query_async(&mut connection).await?;
            if is_first {
                check_coverage(&mut connection).await;
            }
            Ok(ShardMap::parse(&slots, &address.host)?)
        }
    }
}

/// Warns if one shard that is down stops the whole cluster.
async fn check_coverage(connection: &mut MultiplexedConnection) {
    // The shipped users may not read settings, because these contain passwords.
    let mut command = redis::Cmd::new();
    command.arg("CONFIG").arg("GET").arg("cluster-require-full-coverage");
    let setting: Result<Vec<String>, _> = command.query_async(connection).await;
    match setting {
        Ok(setting) if setting.iter().any(|value| value == "yes") => tracing::warn!(
            "cluster-require-full-coverage is yes: when one shard of the Redis Cluster is down, all rooms are \
             unavailable; set it to no"
        ),
        Ok(_) => {}
        Err(error) => {
            tracing::info!(%error, "the Redis user may not read cluster-require-full-coverage; not checked");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn unreachable_redis_gives_an_error_and_no_map() {
        let watch = MapWatch::start(crate::log::client("redis://127.0.0.1:1").unwrap());
        let receiver = watch.subscribe();
        assert!(watch.get().await.is_err());
        assert!(receiver.borrow().is_none() && watch.current().is_none());
    }
}

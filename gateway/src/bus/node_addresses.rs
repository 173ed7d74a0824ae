//! The registry of gateway addresses in Redis. A gateway reads it to forward a request to the gateway that has the
//! Engine.IO session. Each gateway writes its address under the number of its process, and removes it when it stops.
//! The address of a killed gateway expires.

use std::{
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use futures_util::future::BoxFuture;
use rustc_hash::FxHashMap;
use tidings_shared::log::{FirstDenial, RoundTrip, keys};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::{Bus, LookupError};
use crate::{lock::lock, transport::NodeDirectory};

/// How long Redis keeps an address that is not renewed.
const ADDRESS_TTL_MS: u64 = 60_000;
/// Interval between two renewals. Two may fail before the address expires.
const RENEW_INTERVAL: Duration = Duration::from_secs(20);
const WRITE_RETRY_INTERVAL: Duration = Duration::from_secs(1);
/// The shutdown waits at most this long for the removal of the address.
const REMOVE_TIMEOUT: Duration = Duration::from_secs(2);
/// A cached address is read again after this time.
const ADDRESS_CACHE_TTL: Duration = Duration::from_secs(5);
/// A cached absence is read again after this time. Short, because a new gateway writes its address soon.
const ABSENCE_CACHE_TTL: Duration = Duration::from_secs(1);
/// Maximum number of cache entries. Only signed session ids add entries, so the cache holds few more than gateways.
const MAX_CACHED_ADDRESSES: usize = 1024;

/// Keeps the address of this gateway in Redis until [`NodeAnnouncement::end`].
#[derive(Debug, Clone, Default)]
pub struct NodeAnnouncement {
    announced: CancellationToken,
    ending: CancellationToken,
    ended: CancellationToken,
}

impl NodeAnnouncement {
    /// Starts the task that writes the address, on the current Tokio runtime. `instance` is the number of this process,
    /// and `address` is `HOST:PORT`.
    pub fn start(bus: &Arc<Bus>, instance: u64, address: String) -> Self {
        let announcement = Self::default();
        tokio::spawn(announcement.clone().renew_until_end(bus.clone(), instance, address));
        announcement
    }

    /// Whether the address is in Redis. Also true if the right to write it is missing, so that the node can become
    /// ready.
    pub fn is_announced(&self) -> bool {
        self.announced.is_cancelled()
    }

    /// Removes the address. Waits for at most 2 s.
    pub async fn end(&self) {
        self.ending.cancel();
        if timeout(REMOVE_TIMEOUT, self.ended.cancelled()).await.is_err() {
            tracing::warn!(
                "the address of this node was not removed from Redis in time; it expires within 60 s"
            );
        }
    }

    async fn renew_until_end(self, bus: Arc<Bus>, instance: u64, address: String) {
        let mut denial = FirstDenial::default();
        let mut is_denied = false;
        while !self.ending.is_cancelled() {
            let pause = match bus.write_node_address(instance, &address).await {
                Ok(()) => {
                    self.announced.cancel();
                    RENEW_INTERVAL
                }
                Err(LookupError::Redis(error)) if denial.record(&error) => {
                    is_denied = true;
                    tracing::warn!(
                        "the Redis user may not use the keys `{{??}}:gateway:*`: other gateways cannot forward \
                         requests of Engine.IO sessions to this node; see deploy/redis/users.acl"
                    );
                    self.announced.cancel();
                    RENEW_INTERVAL
                }
                Err(error) => {
                    tracing::debug!(%error, "the address of this node cannot be written; retrying");
                    if is_denied { RENEW_INTERVAL } else { WRITE_RETRY_INTERVAL }
                }
            };
            tokio::select! {
                () = sleep(pause) => {}
                () = self.ending.cancelled() => {}
            }
        }
        if let Err(error) = bus.remove_node_address(instance).await {
            tracing::debug!(%error, "the address of this node cannot be removed");
        }
        self.ended.cancel();
    }
}

#[derive(Debug, Clone)]
struct CachedAddress {
    address: Option<String>,
    read_at: Instant,
}

impl CachedAddress {
    fn is_fresh(&self) -> bool {
        let ttl = if self.address.is_some() { ADDRESS_CACHE_TTL } else { ABSENCE_CACHE_TTL };
        self.read_at.elapsed() < ttl
    }
}

/// Reads the addresses of other gateways, with a cache that all workers share.
pub struct NodeAddresses {
    bus: Arc<Bus>,
    cache: Mutex<FxHashMap<u64, CachedAddress>>,
}

impl NodeAddresses {
    pub fn new(bus: &Arc<Bus>) -> Arc<Self> {
        Arc::new(Self { bus: bus.clone(), cache: Mutex::default() })
    }

    async fn load(&self, instance: u64) -> Option<String> {
        let cached = lock(&self.cache).get(&instance).cloned();
        if let Some(cached) = cached.as_ref().filter(|cached| cached.is_fresh()) {
            return cached.address.clone();
        }
        match self.bus.read_node_address(instance).await {
            Ok(address) => {
                let mut cache = lock(&self.cache);
                if cache.len() >= MAX_CACHED_ADDRESSES {
                    cache.clear();
                }
                cache.insert(instance, CachedAddress { address: address.clone(), read_at: Instant::now() });
                address
            }
            Err(error) => {
                // Without an address the session would be lost, so the last known address is used. It is probably
                // right.
                tracing::debug!(%error, "the address of a gateway cannot be read");
                cached.and_then(|cached| cached.address)
            }
        }
    }
}

impl NodeDirectory for NodeAddresses {
    fn address(&self, instance: u64) -> BoxFuture<'_, Option<String>> {
        Box::pin(self.load(instance))
    }
}

impl Bus {
    async fn read_node_address(&self, instance: u64) -> Result<Option<String>, LookupError> {
        let (partition, key) = keys::gateway_address(instance);
        let session = self.log.session(partition).await?;
        let mut redis = session.connection();
        let mut get = redis::cmd("GET");
        get.arg(key);
        self.timed_query(RoundTrip::Nodes, &session, get.query_async(&mut redis)).await
    }

    async fn write_node_address(&self, instance: u64, address: &str) -> Result<(), LookupError> {
        let (partition, key) = keys::gateway_address(instance);
        let session = self.log.session(partition).await?;
        let mut redis = session.connection();
        let mut set = redis::cmd("SET");
        set.arg(key).arg(address).arg("PX").arg(ADDRESS_TTL_MS);
        self.timed_query(RoundTrip::Nodes, &session, set.query_async(&mut redis)).await
    }

    async fn remove_node_address(&self, instance: u64) -> Result<(), LookupError> {
        let (partition, key) = keys::gateway_address(instance);
        let session = self.log.session(partition).await?;
        let mut redis = session.connection();
        let mut remove = redis::cmd("DEL");
        remove.arg(key);
        self.timed_query(RoundTrip::Nodes, &session, remove.query_async(&mut redis)).await
    }
}

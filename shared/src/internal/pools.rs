//! The pools of requests to persistence. Each pool has its own permits and its own circuit breaker, so that slow or
//! failing requests of one pool neither delay nor stop the requests of another.

use std::time::{Duration, Instant};

use tokio::sync::{Semaphore, SemaphorePermit};

use super::{
    ACCOUNTS_PATH, CONNECT_USER_PATH, ENTER_ROOM_PATH, LOOK_UP_PATH, OPEN_EPOCH_PATH, ROOMS_PATH, SEED_PATH,
    circuit_breaker::{Attempt, CircuitBreaker},
};
use crate::log::AuthorityError;

/// Maximum number of concurrent requests of each pool. The limits are low, because each HTTP connection uses about 35
/// KB, and because many requests at once would exhaust the database connections of persistence.
const MAX_CONTROL_REQUESTS: usize = 3;
const MAX_LOOKUP_REQUESTS: usize = 4;
const MAX_MEMBERSHIP_REQUESTS: usize = 4;
const MAX_BULK_REQUESTS: usize = 4;
const MAX_ENTER_REQUESTS: usize = 4;
/// How long a request may wait for a permit of its pool.
const PERMIT_TIMEOUT: Duration = Duration::from_secs(4);

/// All pools; each path of the internal listener belongs to one of them.
#[derive(Debug)]
pub(super) struct RequestPools {
    /// Epochs and seeds, on which all commands depend. At most one request for an epoch and two for seeds run at a
    /// time.
    control: RequestPool,
    /// Accounts and client ids: single rows that are read by their keys. Connects and sends wait for them.
    lookup: RequestPool,
    /// Memberships of a user. In a new epoch these requests may wait for the locks of partitions.
    membership: RequestPool,
    /// Everything else: targets of changes, marks, roles and presence.
    bulk: RequestPool,
    /// Requests that make a user a member. Each waits until the membership is stored, which takes seconds while its
    /// partition is locked.
    enter: RequestPool,
}

impl Default for RequestPools {
    fn default() -> Self {
        // Epochs and seeds have no circuit breaker. Their callers pause between attempts, and failing requests take
        // long, so few are sent. Also, one locked partition can fail a seed although persistence works.
        Self {
            control: RequestPool::new(MAX_CONTROL_REQUESTS, None),
            lookup: RequestPool::new(MAX_LOOKUP_REQUESTS, Some(CircuitBreaker::default())),
            membership: RequestPool::new(MAX_MEMBERSHIP_REQUESTS, Some(CircuitBreaker::default())),
            bulk: RequestPool::new(MAX_BULK_REQUESTS, Some(CircuitBreaker::default())),
            enter: RequestPool::new(MAX_ENTER_REQUESTS, Some(CircuitBreaker::default())),
        }
    }
}

impl RequestPools {
    /// Returns the pool of the requests to a path.
    pub fn pool_of(&self, path: &str) -> &RequestPool {
        match path {
            OPEN_EPOCH_PATH | SEED_PATH => &self.control,
            ACCOUNTS_PATH | CONNECT_USER_PATH | LOOK_UP_PATH => &self.lookup,
            ROOMS_PATH => &self.membership,
            ENTER_ROOM_PATH => &self.enter,
            _ => &self.bulk,
        }
    }
}

/// The permits of the concurrent requests of a pool, and its circuit breaker, if it has one.
#[derive(Debug)]
pub(super) struct RequestPool {
    permits: Semaphore,
    breaker: Option<CircuitBreaker>,
}

impl RequestPool {
    fn new(permits: usize, breaker: Option<CircuitBreaker>) -> Self {
        Self { permits: Semaphore::new(permits), breaker }
    }

    /// Waits for a permit, at most [`PERMIT_TIMEOUT`]. Fails at once while the pool's breaker refuses requests.
    pub async fn acquire(&self) -> Result<RequestPermit<'_>, AuthorityError> {
        let refused = |why: &str| AuthorityError::Unavailable(why.to_owned());
        let permit = tokio::time::timeout(PERMIT_TIMEOUT, self.permits.acquire()).await;
        let permit = permit
            .map_err(|_| refused("too many requests are waiting"))?
            .map_err(|_| refused("shutting down"))?;
        // The breaker is checked after the wait for a permit, because the breaker may open during the wait.
        let attempt = match &self.breaker {
            None => None,
            Some(breaker) => {
                let begun = breaker.begin(Instant::now());
                Some(begun.ok_or_else(|| refused("its last requests failed"))?)
            }
        };
        Ok(RequestPermit { attempt, _permit: permit })
    }
}

/// The permit for one request. The caller reports the outcome of the request for the pool's breaker.
pub(super) struct RequestPermit<'a> {
    attempt: Option<Attempt<'a>>,
    _permit: SemaphorePermit<'a>,
}

impl RequestPermit<'_> {
    /// Records that persistence has answered the request.
    pub fn record_success(self) {
        if let Some(attempt) = self.attempt {
            attempt.record_success();
        }
    }

    /// Records that the request failed on all replicas of persistence.
    pub fn record_failure(self) {
        if let Some(attempt) = self.attempt {
            attempt.record_failure(Instant::now());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::internal::{ROLES_PATH, TARGET_PATH};

    #[tokio::test(start_paused = true)]
    async fn exhausted_pool_delays_only_its_own_requests() {
        let pools = RequestPools::default();
        let mut held = Vec::new();
        for _ in 0..MAX_BULK_REQUESTS {
            held.push(pools.pool_of(TARGET_PATH).acquire().await.unwrap());
        }
        assert!(pools.pool_of(ROLES_PATH).acquire().await.is_err(), "no permit is free before the timeout");
        for path in [OPEN_EPOCH_PATH, SEED_PATH, CONNECT_USER_PATH, LOOK_UP_PATH, ROOMS_PATH, ENTER_ROOM_PATH]
        {
            assert!(pools.pool_of(path).acquire().await.is_ok(), "{path}");
        }
        drop(held);
        assert!(pools.pool_of(ROLES_PATH).acquire().await.is_ok());
    }

    #[tokio::test]
    async fn open_breaker_refuses_only_requests_of_its_pool() {
        let pools = RequestPools::default();
        while let Ok(permit) = pools.pool_of(TARGET_PATH).acquire().await {
            permit.record_failure();
        }
        for path in [SEED_PATH, CONNECT_USER_PATH, ROOMS_PATH, ENTER_ROOM_PATH] {
            assert!(pools.pool_of(path).acquire().await.is_ok(), "{path}");
        }
    }
}

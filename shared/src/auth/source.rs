//! Keeps the keys of a URL up to date. One task fetches the keys at intervals, and on demand when a token needs a key
//! that is not loaded. Only one fetch runs at a time. Fetches on demand have a minimum interval, and a token waits for
//! a bounded time. While the URL is unavailable, the last fetched keys are used for a bounded time.

use std::{future::Future, pin::pin, sync::Arc, time::Duration};

use arc_swap::ArcSwap;
use tokio::{
    sync::{Notify, Semaphore, watch},
    time::{Instant, sleep_until, timeout},
};
use tokio_util::task::AbortOnDropHandle;

use super::{
    key::Key,
    keys::{KeySet, UrlKeysState},
};

/// The intervals and limits of fetches.
#[derive(Debug, Clone, Copy)]
pub(super) struct FetchSchedule {
    /// Minimum interval between two fetches on demand, so that unverified tokens cannot cause many requests to the URL.
    /// Must be shorter than `wait_timeout`, so that a token with a new key is answered after the next allowed fetch.
    pub demand_interval: Duration,
    /// How long a token waits for its key. This is shorter than the time that clients wait for an answer.
    pub wait_timeout: Duration,
    /// Minimum and maximum time until the next regular fetch. Between them, the freshness of the last answer decides.
    pub refresh: [Duration; 2],
    /// Time until the next regular fetch if the answer does not say how long it is fresh.
    pub default_refresh: Duration,
    /// First and longest pause after a failed fetch; each further failure doubles the pause.
    pub retry: [Duration; 2],
    /// How long the last fetched keys are used while fetches fail. A short outage of the provider must not lock out all
    /// users, but a withdrawn key must not stay valid for ever.
    pub max_age: Duration,
}

/// The intervals and limits that the services use.
pub(super) const FETCH_SCHEDULE: FetchSchedule = FetchSchedule {
    demand_interval: Duration::from_secs(3),
    wait_timeout: Duration::from_secs(5),
    refresh: [Duration::from_secs(60), Duration::from_secs(3600)],
    default_refresh: Duration::from_secs(600),
    retry: [Duration::from_secs(1), Duration::from_secs(60)],
    max_age: Duration::from_secs(24 * 3600),
};

/// Maximum number of tokens that wait for a fetch; further tokens are refused at once as `unavailable`.
const MAX_WAITING_TOKENS: usize = 1024;

/// The keys of a successful fetch, and how long the answer is fresh, or `None` if the answer does not say it.
pub(super) struct FetchedKeys {
    pub keys: Vec<Key>,
    pub fresh_for: Option<Duration>,
}

/// The error of a fetch that failed or took too long.
#[derive(Debug)]
pub(super) struct KeysUnavailable;

/// Keeps the keys of a URL up to date in a task. Dropping this value ends the task.
pub(super) struct KeySource {
    shared: Arc<SourceState>,
    _task: AbortOnDropHandle<()>,
}

/// What the task and the callers of [`KeySource::refresh`] share.
struct SourceState {
    status: watch::Sender<FetchStatus>,
    demand: Notify,
    waiters: Semaphore,
    schedule: FetchSchedule,
}

/// The progress and the result of fetches.
#[derive(Clone, Copy)]
struct FetchStatus {
    /// Number of fetches that have begun, and number of those that have ended.
    begun: u64,
    ended: u64,
    /// Whether the fetch that ended last was successful.
    succeeded: bool,
    /// When the last fetch on demand began.
    demanded_at: Option<Instant>,
}

impl KeySource {
    /// Starts the task that fetches keys by `load` and stores them in `keys`, on the current runtime. After each fetch
    /// the task calls `on_fetch_end`, and tells it whether the fetch succeeded.
    pub fn start<F, L>(
        keys: Arc<ArcSwap<KeySet>>,
        schedule: FetchSchedule,
        load: F,
        on_fetch_end: impl Fn(bool) + Send + 'static,
    ) -> Self
    where
        F: Fn() -> L + Send + 'static,
        L: Future<Output = Result<FetchedKeys, String>> + Send + 'static,
    {
        // The first fetch counts as begun from the start, so that early callers of `refresh` wait for it.
        let status = FetchStatus { begun: 1, ended: 0, succeeded: false, demanded_at: None };
        let (status, _) = watch::channel(status);
        let shared = Arc::new(SourceState {
            status,
            demand: Notify::new(),
            waiters: Semaphore::new(MAX_WAITING_TOKENS),
            schedule,
        });
        let task = tokio::spawn(run_fetches(shared.clone(), keys, load, on_fetch_end));
        Self { shared, _task: AbortOnDropHandle::new(task) }
    }

    /// Waits for the end of the fetch in progress. If there is none, requests a fetch and waits for its end. The fetch
    /// starts no earlier than `demand_interval` after the previous fetch on demand.
    pub async fn refresh(&self) -> Result<(), KeysUnavailable> {
        let SourceState { status, demand, waiters, schedule } = &*self.shared;
        let _permit = waiters.try_acquire().map_err(|_| KeysUnavailable)?;
        let mut watched = status.subscribe();
        let now = *watched.borrow();
        let awaited = if now.begun > now.ended {
            now.begun
        } else {
            demand.notify_one();
            now.begun + 1
        };
        let ended = timeout(schedule.wait_timeout, watched.wait_for(|status| status.ended >= awaited)).await;
        match ended {
            Ok(Ok(status)) if status.succeeded => Ok(()),
            _ => Err(KeysUnavailable),
        }
    }
}

async fn run_fetches<F, L>(
    shared: Arc<SourceState>,
    keys: Arc<ArcSwap<KeySet>>,
    load: F,
    on_fetch_end: impl Fn(bool),
) where
    F: Fn() -> L,
    L: Future<Output = Result<FetchedKeys, String>>,
{
    let schedule = shared.schedule;
    let [first_retry, last_retry] = schedule.retry;
    let mut retry = first_retry;
    let mut last_success_at = None;
    loop {
        let began = Instant::now();
        let loaded = load().await;
        let succeeded = loaded.is_ok();
        on_fetch_end(succeeded);
        let pause = match loaded {
            Ok(FetchedKeys { keys: new, fresh_for }) => {
                tracing::debug!(keys = new.len(), "keys fetched");
                replace_fetched(&keys, new.into(), UrlKeysState::Loaded);
                (last_success_at, retry) = (Some(began), first_retry);
                let [least, most] = schedule.refresh;
                fresh_for.unwrap_or(schedule.default_refresh).clamp(least, most)
            }
            Err(cause) => {
                let kept = keys.load().url_keys == UrlKeysState::Loaded;
                tracing::warn!(cause, kept, "fetching the keys that verify tokens failed");
                if kept && last_success_at.is_none_or(|at: Instant| at.elapsed() >= schedule.max_age) {
                    tracing::error!(
                        "the fetched keys that verify tokens are too old; they are no longer used"
                    );
                    replace_fetched(&keys, Arc::new([]), UrlKeysState::Missing);
                }
                let pause = retry;
                retry = (retry * 2).min(last_retry);
                pause
            }
        };
        // The ended fetch answers all callers who are waiting. Their pending notification is consumed, so that it does
        // not start another fetch.
        pin!(shared.demand.notified()).enable();
        shared.status.send_modify(|status| {
            status.ended = status.begun;
            status.succeeded = succeeded;
        });
        let demanded = wait_until_due(&shared, Instant::now() + pause).await;
        shared.status.send_modify(|status| {
            status.begun += 1;
            if demanded {
                status.demanded_at = Some(Instant::now());
            }
        });
    }
}

/// Replaces the keys of the URL. The configured keys may be replaced at the same time, and neither change may be lost.
fn replace_fetched(keys: &ArcSwap<KeySet>, fetched: Arc<[Key]>, state: UrlKeysState) {
    keys.rcu(|set| set.with_fetched(fetched.clone(), state));
}

/// Waits until the next fetch is due. Returns whether it is due because a token needs it.
async fn wait_until_due(shared: &SourceState, due: Instant) -> bool {
    tokio::select! {
        () = sleep_until(due) => return false,
        () = shared.demand.notified() => {}
    }
    let demanded_at = shared.status.borrow().demanded_at;
    if let Some(last) = demanded_at {
        sleep_until(last + shared.schedule.demand_interval).await;
    }
    true
}

#[cfg(test)]
mod tests;

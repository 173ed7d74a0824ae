//! Keeps the keys of a URL fresh: one task fetches, at intervals and when somebody holds a token whose key is not
//! here. Promises one fetch at a time, a floor between those that tokens ask for, a bounded wait, and that the last
//! good keys stay while the URL is away, up to a bound.

use std::{future::Future, pin::pin, sync::Arc, time::Duration};

use arc_swap::ArcSwap;
use tokio::{
    sync::{Notify, Semaphore, watch},
    task::AbortHandle,
    time::{Instant, sleep_until, timeout},
};

use super::{
    key::Key,
    keys::{KeySet, Remote},
};

/// When keys are fetched.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pace {
    /// Between two fetches that tokens ask for: strangers must not make us hammer the URL.
    pub floor: Duration,
    /// How long a token waits for its key; within the time that clients wait for an answer.
    pub patience: Duration,
    /// Until the next regular fetch: what the answer allows, within these, or the third when it does not say.
    pub refresh: [Duration; 2],
    pub refresh_unless_told: Duration,
    /// After a failed fetch, doubled with each further one up to the second.
    pub retry: [Duration; 2],
    /// How long keys count that could not be fetched again. A key that was withdrawn must not live on because the
    /// URL is out of reach, and a provider's bad day must not lock everybody out.
    pub keep: Duration,
}

pub(super) const PACE: Pace = Pace {
    floor: Duration::from_secs(10),
    patience: Duration::from_secs(5),
    refresh: [Duration::from_secs(60), Duration::from_secs(3600)],
    refresh_unless_told: Duration::from_secs(600),
    retry: [Duration::from_secs(1), Duration::from_secs(60)],
    keep: Duration::from_secs(24 * 3600),
};

/// Tokens that may wait at once; a storm beyond is told that keys are unavailable.
const MAX_WAITING: usize = 1024;

/// What a fetch brought.
pub(super) struct Loaded {
    pub keys: Vec<Key>,
    pub fresh_for: Option<Duration>,
}

/// The keys cannot be had now.
#[derive(Debug)]
pub(super) struct Away;

/// See the module. The task ends with it.
pub(super) struct Source {
    shared: Arc<Shared>,
    task: AbortHandle,
}

struct Shared {
    status: watch::Sender<Status>,
    asked: Notify,
    places: Semaphore,
    pace: Pace,
}

#[derive(Clone, Copy)]
struct Status {
    /// Fetches begun and ended so far.
    begun: u64,
    ended: u64,
    /// The last that ended was good.
    good: bool,
    /// When the last fetch that a token asked for began.
    asked_at: Option<Instant>,
}

impl Source {
    /// Starts fetching on the current runtime. `fetched` hears of each fetch whether it was good.
    pub fn start<F, L>(
        keys: Arc<ArcSwap<KeySet>>,
        pace: Pace,
        load: F,
        fetched: impl Fn(bool) + Send + 'static,
    ) -> Self
    where
        F: Fn() -> L + Send + 'static,
        L: Future<Output = Result<Loaded, String>> + Send + 'static,
    {
        // The first fetch counts as begun: who asks before it has really begun waits for it.
        let status = Status { begun: 1, ended: 0, good: false, asked_at: None };
        let (status, _) = watch::channel(status);
        let shared =
            Arc::new(Shared { status, asked: Notify::new(), places: Semaphore::new(MAX_WAITING), pace });
        let task = tokio::spawn(run(shared.clone(), keys, load, fetched)).abort_handle();
        Self { shared, task }
    }

    /// Waits for keys that are newer than the question, or as new as the floor allows.
    pub async fn look(&self) -> Result<(), Away> {
        let Shared { status, asked, places, pace } = &*self.shared;
        let _place = places.try_acquire().map_err(|_| Away)?;
        let mut watched = status.subscribe();
        let now = *watched.borrow();
        let awaited = if now.begun > now.ended {
            now.begun
        } else if now.asked_at.is_some_and(|at| at.elapsed() < pace.floor) {
            return if now.good { Ok(()) } else { Err(Away) };
        } else {
            asked.notify_one();
            now.begun + 1
        };
        let ended = timeout(pace.patience, watched.wait_for(|status| status.ended >= awaited)).await;
        match ended {
            Ok(Ok(status)) if status.good => Ok(()),
            _ => Err(Away),
        }
    }
}

impl Drop for Source {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn run<F, L>(shared: Arc<Shared>, keys: Arc<ArcSwap<KeySet>>, load: F, fetched: impl Fn(bool))
where
    F: Fn() -> L,
    L: Future<Output = Result<Loaded, String>>,
{
    let pace = shared.pace;
    let [first_retry, last_retry] = pace.retry;
    let mut retry = first_retry;
    let mut last_good = None;
    loop {
        let began = Instant::now();
        let loaded = load().await;
        let good = loaded.is_ok();
        fetched(good);
        let pause = match loaded {
            Ok(Loaded { keys: new, fresh_for }) => {
                tracing::debug!(keys = new.len(), "keys fetched");
                keys.store(Arc::new(keys.load().with_fetched(new, Remote::Loaded)));
                (last_good, retry) = (Some(began), first_retry);
                let [least, most] = pace.refresh;
                fresh_for.unwrap_or(pace.refresh_unless_told).clamp(least, most)
            }
            Err(cause) => {
                let kept = keys.load().remote == Remote::Loaded;
                tracing::warn!(cause, kept, "the keys that tokens are checked with could not be fetched");
                if kept && last_good.is_none_or(|at: Instant| at.elapsed() >= pace.keep) {
                    tracing::error!("the keys that tokens are checked with are too old and count no more");
                    keys.store(Arc::new(keys.load().with_fetched(Vec::new(), Remote::Missing)));
                }
                let pause = retry;
                retry = (retry * 2).min(last_retry);
                pause
            }
        };
        // Whoever asked until now is answered by this fetch: what they asked for must not begin another.
        pin!(shared.asked.notified()).enable();
        shared.status.send_modify(|status| {
            status.ended = status.begun;
            status.good = good;
        });
        let asked = until_due(&shared, Instant::now() + pause).await;
        shared.status.send_modify(|status| {
            status.begun += 1;
            if asked {
                status.asked_at = Some(Instant::now());
            }
        });
    }
}

/// Waits for the next fetch; whether a token asked for it.
async fn until_due(shared: &Shared, due: Instant) -> bool {
    loop {
        tokio::select! {
            () = sleep_until(due) => return false,
            () = shared.asked.notified() => {
                // Who asked just before a fetch began has been served by it.
                let last = shared.status.borrow().asked_at;
                if last.is_none_or(|at| at.elapsed() >= shared.pace.floor) {
                    return true;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;

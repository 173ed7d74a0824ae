//! Single flight: callers that need the same value at the same time share one load.

use std::{
    collections::HashMap,
    hash::Hash,
    sync::{Arc, Mutex},
    time::Instant,
};

use crate::lock::lock;

/// The latest value of a key, with the time at which its load began. The lock is held during a load.
type Entry<V> = Arc<tokio::sync::Mutex<Option<(Instant, V)>>>;

/// Holds the loads in progress, by key.
pub(super) struct SingleFlight<K, V>(Mutex<HashMap<K, Entry<V>>>);

impl<K, V> Default for SingleFlight<K, V> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<K: Clone + Eq + Hash, V: Clone> SingleFlight<K, V> {
    /// Returns the value of a key. One load per key runs at a time. All callers that arrived before a load began share
    /// its result, so the value is never older than the call. An error is not shared.
    pub async fn load<E>(&self, key: &K, load: impl Future<Output = Result<V, E>>) -> Result<V, E> {
        let arrived = Instant::now();
        let entry = lock(&self.0).entry(key.clone()).or_default().clone();
        // Removes the key's entry when no caller uses it, also when this future is dropped before it completes.
        let _cleanup = CleanupGuard { loads: self, key };
        let mut latest = entry.lock_owned().await;
        match &*latest {
            Some((started, value)) if *started >= arrived => Ok(value.clone()),
            _ => {
                let started = Instant::now();
                let value = load.await?;
                *latest = Some((started, value.clone()));
                Ok(value)
            }
        }
    }
}

struct CleanupGuard<'a, K: Clone + Eq + Hash, V: Clone> {
    loads: &'a SingleFlight<K, V>,
    key: &'a K,
}

impl<K: Clone + Eq + Hash, V: Clone> Drop for CleanupGuard<'_, K, V> {
    fn drop(&mut self) {
        let mut loads = lock(&self.loads.0);
        // A count of 1 means that only the map holds the entry. This caller's handle was already dropped with its lock.
        if loads.get(self.key).is_some_and(|entry| Arc::strong_count(entry) == 1) {
            loads.remove(self.key);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{cell::Cell, time::Duration};

    use super::*;

    #[tokio::test]
    async fn concurrent_calls_share_load_and_later_call_loads_again() {
        let (loads, started) = (SingleFlight::<u8, u32>::default(), Cell::new(0));
        let load = || async {
            tokio::time::sleep(Duration::from_millis(20)).await;
            started.set(started.get() + 1);
            Ok::<_, ()>(started.get())
        };
        // The first load has begun when the other two calls arrive, so these two calls share the second load.
        let answers = tokio::join!(loads.load(&1, load()), loads.load(&1, load()), loads.load(&1, load()));
        assert_eq!(answers, (Ok(1), Ok(2), Ok(2)));
        assert_eq!(loads.load(&1, load()).await, Ok(3));
        let failed = loads.load(&2, async { Err::<u32, _>("away") }).await;
        assert_eq!((failed, lock(&loads.0).len()), (Err("away"), 0));
    }

    #[tokio::test]
    async fn call_during_second_load_waits_for_it() {
        let (loads, running, max_running) = (SingleFlight::<u8, u32>::default(), Cell::new(0), Cell::new(0));
        let load = || async {
            running.set(running.get() + 1);
            max_running.set(max_running.get().max(running.get()));
            tokio::time::sleep(Duration::from_millis(20)).await;
            running.set(running.get() - 1);
            Ok::<_, ()>(1)
        };
        let late = async {
            tokio::time::sleep(Duration::from_millis(30)).await;
            loads.load(&1, load()).await
        };
        let _ = tokio::join!(loads.load(&1, load()), loads.load(&1, load()), late);
        assert_eq!((max_running.get(), lock(&loads.0).len()), (1, 0));
    }
}

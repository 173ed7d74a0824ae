//! What the transport counts, for metrics. Each worker writes its own numbers without locks or atomic
//! read-modify-write (one writer per number); reading adds the workers up. Never reset.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

/// Numbers of all workers of a server. Share it with whoever exports metrics.
#[derive(Debug, Default)]
pub struct Counters {
    workers: Mutex<Vec<Arc<WorkerCounters>>>,
}

/// The sum over all workers at one moment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Totals {
    /// WebSockets open now, those still closing included.
    pub connections: u64,
    /// WebSockets ever opened.
    pub opened: u64,
    /// Text and binary messages received.
    pub messages_in: u64,
    /// Bytes received after the handshake.
    pub bytes_in: u64,
    /// Frames queued by [`send`](super::Connection::send).
    pub messages_out: u64,
    /// Bytes written, handshake answers and control frames included.
    pub bytes_out: u64,
    /// Bytes queued in outboxes now.
    pub outbox_bytes: u64,
    /// Frames that were compressed, each once for all its receivers.
    pub compressed: u64,
    /// Compressed frames queued.
    pub compressed_out: u64,
    /// Bytes that these frames were shorter by.
    pub saved_bytes: u64,
    /// Compressed messages refused because they were too big once inflated.
    pub bombs: u64,
    /// Times that a connection was not read for a while because too many frames came.
    pub frame_rate_holds: u64,
    /// Connections closed because too many frames came for too long.
    pub frame_rate_closes: u64,
    /// Connections told to leave because the server drains.
    pub drain_told: u64,
    /// Of them, those that had not left a little after their time.
    pub drain_overstayed: u64,
    /// Connections that were still open at the end of the drain time.
    pub drain_cut: u64,
    /// Closes by code; codes that neither RFC 6455 nor we (4400 to 4499) name are counted under 0.
    pub closes: BTreeMap<u16, u64>,
}

impl Totals {
    /// Connections closed because the peer read too slowly.
    pub fn slow_closes(&self) -> u64 {
        self.closes.get(&super::close_code::TOO_SLOW).copied().unwrap_or(0)
    }
}

impl Counters {
    /// Adds up what the workers have counted so far.
    pub fn totals(&self) -> Totals {
        let mut totals = Totals::default();
        for worker in locked(&self.workers).iter() {
            totals.connections += worker.connections.get();
            totals.opened += worker.opened.get();
            totals.messages_in += worker.messages_in.get();
            totals.bytes_in += worker.bytes_in.get();
            totals.messages_out += worker.messages_out.get();
            totals.bytes_out += worker.bytes_out.get();
            totals.outbox_bytes += worker.outbox_bytes.get();
            totals.compressed += worker.compressed.get();
            totals.compressed_out += worker.compressed_out.get();
            totals.saved_bytes += worker.saved_bytes.get();
            totals.bombs += worker.bombs.get();
            totals.frame_rate_holds += worker.frame_rate_holds.get();
            totals.frame_rate_closes += worker.frame_rate_closes.get();
            totals.drain_told += worker.drain_told.get();
            totals.drain_overstayed += worker.drain_overstayed.get();
            totals.drain_cut += worker.drain_cut.get();
            for (code, count) in locked(&worker.closes).iter() {
                *totals.closes.entry(*code).or_default() += count;
            }
        }
        totals
    }

    /// WebSockets open now; cheaper than [`totals`](Self::totals).
    pub fn connections(&self) -> u64 {
        locked(&self.workers).iter().map(|worker| worker.connections.get()).sum()
    }

    pub(crate) fn add_worker(&self) -> Arc<WorkerCounters> {
        let worker = Arc::<WorkerCounters>::default();
        locked(&self.workers).push(Arc::clone(&worker));
        worker
    }
}

/// The numbers of one worker, written by its thread only.
#[derive(Debug, Default)]
pub(crate) struct WorkerCounters {
    pub connections: Tally,
    pub opened: Tally,
    pub messages_in: Tally,
    pub bytes_in: Tally,
    pub messages_out: Tally,
    pub bytes_out: Tally,
    pub outbox_bytes: Tally,
    pub compressed: Tally,
    pub compressed_out: Tally,
    pub saved_bytes: Tally,
    pub bombs: Tally,
    pub frame_rate_holds: Tally,
    pub frame_rate_closes: Tally,
    pub drain_told: Tally,
    pub drain_overstayed: Tally,
    pub drain_cut: Tally,
    closes: Mutex<BTreeMap<u16, u64>>,
}

impl WorkerCounters {
    pub(crate) fn count_close(&self, code: u16) {
        // The peer chooses its code: without this, a peer could make as many time series as it likes.
        let code = if matches!(code, 1000..=1015 | 4400..=4499) { code } else { 0 };
        *locked(&self.closes).entry(code).or_default() += 1;
    }
}

/// A number with one writing thread and any number of readers.
#[derive(Debug, Default)]
pub(crate) struct Tally(AtomicU64);

impl Tally {
    pub(crate) fn add(&self, count: usize) {
        self.0.store(self.get().wrapping_add(count as u64), Ordering::Relaxed);
    }

    pub(crate) fn take(&self, count: usize) {
        self.0.store(self.get().wrapping_sub(count as u64), Ordering::Relaxed);
    }

    pub(crate) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Counts stay usable when a thread died while holding the lock.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

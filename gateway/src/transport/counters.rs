//! Counters of the transport, for metrics. Each worker writes its own numbers. A number has one writer, so it needs no
//! lock and no atomic read-modify-write; only the closes by code are behind a lock. A read adds up all workers.
//! Counters are never reset.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

/// The counters of all workers of a server. Share it with the exporter of metrics.
#[derive(Debug, Default)]
pub struct Counters {
    workers: Mutex<Vec<Arc<WorkerCounters>>>,
}

/// The sums over all workers at one moment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Totals {
    /// WebSockets that are open now, including those that are closing.
    pub connections: u64,
    pub opened: u64,
    pub messages_in: u64,
    pub bytes_in: u64,
    /// Frames queued by [`send`](super::Connection::send).
    pub messages_out: u64,
    /// Bytes written, handshake answers and control frames included.
    pub bytes_out: u64,
    pub outbox_bytes: u64,
    /// Frames that were compressed, each counted once for all its receivers.
    pub compressed: u64,
    pub compressed_out: u64,
    pub saved_bytes: u64,
    /// Compressed messages that exceeded the size limit after inflating.
    pub inflate_limit_closes: u64,
    /// Times that reading from a connection was paused because of too many frames.
    pub frame_rate_holds: u64,
    /// Connections closed because they sent too many frames for too long.
    pub frame_rate_closes: u64,
    /// Connections that were told when to leave because the server drains.
    pub drain_notified: u64,
    pub drain_overstayed: u64,
    /// Connections that were still open at the end of the drain time.
    pub drain_cut: u64,
    /// Closes by code. Codes that neither RFC 6455 nor the protocol (4400 to 4499) defines are counted under 0.
    pub closes: BTreeMap<u16, u64>,
}

impl Totals {
    /// Connections closed because the peer read too slowly.
    pub fn slow_closes(&self) -> u64 {
        self.closes.get(&super::close_code::TOO_SLOW).copied().unwrap_or(0)
    }
}

impl Counters {
    /// Adds up the counters of all workers.
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
            totals.inflate_limit_closes += worker.inflate_limit_closes.get();
            totals.frame_rate_holds += worker.frame_rate_holds.get();
            totals.frame_rate_closes += worker.frame_rate_closes.get();
            totals.drain_notified += worker.drain_notified.get();
            totals.drain_overstayed += worker.drain_overstayed.get();
            totals.drain_cut += worker.drain_cut.get();
            for (code, count) in locked(&worker.closes).iter() {
                *totals.closes.entry(*code).or_default() += count;
            }
        }
        totals
    }

    /// WebSockets that are open now; cheaper than [`totals`](Self::totals).
    pub fn connections(&self) -> u64 {
        locked(&self.workers).iter().map(|worker| worker.connections.get()).sum()
    }

    pub(crate) fn add_worker(&self) -> Arc<WorkerCounters> {
        let worker = Arc::<WorkerCounters>::default();
        locked(&self.workers).push(Arc::clone(&worker));
        worker
    }
}

/// The counters of one worker, written only by its thread.
#[derive(Debug, Default)]
pub(crate) struct WorkerCounters {
    pub connections: SingleWriterCounter,
    pub opened: SingleWriterCounter,
    pub messages_in: SingleWriterCounter,
    pub bytes_in: SingleWriterCounter,
    pub messages_out: SingleWriterCounter,
    pub bytes_out: SingleWriterCounter,
    pub outbox_bytes: SingleWriterCounter,
    pub compressed: SingleWriterCounter,
    pub compressed_out: SingleWriterCounter,
    pub saved_bytes: SingleWriterCounter,
    pub inflate_limit_closes: SingleWriterCounter,
    pub frame_rate_holds: SingleWriterCounter,
    pub frame_rate_closes: SingleWriterCounter,
    pub drain_notified: SingleWriterCounter,
    pub drain_overstayed: SingleWriterCounter,
    pub drain_cut: SingleWriterCounter,
    closes: Mutex<BTreeMap<u16, u64>>,
}

impl WorkerCounters {
    pub(crate) fn count_close(&self, code: u16) {
        // The peer chooses its code. Without this mapping, peers could create any number of time series.
        let code = if matches!(code, 1000..=1015 | 4400..=4499) { code } else { 0 };
        *locked(&self.closes).entry(code).or_default() += 1;
    }
}

/// A number with one writing thread and any number of readers.
#[derive(Debug, Default)]
pub(crate) struct SingleWriterCounter(AtomicU64);

impl SingleWriterCounter {
    pub(crate) fn add(&self, count: usize) {
        self.0.store(self.get().wrapping_add(count as u64), Ordering::Relaxed);
    }

    pub(crate) fn subtract(&self, count: usize) {
        self.0.store(self.get().wrapping_sub(count as u64), Ordering::Relaxed);
    }

    pub(crate) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Counters stay usable after a thread panicked while it held the lock.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

//! Counters of the transport, for metrics. Each worker writes its own counters. A counter has one writer, so it needs
//! no lock and no atomic read-modify-write. Only the closes by code are behind a lock. A read adds up the counters of
//! all workers. Counters are never reset.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
};

use crate::lock::lock;

/// The counters of all workers of a server. Share it with the exporter of metrics.
#[derive(Debug, Default)]
pub struct Counters {
    workers: Mutex<Vec<Arc<WorkerCounters>>>,
}

/// Declares each counter once: as a field of [`Totals`], as a field of [`WorkerCounters`], and in the sum over the
/// workers.
macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// The sums over all workers at one moment.
        #[derive(Debug, Clone, Default, PartialEq, Eq)]
        pub struct Totals {
            $($(#[$doc])* pub $name: u64,)*
            /// Closes by code. Codes that neither RFC 6455 nor the protocol (4400 to 4499) defines are counted under 0.
            pub closes: BTreeMap<u16, u64>,
        }

        /// The counters of one worker, written only by its thread.
        #[derive(Debug, Default)]
        pub(crate) struct WorkerCounters {
            $(pub $name: SingleWriterCounter,)*
            closes: Mutex<BTreeMap<u16, u64>>,
        }

        impl Totals {
            fn add(&mut self, worker: &WorkerCounters) {
                $(self.$name += worker.$name.get();)*
                for (code, count) in lock(&worker.closes).iter() {
                    *self.closes.entry(*code).or_default() += count;
                }
            }
        }
    };
}

counters! {
    /// WebSockets and Engine.IO sessions that are open now, including those that are closing.
    connections,
    /// Connections that are Engine.IO sessions over HTTP long polling now.
    engine_polling,
    /// Connections that are Engine.IO sessions over WebSocket now.
    engine_websocket,
    opened,
    /// Engine.IO sessions opened over HTTP long polling.
    engine_polling_opened,
    /// Engine.IO sessions opened over WebSocket.
    engine_websocket_opened,
    /// Engine.IO sessions that moved from HTTP long polling to a WebSocket.
    engine_upgrades,
    /// WebSockets that are forwarded to other nodes now.
    engine_tunnels,
    /// Polls and POSTs that were forwarded, and that the nodes of their sessions answered.
    forwarded_requests_answered,
    /// Polls and POSTs of sessions whose nodes have no known address.
    forwarded_requests_unknown,
    /// Polls and POSTs that the nodes of their sessions did not answer.
    forwarded_requests_failed,
    /// WebSockets that were connected with the nodes of their sessions.
    forwarded_websockets_connected,
    /// WebSockets of sessions whose nodes have no known address.
    forwarded_websockets_unknown,
    /// WebSockets that could not be connected with the nodes of their sessions.
    forwarded_websockets_failed,
    messages_in,
    bytes_in,
    /// Frames queued by [`send`](super::Connection::send).
    messages_out,
    /// Bytes written, handshake answers and control frames included.
    bytes_out,
    outbox_bytes,
    /// Frames that were compressed, each counted once for all its receivers.
    compressed,
    compressed_out,
    saved_bytes,
    /// Compressed messages that exceeded the size limit after inflating.
    inflate_limit_closes,
    /// Times that reading from a connection was paused because of too many frames.
    frame_rate_holds,
    /// Connections closed because they sent too many frames for too long.
    frame_rate_closes,
    /// Connections that were told when to leave, because the server drains.
    drain_notified,
    drain_overstayed,
    /// Connections that were still open, and were closed, at the end of the drain time.
    drain_cut,
}

impl Counters {
    pub fn totals(&self) -> Totals {
        let mut totals = Totals::default();
        lock(&self.workers).iter().for_each(|worker| totals.add(worker));
        totals
    }

    /// Connections and tunnels that are open now; cheaper than [`totals`](Self::totals).
    pub(crate) fn open_sockets(&self) -> u64 {
        let open = |worker: &Arc<WorkerCounters>| worker.connections.get() + worker.engine_tunnels.get();
        lock(&self.workers).iter().map(open).sum()
    }

    /// Creates the counters of a new worker, which only the thread of this worker may write.
    pub(crate) fn add_worker(&self) -> Arc<WorkerCounters> {
        let worker = Arc::<WorkerCounters>::default();
        lock(&self.workers).push(Arc::clone(&worker));
        worker
    }
}

impl WorkerCounters {
    /// Counts a close under its code, or under 0 if the code is not defined.
    pub(crate) fn count_close(&self, code: u16) {
        // The peer chooses its code. Without this mapping, peers could create any number of time series.
        let code = if matches!(code, 1000..=1015 | 4400..=4499) { code } else { 0 };
        *lock(&self.closes).entry(code).or_default() += 1;
    }
}

/// A number with one writing thread and any number of readers.
#[derive(Debug, Default)]
pub(crate) struct SingleWriterCounter(AtomicU64);

impl SingleWriterCounter {
    /// Increases the number. Must be called only by the writing thread, because it loads and stores in two steps.
    pub(crate) fn add(&self, count: usize) {
        self.0.store(self.get().wrapping_add(count as u64), Ordering::Relaxed);
    }

    /// Decreases the number, under the same condition as [`add`](Self::add).
    pub(crate) fn subtract(&self, count: usize) {
        self.0.store(self.get().wrapping_sub(count as u64), Ordering::Relaxed);
    }

    pub(crate) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

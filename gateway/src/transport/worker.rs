//! State shared by the connections of one worker thread: the connections, timer wheel, read buffer, compressor, limits
//! and counters. This module may use the connections' links, never their sockets or sessions.

use std::{
    cell::{Cell, RefCell},
    mem,
    rc::Rc,
    sync::Arc,
};

use bytes::Bytes;
use slab::Slab;
use tokio::time::{Instant, MissedTickBehavior, interval_at};

mod link;

use super::{
    config::WorkerLimits,
    counters::WorkerCounters,
    deflate::Deflater,
    frame::Frame,
    inflate::Inflater,
    kind::TransportKind,
    packet,
    tunnels::Tunnels,
    wheel::{TimerEntry, TimerWheel},
};
pub(super) use link::{DrainNotice, Link, Phase};

/// Maximum number of bytes per read of a socket. The buffer is large, because a worker has only one such buffer.
const READ_BUFFER_BYTES: usize = 64 * 1024;

/// Maximum number of missed ticks that are run after the thread was blocked. Further ticks are skipped, because a
/// blocked thread receives nothing, and so its peers must not count as silent.
const MAX_CATCH_UP_TICKS: u32 = 10;

/// The state that the connections of one worker share. `number` counts the workers of the server from 0.
pub(crate) struct TransportWorker {
    pub number: usize,
    pub limits: WorkerLimits,
    pub counters: Arc<WorkerCounters>,
    pub tunnels: Rc<Tunnels>,
    ping: Frame,
    engine_ping: Frame,
    connections: RefCell<Slab<Rc<Link>>>,
    wheel: RefCell<TimerWheel>,
    now: Cell<u32>,
    next_id: Cell<u64>,
    stopping: Cell<bool>,
    read_buffer: RefCell<Vec<u8>>,
    inflater: RefCell<Inflater>,
    deflater: RefCell<Deflater>,
}

impl TransportWorker {
    pub(crate) fn new(number: usize, limits: WorkerLimits, counters: Arc<WorkerCounters>) -> TransportWorker {
        TransportWorker {
            number,
            limits,
            tunnels: Tunnels::new(&counters),
            counters,
            ping: Frame::ping(&[]),
            engine_ping: Frame::text(packet::PING),
            connections: RefCell::default(),
            wheel: RefCell::new(TimerWheel::new()),
            now: Cell::new(0),
            next_id: Cell::new(1),
            stopping: Cell::new(false),
            read_buffer: RefCell::default(),
            inflater: RefCell::default(),
            deflater: RefCell::default(),
        }
    }

    /// Makes the worker refuse new connections. Returns whether the worker was already stopping.
    pub(crate) fn stop_accepting(&self) -> bool {
        self.stopping.replace(true)
    }

    /// Whether the worker drains or closes, so that it opens no more connections.
    pub(crate) fn is_stopping(&self) -> bool {
        self.stopping.get()
    }

    /// Whether the worker may open another connection. Closing connections and tunnels also count towards the maximum.
    pub(crate) fn has_capacity(&self) -> bool {
        self.connections.borrow().len() + self.tunnels.count() < self.limits.max_connections
    }

    /// Whether the worker may open another polling session of Engine.IO.
    pub(crate) fn has_polling_capacity(&self) -> bool {
        self.counters.engine_polling.get() < self.limits.max_polling_sessions as u64
    }

    /// Registers a new connection and starts its heartbeat.
    pub(crate) fn open_link(self: &Rc<Self>, kind: TransportKind) -> Rc<Link> {
        let id = self.next_id.get();
        self.next_id.set(id + 1);
        let first_ping = if kind.is_engine() {
            // The first ping is never early, because a client may expect no ping before the interval is over.
            self.limits.engine_heartbeat.ping_ticks + 1
        } else {
            // Consecutive connections ping at different ticks, so that a reconnect storm does not become a ping storm.
            let heartbeat = u64::from(self.limits.heartbeat.ping_ticks);
            u32::try_from(1 + id % heartbeat).unwrap_or(1)
        };
        let mut connections = self.connections.borrow_mut();
        let entry = connections.vacant_entry();
        let key = u32::try_from(entry.key()).unwrap_or(u32::MAX);
        let link = Rc::new(Link::new(Rc::clone(self), kind, key, id, self.now.get(), first_ping));
        entry.insert(Rc::clone(&link));
        drop(connections);
        self.counters.opened.add(1);
        self.counters.connections.add(1);
        match kind {
            TransportKind::WebSocket => {}
            TransportKind::EnginePolling => {
                self.counters.engine_polling_opened.add(1);
                self.counters.engine_polling.add(1);
            }
            TransportKind::EngineWebSocket => {
                self.counters.engine_websocket_opened.add(1);
                self.counters.engine_websocket.add(1);
            }
        }
        link.schedule();
        link
    }

    /// Removes a connection whose task has ended, and counts its close under `code`.
    pub(crate) fn remove_link(&self, key: u32, code: u16) {
        if let Some(link) = self.connections.borrow_mut().try_remove(key as usize) {
            self.counters.connections.subtract(1);
            match link.kind.get() {
                TransportKind::WebSocket => {}
                TransportKind::EnginePolling => self.counters.engine_polling.subtract(1),
                TransportKind::EngineWebSocket => self.counters.engine_websocket.subtract(1),
            }
            self.counters.count_close(code);
        }
    }

    /// Whether the connection with this key and id exists.
    pub(crate) fn has_link(&self, key: u32, id: u64) -> bool {
        self.connections.borrow().get(key as usize).is_some_and(|link| link.id == id)
    }

    /// The ping of a connection's heartbeat.
    pub(crate) fn ping(&self, kind: TransportKind) -> Frame {
        if kind.is_engine() { self.engine_ping.clone() } else { self.ping.clone() }
    }

    /// The current tick, counted from the worker's start. Ticks that are skipped after a long block do not count.
    pub(crate) fn current_tick(&self) -> u32 {
        self.now.get()
    }

    /// Schedules a call of `link.on_timer` at tick `due`.
    pub(crate) fn schedule_timer(&self, link: &Link, due: u32) {
        self.wheel.borrow_mut().add(TimerEntry { key: link.key, generation: link.generation(), due });
    }

    /// Lends the shared read buffer. `read` may call sessions, because a nested call gets its own buffer.
    pub(crate) fn with_read_buffer<R>(&self, read: impl FnOnce(&mut [u8]) -> R) -> R {
        let mut buffer = mem::take(&mut *self.read_buffer.borrow_mut());
        buffer.resize(READ_BUFFER_BYTES, 0);
        let result = read(&mut buffer);
        *self.read_buffer.borrow_mut() = buffer;
        result
    }

    /// Lends the shared inflater. A nested call gets its own inflater.
    pub(crate) fn with_inflater<R>(&self, inflate: impl FnOnce(&mut Inflater) -> R) -> R {
        let mut inflater = mem::take(&mut *self.inflater.borrow_mut());
        let result = inflate(&mut inflater);
        *self.inflater.borrow_mut() = inflater;
        result
    }

    /// Returns the compressed copy of a frame; `None` if the copy is not shorter.
    pub(crate) fn compressed(&self, frame: &Frame) -> Option<Bytes> {
        frame.to_compressed(&mut self.deflater.borrow_mut(), || self.counters.compressed.add(1))
    }

    /// Moves the clock by one tick, and calls `on_timer` of the links with due entries.
    fn advance_tick(&self) {
        let tick = self.now.get() + 1;
        self.now.set(tick);
        let mut due = Vec::new();
        self.wheel.borrow_mut().turn(tick, &mut due);
        for entry in due {
            let link = self.connections.borrow().get(entry.key as usize).map(Rc::clone);
            if let Some(link) = link
                && link.generation() == entry.generation
            {
                link.on_timer(entry.due);
            }
        }
    }

    /// All connections, including closing ones.
    pub(crate) fn links(&self) -> Vec<Rc<Link>> {
        self.connections.borrow().iter().map(|(_, link)| Rc::clone(link)).collect()
    }
}

/// Turns the timer wheel once per tick. Never returns.
pub(crate) async fn run_timers(worker: Rc<TransportWorker>) {
    let tick = worker.limits.tick;
    let mut last = Instant::now();
    let mut interval = interval_at(last + tick, tick);
    interval.set_missed_tick_behavior(MissedTickBehavior::Skip);
    loop {
        interval.tick().await;
        let passed = (last.elapsed().as_nanos() / tick.as_nanos().max(1)).max(1);
        let passed = u32::try_from(passed).unwrap_or(u32::MAX);
        if passed > MAX_CATCH_UP_TICKS {
            last = Instant::now();
        } else {
            last += tick * passed;
        }
        for _ in 0..passed.min(MAX_CATCH_UP_TICKS) {
            worker.advance_tick();
        }
    }
}

//! What a connection's handle, its task and the timer wheel share: outbox, phase, moments at which something is due.
//! It queues, marks and wakes, and writes a frame that comes alone to an idle socket; it never calls a session. There is
//! one per connection, and most of them are idle: each field counts.

use std::{
    cell::{Cell, RefCell},
    io,
    rc::Rc,
    task::Waker,
    time::Duration,
};

use bytes::Bytes;
use tokio::net::TcpStream;

mod sending;

use super::{
    config::ticks,
    extension::Window,
    frame::{Frame, close_code},
    outbox::Outbox,
    worker::Worker,
};

/// How far the closing of a connection has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    Open,
    /// Our close frame is queued or sent; the peer's is awaited.
    Closing,
    /// Both sides have closed: only what is queued is still to be written.
    Ended,
    /// The peer's stream cannot be understood any more. What still comes is read and dropped, because closing
    /// a socket with unread bytes resets it, and our last frames with it.
    Discarding,
}

/// What a session is to be told of the end of its server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Farewell {
    None,
    /// Its peer should leave after so many milliseconds.
    Tell(u32),
    /// Its peer should have left.
    CallUpon,
}

/// Never, in ticks.
const NEVER: u32 = u32::MAX;

pub(super) struct Link {
    pub worker: Rc<Worker>,
    /// Gone with the task, however many handles there still are; out for the moment in which it is used.
    socket: Cell<Option<TcpStream>>,
    pub outbox: RefCell<Outbox>,
    pub waker: RefCell<Option<Waker>>,
    pub id: u64,
    pub key: u32,
    /// Last tick at which bytes came from the peer.
    pub heard: Cell<u32>,
    ping_at: Cell<u32>,
    deadline_at: Cell<u32>,
    close_by: Cell<u32>,
    /// Not read before this tick, because too many frames came; `NEVER`: nothing is in the way.
    hold_until: Cell<u32>,
    /// The tick of the wheel entry that counts; other entries are leftovers.
    timer_at: Cell<u32>,
    pub farewell: Cell<Farewell>,
    pub close_code: Cell<u16>,
    pub phase: Cell<Phase>,
    /// The task is already going to run: no need to wake it again.
    pub awake: Cell<bool>,
    /// That of the peer, when compressed messages were agreed on.
    pub window: Cell<Option<Window>>,
    pub paused: Cell<bool>,
    pub drain_wanted: Cell<bool>,
    pub deadline_due: Cell<bool>,
    /// To be dropped without further ado.
    pub aborted: Cell<bool>,
}

impl Link {
    pub(super) fn new(worker: Rc<Worker>, key: u32, id: u64, now: u32, first_ping: u32) -> Link {
        Link {
            worker,
            socket: Cell::new(None),
            outbox: RefCell::default(),
            waker: RefCell::default(),
            id,
            key,
            heard: Cell::new(now),
            ping_at: Cell::new(now.saturating_add(first_ping)),
            deadline_at: Cell::new(NEVER),
            close_by: Cell::new(NEVER),
            hold_until: Cell::new(NEVER),
            timer_at: Cell::new(NEVER),
            farewell: Cell::new(Farewell::None),
            close_code: Cell::new(close_code::ABNORMAL),
            phase: Cell::new(Phase::Open),
            awake: Cell::new(true),
            window: Cell::new(None),
            paused: Cell::new(false),
            drain_wanted: Cell::new(false),
            deadline_due: Cell::new(false),
            aborted: Cell::new(false),
        }
    }

    /// Gives the link its socket, or takes it away.
    pub(super) fn set_socket(&self, socket: Option<TcpStream>) {
        self.socket.set(socket);
    }

    /// Uses the socket; an error when it is gone.
    pub(super) fn with_socket<R>(&self, act: impl FnOnce(&mut TcpStream) -> R) -> io::Result<R> {
        let mut socket = self.socket.take().ok_or(io::ErrorKind::NotConnected)?;
        let result = act(&mut socket);
        self.socket.set(Some(socket));
        Ok(result)
    }

    /// What wheel entries carry to tell this connection from an earlier one at the same key.
    #[allow(clippy::cast_possible_truncation, reason = "the low half of a counter tells neighbours apart")]
    pub(super) fn generation(&self) -> u32 {
        self.id as u32
    }

    pub(super) fn wake(&self) {
        if !self.awake.replace(true)
            && let Some(waker) = &*self.waker.borrow()
        {
            waker.wake_by_ref();
        }
    }

    /// Queues bytes whatever the bound: for the handshake's answer and control frames.
    pub(super) fn queue(&self, bytes: Bytes) {
        self.worker.counters.outbox_bytes.add(bytes.len());
        self.outbox.borrow_mut().push(bytes);
        self.wake();
    }

    /// Queues a ping or pong. A peer that floods us with pings and does not read is too slow like any other.
    pub(super) fn queue_control(&self, frame: Frame) {
        if self.phase.get() != Phase::Open {
            return;
        }
        if self.queued_with(frame.len()) > self.worker.limits.outbox_bytes {
            self.close_slow();
        } else {
            self.queue(frame.into_bytes());
        }
    }

    fn close_slow(&self) {
        {
            let mut outbox = self.outbox.borrow_mut();
            let before = outbox.bytes();
            outbox.drop_unbegun();
            self.worker.counters.outbox_bytes.take(before - outbox.bytes());
        }
        self.close(close_code::TOO_SLOW, "too slow");
    }

    pub(super) fn close(&self, code: u16, reason: &str) {
        self.begin_close(Phase::Closing, code, reason);
    }

    /// Leaves the open phase: queues the close frame and starts the time limit.
    pub(super) fn begin_close(&self, phase: Phase, code: u16, reason: &str) {
        if self.phase.get() != Phase::Open {
            return;
        }
        self.phase.set(phase);
        self.close_code.set(code);
        self.queue(Frame::close(code, reason).into_bytes());
        self.close_by.set(self.worker.now().saturating_add(self.worker.limits.close_ticks + 1));
        self.schedule();
        self.wake();
    }

    /// Has the session told that the node drains.
    pub(super) fn tell_draining(&self, leave_after: Duration) {
        self.bid(Farewell::Tell(u32::try_from(leave_after.as_millis()).unwrap_or(u32::MAX)));
    }

    /// Has the session told that its peer should have left.
    pub(super) fn call_upon(&self) {
        self.bid(Farewell::CallUpon);
    }

    fn bid(&self, farewell: Farewell) {
        if self.phase.get() == Phase::Open {
            self.farewell.set(farewell);
            self.wake();
        }
    }

    /// Has the connection not read before this tick.
    pub(super) fn hold_until(&self, tick: u32) {
        self.hold_until.set(tick);
        self.schedule();
    }

    /// Whether too many frames came just now.
    pub(super) fn is_held(&self) -> bool {
        self.hold_until.get() != NEVER
    }

    pub(super) fn abort(&self) {
        self.aborted.set(true);
        self.wake();
    }

    /// Empties the outbox of a connection that is gone; handles may live on.
    pub(super) fn drop_outbox(&self) {
        let mut outbox = self.outbox.borrow_mut();
        self.worker.counters.outbox_bytes.take(outbox.bytes());
        outbox.clear();
    }

    pub(super) fn set_deadline(&self, after: Option<Duration>) {
        self.deadline_due.set(false);
        self.deadline_at.set(match after {
            // The current tick is partly over: one more makes sure that the call is never early.
            Some(time) => self.worker.now().saturating_add(ticks(time, self.worker.limits.tick) + 1),
            None => NEVER,
        });
        self.schedule();
    }

    /// Puts the next moment at which something is due on the wheel, unless an earlier entry stands.
    pub(super) fn schedule(&self) {
        let next = if self.phase.get() == Phase::Open {
            let silent_at = self.heard.get().saturating_add(2 * self.worker.limits.heartbeat_ticks);
            self.ping_at.get().min(silent_at).min(self.deadline_at.get()).min(self.hold_until.get())
        } else {
            self.close_by.get()
        };
        let next = next.max(self.worker.now() + 1);
        if next < self.timer_at.get() {
            self.timer_at.set(next);
            self.worker.wake_at(self, next);
        }
    }

    /// The wheel has come to an entry of this connection.
    pub(super) fn on_timer(&self, due: u32) {
        if due != self.timer_at.get() {
            return;
        }
        self.timer_at.set(NEVER);
        let now = self.worker.now();
        if self.phase.get() == Phase::Open {
            self.on_open_timer(now);
        } else if now >= self.close_by.get() {
            self.abort();
            return;
        }
        self.schedule();
    }

    fn on_open_timer(&self, now: u32) {
        let heartbeat = self.worker.limits.heartbeat_ticks;
        if self.deadline_at.get() <= now {
            self.deadline_at.set(NEVER);
            self.deadline_due.set(true);
            self.wake();
        }
        if self.paused.get() || self.is_held() {
            self.heard.set(now);
        } else if now >= self.heard.get().saturating_add(2 * heartbeat) {
            self.close(close_code::SILENT, "nothing heard");
            return;
        }
        if self.hold_until.get() <= now {
            self.hold_until.set(NEVER);
            self.wake();
        }
        if now >= self.ping_at.get() {
            self.ping_at.set(now.saturating_add(heartbeat));
            self.queue_control(self.worker.ping.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_stays_within_its_size_class() {
        // With the two counts of its `Rc` within 224 bytes, a size class of the allocator; the next is 256.
        assert!(size_of::<Link>() <= 208, "{}", size_of::<Link>());
    }
}

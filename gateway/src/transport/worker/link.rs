//! State shared by a connection's handle, its task and the timer wheel: outbox, phase, and timers. A link queues
//! bytes, sets flags and wakes the task. A link never calls a session. There is one link per connection, and most
//! connections are idle, so the size of each field matters.

use std::{
    cell::{Cell, RefCell},
    io,
    rc::Rc,
    task::Waker,
};

use bytes::Bytes;
use tokio::net::TcpStream;

mod timers;

use super::TransportWorker;
use crate::transport::{
    extension::Window,
    frame::{Frame, close_code},
    kind::TransportKind,
    outbox::Outbox,
};

/// How far the close of a connection has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    Open,
    /// The server's close frame is queued or sent, and the peer's close frame is awaited.
    Closing,
    /// Both sides have closed, and only queued bytes must still be written.
    Ended,
    /// The peer's stream cannot be decoded further. The remaining input is read and dropped, because closing a socket
    /// with unread bytes resets it and destroys the last frames.
    Discarding,
}

/// A notice about the drain that the connection's task must pass to the session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DrainNotice {
    None,
    /// The peer should leave after this many milliseconds.
    LeaveAfter(u32),
    /// The peer did not leave in time.
    RequestClose,
}

/// The tick of a timer that is not set.
const NEVER: u32 = u32::MAX;

/// The state of one client connection on its worker: its socket, outbox, phase, timers and flags. The handles, the
/// connection's task and the timer wheel share it.
pub struct Link {
    pub worker: Rc<TransportWorker>,
    /// `None` while the socket is in use, and after the task has ended, even if handles remain.
    socket: Cell<Option<TcpStream>>,
    pub outbox: RefCell<Outbox>,
    pub waker: RefCell<Option<Waker>>,
    pub id: u64,
    /// The index in the worker's table of connections.
    pub key: u32,
    /// The tick at which the last bytes were received.
    pub last_received: Cell<u32>,
    ping_at: Cell<u32>,
    deadline_at: Cell<u32>,
    close_by: Cell<u32>,
    /// Reading is paused until this tick because of too many frames; `NEVER` if reading is not paused.
    paused_until: Cell<u32>,
    /// The tick at which the connection is closed as too slow, unless something is written to its socket before;
    /// `NEVER` if no shared frame was refused since the outbox was low.
    stalled_at: Cell<u32>,
    /// The tick of the latest timer wheel entry of this connection; `on_timer` ignores entries for other ticks.
    timer_at: Cell<u32>,
    pub drain_notice: Cell<DrainNotice>,
    pub close_code: Cell<u16>,
    pub phase: Cell<Phase>,
    pub kind: Cell<TransportKind>,
    /// Whether the task will run in any case, so that another wake is not needed.
    pub awake: Cell<bool>,
    /// The peer's inflate window; `None` if compression was not negotiated.
    pub window: Cell<Option<Window>>,
    /// Whether the session has paused reading.
    pub paused: Cell<bool>,
    /// Whether `on_drained` must be called when the outbox is low.
    pub drain_wanted: Cell<bool>,
    pub deadline_due: Cell<bool>,
    pub aborted: Cell<bool>,
}

impl Link {
    /// The link of a new connection at the tick `now`. The first ping is sent `first_ping` ticks later.
    pub fn new(
        worker: Rc<TransportWorker>,
        kind: TransportKind,
        key: u32,
        id: u64,
        now: u32,
        first_ping: u32,
    ) -> Link {
        Link {
            worker,
            socket: Cell::new(None),
            outbox: RefCell::default(),
            waker: RefCell::default(),
            id,
            key,
            last_received: Cell::new(now),
            ping_at: Cell::new(now.saturating_add(first_ping)),
            deadline_at: Cell::new(NEVER),
            close_by: Cell::new(NEVER),
            paused_until: Cell::new(NEVER),
            stalled_at: Cell::new(NEVER),
            timer_at: Cell::new(NEVER),
            drain_notice: Cell::new(DrainNotice::None),
            close_code: Cell::new(close_code::ABNORMAL),
            phase: Cell::new(Phase::Open),
            kind: Cell::new(kind),
            awake: Cell::new(true),
            window: Cell::new(None),
            paused: Cell::new(false),
            drain_wanted: Cell::new(false),
            deadline_due: Cell::new(false),
            aborted: Cell::new(false),
        }
    }

    /// Stores the socket of the connection. `None` closes the socket, when the task has ended.
    pub fn set_socket(&self, socket: Option<TcpStream>) {
        self.socket.set(socket);
    }

    /// Calls `act` with the socket. Fails if the socket was removed.
    pub fn with_socket<R>(&self, act: impl FnOnce(&mut TcpStream) -> R) -> io::Result<R> {
        let mut socket = self.socket.take().ok_or(io::ErrorKind::NotConnected)?;
        let result = act(&mut socket);
        self.socket.set(Some(socket));
        Ok(result)
    }

    /// Distinguishes this connection in wheel entries from an earlier connection with the same key.
    #[allow(
        clippy::cast_possible_truncation,
        reason = "the low half of the id distinguishes connections with the same key"
    )]
    pub fn generation(&self) -> u32 {
        self.id as u32
    }

    /// Stores the waker of the connection's task.
    pub fn set_waker(&self, waker: &Waker) {
        let mut stored = self.waker.borrow_mut();
        if !stored.as_ref().is_some_and(|stored| stored.will_wake(waker)) {
            *stored = Some(waker.clone());
        }
    }

    /// Makes the connection's task run soon.
    pub fn wake(&self) {
        if !self.awake.replace(true)
            && let Some(waker) = &*self.waker.borrow()
        {
            waker.wake_by_ref();
        }
    }

    /// Queues bytes without checking the outbox limit.
    pub fn queue(&self, bytes: Bytes) {
        self.worker.counters.outbox_bytes.add(bytes.len());
        self.outbox.borrow_mut().push(bytes);
        self.wake();
    }

    /// Queues a ping or pong. A peer that sends many pings and does not read is closed as too slow.
    pub fn queue_control(&self, frame: Frame) {
        if self.phase.get() != Phase::Open {
            return;
        }
        if self.outbox.borrow().bytes() + frame.len() > self.worker.limits.outbox_bytes {
            self.close_as_too_slow();
        } else {
            self.queue(frame.into_bytes());
        }
    }

    /// Drops the frames that are not partly written, and closes the connection.
    pub fn close_as_too_slow(&self) {
        {
            let mut outbox = self.outbox.borrow_mut();
            let before = outbox.bytes();
            outbox.drop_unstarted();
            self.worker.counters.outbox_bytes.subtract(before - outbox.bytes());
        }
        self.close(close_code::TOO_SLOW, "too slow");
    }

    /// Closes a connection whose peer sent nothing for too long. Drops the queued packets of a polling session, because
    /// its client is gone.
    pub fn close_as_silent(&self) {
        let is_polling = self.kind.get() == TransportKind::EnginePolling;
        let phase = if is_polling { Phase::Discarding } else { Phase::Closing };
        self.begin_close(phase, close_code::SILENT, "no data received for two heartbeats");
    }

    /// Queues a close frame behind the other frames, and starts the close timeout. Only the first close counts.
    pub fn close(&self, code: u16, reason: &str) {
        self.begin_close(Phase::Closing, code, reason);
    }

    /// Leaves the open phase: queues the close frame and starts the close timeout.
    pub fn begin_close(&self, phase: Phase, code: u16, reason: &str) {
        if self.phase.get() != Phase::Open {
            return;
        }
        self.phase.set(phase);
        self.close_code.set(code);
        self.queue(Frame::close(code, reason).into_bytes());
        self.close_by.set(self.worker.current_tick().saturating_add(self.worker.limits.close_ticks + 1));
        self.schedule();
        self.wake();
    }

    /// Stores a drain notice and wakes the connection's task. The task passes the notice to the session.
    pub fn set_drain_notice(&self, drain_notice: DrainNotice) {
        if self.phase.get() == Phase::Open {
            self.drain_notice.set(drain_notice);
            self.wake();
        }
    }

    /// Whether reading is paused, by the session or because of too many frames.
    pub fn is_read_paused(&self) -> bool {
        self.paused.get() || self.paused_until.get() != NEVER
    }

    /// Ends the connection's task without further writes, so that the socket is closed.
    pub fn abort(&self) {
        self.aborted.set(true);
        self.wake();
    }

    /// Empties the outbox of a closed connection, whose handles may still exist.
    pub fn drop_outbox(&self) {
        let mut outbox = self.outbox.borrow_mut();
        self.worker.counters.outbox_bytes.subtract(outbox.bytes());
        outbox.drop_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn link_stays_within_its_size_class() {
        // With the two counters of its `Rc`, a link fits in 224 bytes, a size class of the allocator.
        assert!(size_of::<Link>() <= 208, "{}", size_of::<Link>());
    }
}

//! The state of Engine.IO sessions while they are polling. The requests of a session share it with the
//! session's task. A request only stores itself and wakes the task. Only the task calls the application.

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
    time::Duration,
};

use bytes::Bytes;
use rustc_hash::FxHashMap;
use tokio::{net::TcpStream, sync::oneshot, time::Instant};

use super::{error::EngineError, query::RequestKey, workers::EngineAnswer};
use crate::transport::{
    extension::Window,
    frame::close_code,
    packet::PolledPackets,
    worker::{Link, Phase},
};

/// Maximum difference, in ticks, between the timer wheel and the clock when a session counts as silent.
const SILENCE_TOLERANCE_TICKS: u32 = 3;

/// The polling sessions of a worker by the ids of their connections.
pub(super) type SessionTable = RefCell<FxHashMap<u64, Rc<PollingSession>>>;

/// The progress of an upgrade to a WebSocket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum UpgradeState {
    None,
    /// A WebSocket has connected.
    Connected,
    /// The WebSocket works, and the client stops polling. A poll is answered at once.
    Probed,
    /// The client uses the WebSocket. Polls and POSTs are refused.
    Done,
}

/// A POST of which some packets still wait for the task.
pub(super) struct PendingPost {
    pub packets: PolledPackets,
    pub answer: oneshot::Sender<EngineAnswer>,
}

/// The WebSocket with which the session continues.
pub(super) struct UpgradedSocket {
    pub socket: TcpStream,
    /// Bytes that followed the upgrade packet.
    pub unread: Vec<u8>,
    pub window: Option<Window>,
}

/// A polling session. It exists until its task ends or moves the session to a WebSocket.
pub(super) struct PollingSession {
    pub link: Rc<Link>,
    /// The session is closed after this time without a packet.
    silence: Duration,
    last_packet: Cell<Instant>,
    upgrade: Cell<UpgradeState>,
    last_poll: Cell<RequestKey>,
    last_post: Cell<RequestKey>,
    pub poll: RefCell<Option<oneshot::Sender<EngineAnswer>>>,
    pub post: RefCell<Option<PendingPost>>,
    pub upgraded: RefCell<Option<UpgradedSocket>>,
}

impl PollingSession {
    pub(super) fn new(link: Rc<Link>, silence: Duration) -> PollingSession {
        PollingSession {
            link,
            silence,
            last_packet: Cell::new(Instant::now()),
            upgrade: Cell::new(UpgradeState::None),
            last_poll: Cell::new(None),
            last_post: Cell::new(None),
            poll: RefCell::default(),
            post: RefCell::default(),
            upgraded: RefCell::default(),
        }
    }

    /// Whether requests may use the session. First closes a session that was silent for too long, so that the timeout
    /// is exact and does not wait for the next tick.
    pub(super) fn is_usable(&self) -> bool {
        if self.is_silent() {
            self.link.close_as_silent();
        }
        // A closing session is usable, so that a poll can take the remaining packets.
        self.link.phase.get() != Phase::Discarding && self.upgrade.get() != UpgradeState::Done
    }

    /// Whether no packet arrived for too long. A session that has paused reading, or still has a POST to take, is not
    /// silent.
    fn is_silent(&self) -> bool {
        let tick = self.link.worker.current_tick() + SILENCE_TOLERANCE_TICKS;
        !self.link.is_read_paused()
            && self.post.borrow().is_none()
            && self.last_packet.get().elapsed() >= self.silence
            && tick >= self.link.silent_at()
    }

    /// Restarts the time after which the session is silent.
    pub(super) fn record_packet(&self) {
        self.last_packet.set(Instant::now());
        self.link.last_received.set(self.link.worker.current_tick());
    }

    /// Stores a poll until there is something to send. A second poll, or a poll after a cancelled one, closes the
    /// session. So does a repeated poll, because the answer to the first one may be lost.
    pub(super) fn start_poll(&self, key: RequestKey, answer: oneshot::Sender<EngineAnswer>) {
        if key.is_some() && self.last_poll.replace(key) == key {
            self.link.begin_close(Phase::Discarding, close_code::ABNORMAL, "");
            let _ = answer.send(EngineAnswer::Failed(EngineError::UnknownSession));
            return;
        }
        let waiting = self.poll.borrow().as_ref().map(oneshot::Sender::is_closed);
        let error = match waiting {
            None => {
                self.poll.replace(Some(answer));
                self.link.wake();
                return;
            }
            Some(true) => {
                self.link.begin_close(Phase::Discarding, close_code::ABNORMAL, "");
                EngineError::UnknownSession
            }
            Some(false) => {
                let reason = "two polls at the same time";
                self.link.begin_close(Phase::Discarding, close_code::PROTOCOL_ERROR, reason);
                EngineError::BadRequest
            }
        };
        let _ = answer.send(EngineAnswer::Failed(error));
    }

    /// Stores the packets of a POST for the task. A second POST at the same time closes the session. The packets of a
    /// repeated POST were taken before.
    pub(super) fn start_post(&self, key: RequestKey, body: Bytes, answer: oneshot::Sender<EngineAnswer>) {
        let is_cancelled = self.poll.borrow().as_ref().is_some_and(oneshot::Sender::is_closed);
        if is_cancelled {
            self.link.begin_close(Phase::Discarding, close_code::ABNORMAL, "");
        }
        if self.link.phase.get() != Phase::Open {
            let _ = answer.send(EngineAnswer::Failed(EngineError::UnknownSession));
            return;
        }
        if self.post.borrow().is_some() {
            let reason = "two posts at the same time";
            self.link.begin_close(Phase::Discarding, close_code::PROTOCOL_ERROR, reason);
            let _ = answer.send(EngineAnswer::Failed(EngineError::BadRequest));
            return;
        }
        if key.is_some() && self.last_post.replace(key) == key {
            let _ = answer.send(EngineAnswer::Taken);
            return;
        }
        self.record_packet();
        self.post.replace(Some(PendingPost { packets: PolledPackets::new(body), answer }));
        self.link.wake();
    }

    /// Begins an upgrade. Returns false if another upgrade has begun, or the session is closing.
    pub(super) fn begin_upgrade(&self) -> bool {
        let may_begin = self.upgrade.get() == UpgradeState::None && self.link.phase.get() == Phase::Open;
        if may_begin {
            self.upgrade.set(UpgradeState::Connected);
        }
        may_begin
    }

    /// Records that the WebSocket works, so that the client's poll is answered and the client can stop polling. Returns
    /// false if the session has closed.
    pub(super) fn set_probed(&self) -> bool {
        let is_open = self.link.phase.get() == Phase::Open;
        if is_open {
            self.upgrade.set(UpgradeState::Probed);
            self.link.wake();
        }
        is_open
    }

    /// Whether a poll must be answered at once, even if there is nothing to send.
    pub(super) fn must_answer_poll(&self) -> bool {
        matches!(self.upgrade.get(), UpgradeState::Probed | UpgradeState::Done)
    }

    /// Ends an upgrade that failed. The client continues to poll.
    pub(super) fn cancel_upgrade(&self) {
        self.upgrade.set(UpgradeState::None);
    }

    /// Passes the WebSocket to the task, which continues the session with it.
    pub(super) fn finish_upgrade(&self, socket: UpgradedSocket) {
        self.upgrade.set(UpgradeState::Done);
        self.upgraded.replace(Some(socket));
        self.link.wake();
    }

    /// Drops the waiting requests of a session whose task has ended. Their clients get the answer for an unknown
    /// session.
    pub(super) fn drop_requests(&self) {
        self.poll.take();
        self.post.take();
        self.upgraded.take();
    }
}

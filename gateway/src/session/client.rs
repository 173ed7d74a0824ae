//! A connection as hub and tasks see it: who it is, what it has joined, what waits to be done for it.

use std::{
    cell::{OnceCell, RefCell},
    collections::VecDeque,
    rc::Rc,
    time::Duration,
};

use rustc_hash::FxHashMap;
use tidings_shared::{auth::Identity, ids::RoomId};
use tokio::sync::Notify;

use super::{lane::Lanes, replay::Replay};
use crate::{
    command::State,
    hub::{Peer, Subscription},
    transport::{Connection, Frame},
};

/// A room that a connection hears of.
#[derive(Debug, Clone)]
pub(super) struct Joined {
    pub subscription: Subscription,
    pub role: Rc<str>,
}

/// See the module. Shared by the session, the hub and the tasks of one thread.
pub struct Client {
    pub(super) connection: Connection,
    pub(super) state: RefCell<State>,
    /// Name of the user, fixed with the first token.
    user: OnceCell<tidings_shared::ids::UserId>,
    rooms: RefCell<FxHashMap<RoomId, Joined>>,
    pub(super) lanes: RefCell<Lanes>,
    /// Rooms to be replayed, one after the other.
    pub(super) replays: RefCell<VecDeque<Replay>>,
    /// The outbox is low again, or the connection gone.
    pub(super) drained: Notify,
}

impl Client {
    pub(super) fn new(connection: Connection) -> Self {
        Self {
            connection,
            state: RefCell::default(),
            user: OnceCell::new(),
            rooms: RefCell::default(),
            lanes: RefCell::default(),
            replays: RefCell::default(),
            drained: Notify::new(),
        }
    }

    pub(super) fn reply(&self, json: Vec<u8>) {
        self.connection.send(Frame::text(json));
    }

    pub(super) fn set_identity(&self, identity: Identity) {
        // Later tokens are of the same user, so the first stays true.
        let _ = self.user.set(identity.user.clone());
        *self.state.borrow_mut() = State::Ready(identity);
    }

    /// Who this is; `None` before the first token was taken.
    pub(super) fn identity(&self) -> Option<Identity> {
        match &*self.state.borrow() {
            State::Ready(identity) => Some(identity.clone()),
            State::AwaitingAuth | State::Authenticating => None,
        }
    }

    /// Has the session's deadline come when its token expires.
    pub(super) fn watch_expiry(&self, now_ms: i64) {
        if let State::Ready(identity) = &*self.state.borrow() {
            self.watch_expiry_of(identity, now_ms);
        }
    }

    pub(super) fn watch_expiry_of(&self, identity: &Identity, now_ms: i64) {
        let left_ms = identity.expires_at_s.saturating_mul(1000).saturating_sub(now_ms);
        let left = Duration::from_millis(u64::try_from(left_ms).unwrap_or(0));
        // Looked at again at least once a day: no wheel turns for longer.
        self.connection.set_deadline(Some(left.min(Duration::from_secs(86_400))));
    }

    pub(super) fn joined_count(&self) -> usize {
        self.rooms.borrow().len()
    }

    pub(super) fn joined(&self, room: &RoomId) -> Option<Joined> {
        self.rooms.borrow().get(room).cloned()
    }

    /// Notes a subscription. False: the connection is gone, so nobody will take it away again but the caller.
    pub(super) fn join(&self, room: RoomId, joined: Joined) -> bool {
        if self.connection.is_closed() {
            return false;
        }
        self.rooms.borrow_mut().insert(room, joined);
        true
    }

    pub(super) fn leave(&self, room: &RoomId) -> Option<Joined> {
        self.rooms.borrow_mut().remove(room)
    }

    pub(super) fn leave_all(&self) -> FxHashMap<RoomId, Joined> {
        std::mem::take(&mut self.rooms.borrow_mut())
    }
}

impl Peer for Client {
    fn user(&self) -> &str {
        self.user.get().map_or("", |user| user.as_str())
    }

    fn send(&self, frame: Frame) {
        self.connection.send(frame);
    }
}

//! A connection as hub and tasks see it: who it is, what it has joined, what waits to be done for it.

use std::{
    cell::{Cell, OnceCell, RefCell},
    collections::VecDeque,
    rc::Rc,
    time::Duration,
};

use rustc_hash::FxHashMap;
use tidings_shared::{auth::Identity, ids::RoomId, protocol::server::ServerFrame};
use tokio::sync::Notify;

use super::{lane::Lanes, replay::Replay};
use crate::{
    command::State,
    hub::{Peer, Subscription},
    transport::{Connection, Frame},
};

/// Most answers fit; a longer one costs an allocation more.
const EXPECTED_REPLY_BYTES: usize = 256;
/// Commands of one connection whose answer may wait for storage at once; above it they are refused as overloaded.
const MAX_UNANSWERED: u16 = 1000;

/// See the module. Shared by the session, the hub and the tasks of one thread.
pub struct Client {
    pub(super) connection: Connection,
    pub(super) state: RefCell<State>,
    /// Name of the user, fixed with the first token.
    user: OnceCell<tidings_shared::ids::UserId>,
    /// Rooms that the connection hears of.
    rooms: RefCell<FxHashMap<RoomId, Subscription>>,
    pub(super) lanes: RefCell<Lanes>,
    /// Rooms to be replayed, one after the other.
    pub(super) replays: RefCell<VecDeque<Replay>>,
    /// The outbox is low again, or the connection gone.
    pub(super) drained: Notify,
    /// Reasons not to read from the connection just now.
    holds: Cell<u8>,
    /// Rooms whose join is under way.
    joining: Cell<u16>,
    /// Commands whose answer waits for storage.
    unanswered: Cell<u16>,
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
            holds: Cell::new(0),
            joining: Cell::new(0),
            unanswered: Cell::new(0),
        }
    }

    /// Sends a frame made for this connection, serialised right behind its WebSocket header.
    pub(super) fn reply(&self, frame: &ServerFrame<'_>) {
        let frame = Frame::text_with(EXPECTED_REPLY_BYTES, |buffer| {
            serde_json::to_writer(buffer, frame).expect("strings and numbers always serialise");
        });
        self.connection.send(frame);
    }

    pub(super) fn set_identity(&self, identity: Identity) {
        // Later tokens are of the same user, so the first stays true.
        let _ = self.user.set(identity.user.clone());
        *self.state.borrow_mut() = State::Ready(Rc::new(identity));
    }

    /// Who this is; `None` before the first token was taken.
    pub(super) fn identity(&self) -> Option<Rc<Identity>> {
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

    /// Stops reading until as many releases as holds were called.
    pub(super) fn hold_reading(&self) {
        self.holds.set(self.holds.get() + 1);
        self.connection.pause_reading();
    }

    pub(super) fn release_reading(&self) {
        self.holds.set(self.holds.get() - 1);
        if self.holds.get() == 0 {
            self.connection.resume_reading();
        }
    }

    /// Takes a place for a room that is about to be joined; `None`: there is none.
    pub(super) fn take_room_place(self: &Rc<Self>, max: usize) -> Option<Place> {
        let taken = self.rooms.borrow().len() + usize::from(self.joining.get());
        (taken < max).then(|| Place::take(self, |client| &client.joining))
    }

    /// Takes a place among the commands whose answer waits for storage; `None`: there are too many.
    pub(super) fn take_answer_place(self: &Rc<Self>) -> Option<Place> {
        (self.unanswered.get() < MAX_UNANSWERED).then(|| Place::take(self, |client| &client.unanswered))
    }

    pub(super) fn joined(&self, room: &RoomId) -> Option<Subscription> {
        self.rooms.borrow().get(room).copied()
    }

    /// Notes a subscription, in the place of an earlier one of the same room, which is returned.
    pub(super) fn join(&self, room: RoomId, subscription: Subscription) -> Option<Subscription> {
        self.rooms.borrow_mut().insert(room, subscription)
    }

    pub(super) fn leave(&self, room: &RoomId) -> Option<Subscription> {
        self.rooms.borrow_mut().remove(room)
    }

    pub(super) fn leave_all(&self) -> FxHashMap<RoomId, Subscription> {
        std::mem::take(&mut self.rooms.borrow_mut())
    }
}

/// A place that is given back when this is dropped.
pub(super) struct Place {
    client: Rc<Client>,
    count: fn(&Client) -> &Cell<u16>,
}

impl Place {
    fn take(client: &Rc<Client>, count: fn(&Client) -> &Cell<u16>) -> Self {
        count(client).set(count(client).get() + 1);
        Self { client: client.clone(), count }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let count = (self.count)(&self.client);
        count.set(count.get() - 1);
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

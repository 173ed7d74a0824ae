//! A connection as hub and tasks see it: who it is, what it has joined, what waits to be done for it.

use std::{
    cell::{Cell, OnceCell, RefCell},
    collections::VecDeque,
    rc::Rc,
    time::Duration,
};

use rustc_hash::FxHashMap;
use tidings_shared::{
    auth::Identity,
    error::Refusal,
    ids::{RoomId, UserId},
    protocol::{CloseCode, server::ServerFrame},
};
use tokio::sync::Notify;

use super::{farewell::Farewell, lane::Lanes, line::Line, presence::Said, replay::Replay};
use crate::{
    asked::Asked,
    command::State,
    hub::{Peer, Subscription},
    limits::Overstepping,
    transport::Frame,
    worker::Worker,
};

/// Most answers fit; a longer one costs an allocation more.
const EXPECTED_REPLY_BYTES: usize = 256;
/// Commands of one connection whose answer may wait for storage at once; above it they are refused as overloaded.
const MAX_UNANSWERED: u16 = 1000;

/// See the module. Shared by the session, the hub and the tasks of one thread.
pub struct Client {
    pub(super) connection: Line,
    pub(super) state: RefCell<State>,
    /// Name of the user, fixed with the first token.
    user: OnceCell<UserId>,
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
    /// Joins that are not answered yet.
    open_joins: Cell<u16>,
    /// Commands whose answer waits for storage.
    unanswered: Cell<u16>,
    overstepping: Cell<Overstepping>,
    /// What it says of itself.
    pub(super) said: Cell<Said>,
    /// The worker's last change of presence that it was told.
    presence_round: Cell<u32>,
    /// How far the end of the node has come for it.
    pub(super) farewell: Cell<Farewell>,
}

impl Client {
    pub(super) fn new(connection: Line) -> Self {
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
            open_joins: Cell::new(0),
            unanswered: Cell::new(0),
            overstepping: Cell::default(),
            said: Cell::default(),
            presence_round: Cell::new(0),
            farewell: Cell::default(),
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

    /// Whose connection this is; `None` before the first token was taken.
    pub(crate) fn known_user(&self) -> Option<&UserId> {
        self.user.get()
    }

    /// Unique among the connections and polls of this worker.
    pub(crate) fn id(&self) -> u64 {
        self.connection.id()
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.connection.is_closed()
    }

    /// Sends a frame that others get as well.
    pub(crate) fn tell(&self, frame: Frame) {
        self.connection.send(frame);
    }

    pub(crate) fn close(&self, code: CloseCode, reason: &str) {
        self.connection.close(code.code(), reason);
    }

    pub(crate) fn refuse_and_close(&self, worker: &Worker, refusal: &Refusal, code: CloseCode) {
        super::refuse(worker, self, &Asked::untold(None), None, refusal);
        self.close(code, &refusal.message);
    }

    /// Name and picture are these from now on.
    pub(crate) fn update_account(&self, name: Option<&str>, picture: Option<&str>) {
        let mut state = self.state.borrow_mut();
        if let State::Ready(identity) = &mut *state
            && (identity.name.as_deref() != name || identity.picture.as_deref() != picture)
        {
            let (name, picture) = (name.map(ToOwned::to_owned), picture.map(ToOwned::to_owned));
            *identity = Rc::new(Identity { name, picture, ..(**identity).clone() });
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
        if self.holds.get() == 0 && self.farewell.get() != Farewell::Overstays {
            self.connection.resume_reading();
        }
    }

    /// Whether nothing that came is still to be answered.
    pub(super) fn is_answered(&self) -> bool {
        let counts =
            [self.joining.get(), self.open_joins.get(), self.unanswered.get(), self.holds.get().into()];
        counts == [0; 4] && self.lanes.borrow().are_idle()
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

    /// Counts that this connection ran against a limit; true: it was once too often.
    pub(super) fn overstepped(&self, now_ms: i64, allowed_per_minute: u32) -> bool {
        let mut overstepping = self.overstepping.get();
        let too_often = overstepping.again(now_ms, allowed_per_minute);
        self.overstepping.set(overstepping);
        too_often
    }

    /// Sends a change of presence, unless this is the round in which it was sent already.
    pub(crate) fn tell_presence(&self, round: u32, frame: &Frame) {
        if self.presence_round.replace(round) != round {
            self.connection.send(frame.clone());
        }
    }

    /// Whether it is one long poll, which keeps nothing for the next.
    pub(super) fn is_poll(&self) -> bool {
        matches!(self.connection, Line::Poll(_))
    }

    /// The subscription by which this connection hears of a room.
    pub(crate) fn joined(&self, room: &RoomId) -> Option<Subscription> {
        self.rooms.borrow().get(room).copied().filter(|held| *held != Subscription::ENDED)
    }

    /// The rooms that this connection hears of.
    pub(crate) fn rooms(&self) -> Vec<RoomId> {
        self.rooms.borrow().keys().cloned().collect()
    }

    /// Notes a subscription, in the place of an earlier one of the same room, which is returned.
    pub(super) fn join(&self, room: RoomId, subscription: Subscription) -> Option<Subscription> {
        self.rooms.borrow_mut().insert(room, subscription).filter(|held| *held != Subscription::ENDED)
    }

    pub(super) fn leave(&self, room: &RoomId) -> Option<Subscription> {
        self.rooms.borrow_mut().remove(room).filter(|held| *held != Subscription::ENDED)
    }

    /// A join of several rooms begins: until it is answered, rooms that end meanwhile are remembered.
    pub(super) fn begin_join(&self) {
        self.open_joins.set(self.open_joins.get() + 1);
    }

    /// Whether a room has ended since a join began that is not answered yet.
    pub(super) fn has_ended(&self, room: &RoomId) -> bool {
        self.rooms.borrow().get(room) == Some(&Subscription::ENDED)
    }

    pub(super) fn end_join(&self) {
        self.open_joins.set(self.open_joins.get() - 1);
        if self.open_joins.get() == 0 {
            self.rooms.borrow_mut().retain(|_, held| *held != Subscription::ENDED);
        }
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
        self.client.go_once_answered();
    }
}

impl Peer for Client {
    fn user(&self) -> &UserId {
        self.user.get().expect("who subscribes has shown a token")
    }

    fn send(&self, frame: Frame) {
        self.connection.send(frame);
    }

    fn share(&self, frame: &Frame) {
        self.connection.share(frame);
    }

    fn ended(&self, room: &str, subscription: Subscription) {
        let mut rooms = self.rooms.borrow_mut();
        match rooms.get_mut(room) {
            Some(held) if *held == subscription && self.open_joins.get() > 0 => *held = Subscription::ENDED,
            Some(held) if *held == subscription => {
                rooms.remove(room);
            }
            _ => {}
        }
    }
}

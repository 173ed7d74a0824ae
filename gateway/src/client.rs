//! The state of one connection for the hub and the tasks: its user, its joined rooms and its pending commands.

mod auth_state;
mod drain;
mod lanes;
mod poll_buffer;
mod replay_queue;
mod transport;

use std::{
    cell::{Cell, OnceCell, RefCell},
    rc::Rc,
    time::Duration,
};

use bytes::BufMut as _;
use rustc_hash::FxHashMap;
use tidings_shared::{
    auth::Identity,
    error::Refusal,
    ids::{RoomId, UserId},
    protocol::{CloseCode, Status, server::ServerFrame},
};
use tokio::sync::Notify;

use crate::{
    hub::Subscription,
    limits::{AbuseCounter, ActivityAnswer, ActivityCounter},
    request_context::RequestContext,
    transport::Frame,
};
pub(crate) use auth_state::AuthOutcome;
pub use auth_state::AuthState;
pub(crate) use drain::CLOSE_REASON_STOPPING;
use drain::DrainState;
use lanes::Lanes;
pub(crate) use lanes::{Job, JoinGroup, JoinMemberships, LeaveGroup, Replay};
pub(crate) use poll_buffer::{KeptPollUsage, PollBuffer};
use replay_queue::ReplayQueue;
pub(crate) use transport::ClientTransport;

/// Initial capacity of an answer's buffer. Most answers fit; a longer answer costs another allocation.
const EXPECTED_REPLY_BYTES: usize = 256;
/// Maximum number of commands of one connection that wait for their outcomes, for example until an event is stored.
/// Further commands are refused as `overloaded`.
const MAX_UNANSWERED_COMMANDS: u16 = 1000;

/// The presence that a connection has reported for its user.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum ReportedPresence {
    /// The connection has reported no status: it is not authenticated, or it is a poll.
    #[default]
    None,
    Status(Status),
    /// The connection has closed.
    Closed,
}

/// The state of one connection, shared by the session, the hub and the tasks of one thread.
pub struct Client {
    pub(crate) connection: ClientTransport,
    pub(crate) state: RefCell<AuthState>,
    /// The user, set by the first token.
    user: OnceCell<UserId>,
    rooms: RefCell<FxHashMap<RoomId, Subscription>>,
    lanes: RefCell<Lanes>,
    pub(crate) replays: RefCell<ReplayQueue>,
    /// Notified when the outbox has fewer than `low_water_bytes`, when replays were added, or when the connection has
    /// closed. Only the replay task waits for it.
    pub(crate) drained: Notify,
    /// Number of calls of `pause_reading` that no call of `resume_reading` has ended yet.
    pauses: Cell<u8>,
    /// Number of rooms whose join is in progress.
    joining: Cell<u16>,
    /// Number of joins that are not answered yet.
    open_joins: Cell<u16>,
    /// Number of commands that wait for their outcomes.
    unanswered: Cell<u16>,
    abuse_counter: Cell<AbuseCounter>,
    activity_counter: Cell<ActivityCounter>,
    pub(crate) reported_presence: Cell<ReportedPresence>,
    /// The number of the last presence change that was sent to this connection.
    presence_round: Cell<u32>,
    drain_state: Cell<DrainState>,
}

impl Client {
    pub(crate) fn new(connection: ClientTransport) -> Self {
        Self {
            connection,
            state: RefCell::default(),
            user: OnceCell::new(),
            rooms: RefCell::default(),
            lanes: RefCell::default(),
            replays: RefCell::default(),
            drained: Notify::new(),
            pauses: Cell::new(0),
            joining: Cell::new(0),
            open_joins: Cell::new(0),
            unanswered: Cell::new(0),
            abuse_counter: Cell::default(),
            activity_counter: Cell::default(),
            reported_presence: Cell::default(),
            presence_round: Cell::new(0),
            drain_state: Cell::default(),
        }
    }

    /// Sends a frame to this connection only. The frame is serialised directly behind its WebSocket header.
    pub(crate) fn reply(&self, frame: &ServerFrame<'_>) {
        let frame = Frame::text_with(EXPECTED_REPLY_BYTES, |buffer| {
            serde_json::to_writer(buffer.writer(), frame).expect("strings and numbers always serialise");
        });
        self.connection.send(frame);
    }

    /// Answers a command that returns nothing with `ok`, if the command has a `ref`.
    pub(crate) fn reply_ok(&self, request: &RequestContext) {
        if let reference @ Some(_) = request.reference() {
            self.reply(&ServerFrame::Ok { reference });
        }
    }

    /// Makes the connection ready for all commands of this user, whose token and account were accepted.
    pub(crate) fn set_identity(&self, identity: Identity) {
        // Later tokens have the same user, so the first value stays valid.
        let _ = self.user.set(identity.user.clone());
        *self.state.borrow_mut() = AuthState::Ready(Rc::new(identity));
    }

    /// The identity of the connection's user; `None` before the first token was accepted.
    pub(crate) fn identity(&self) -> Option<Rc<Identity>> {
        match &*self.state.borrow() {
            AuthState::Ready(identity) => Some(identity.clone()),
            AuthState::AwaitingAuth | AuthState::Authenticating => None,
        }
    }

    /// The connection's user; `None` before the first token was accepted.
    pub(crate) fn known_user(&self) -> Option<&UserId> {
        self.user.get()
    }

    /// Closes the connection with a code of the protocol: see [`ClientTransport::close`].
    pub(crate) fn close(&self, code: CloseCode, reason: &str) {
        self.connection.close(code.code(), reason);
    }

    /// Replaces the name and picture of the identity. Does nothing before [`Client::set_identity`].
    pub(crate) fn update_account(&self, name: Option<&str>, picture: Option<&str>) {
        let mut state = self.state.borrow_mut();
        if let AuthState::Ready(identity) = &mut *state
            && (identity.name.as_deref() != name || identity.picture.as_deref() != picture)
        {
            let (name, picture) = (name.map(ToOwned::to_owned), picture.map(ToOwned::to_owned));
            *identity = Rc::new(Identity { name, picture, ..(**identity).clone() });
        }
    }

    /// Sets the connection's deadline to the expiry of the user's token. Does nothing before [`Client::set_identity`].
    pub(crate) fn set_expiry_deadline(&self, now_ms: i64) {
        if let AuthState::Ready(identity) = &*self.state.borrow() {
            // The deadline is at most a day ahead, because the timer wheel's range is limited.
            let deadline = time_until_expiry(identity, now_ms).min(Duration::from_secs(86_400));
            self.connection.set_deadline(Some(deadline));
        }
    }

    /// Stops reading until `resume_reading` was called as often as `pause_reading`.
    pub(crate) fn pause_reading(&self) {
        self.pauses.set(self.pauses.get() + 1);
        self.connection.pause_reading();
    }

    /// Ends one call of `pause_reading`. A connection that is overdue in a drain is not read again.
    pub(crate) fn resume_reading(&self) {
        self.pauses.set(self.pauses.get() - 1);
        if self.pauses.get() == 0 && self.drain_state.get() != DrainState::Overdue {
            self.connection.resume_reading();
        }
    }

    /// Whether all commands of this connection are answered.
    pub(crate) fn has_answered_all(&self) -> bool {
        let counts =
            [self.joining.get(), self.open_joins.get(), self.unanswered.get(), self.pauses.get().into()];
        counts == [0; 4] && self.lanes.borrow().jobs == 0
    }

    /// Takes a slot for a room that is about to be joined; `None` if all `max` slots are taken.
    pub(crate) fn take_room_slot(self: &Rc<Self>, max: usize) -> Option<SlotGuard> {
        let used = self.rooms.borrow().len() + usize::from(self.joining.get());
        (used < max).then(|| SlotGuard::take(self, |client| &client.joining))
    }

    /// Takes a slot for a command that waits for its outcome. Refuses the command if all slots are taken.
    pub(crate) fn take_answer_slot(self: &Rc<Self>) -> Result<SlotGuard, Refusal> {
        if self.unanswered.get() >= MAX_UNANSWERED_COMMANDS {
            let message =
                "too many commands of this connection wait for their answers; repeat this one later";
            return Err(Refusal::overloaded(message));
        }
        Ok(SlotGuard::take(self, |client| &client.unanswered))
    }

    /// Counts that this connection exceeded a rate limit. Returns true if it did so more than `allowed_per_minute`
    /// times in this minute.
    pub(crate) fn record_exceeded_limit(&self, now_ms: i64, allowed_per_minute: u32) -> bool {
        let mut abuse_counter = self.abuse_counter.get();
        let too_often = abuse_counter.count_excess(now_ms, allowed_per_minute);
        self.abuse_counter.set(abuse_counter);
        too_often
    }

    /// Sends a notice of activity, or one summary in place of all further notices of a second.
    pub(crate) fn send_activity(&self, notice: &Frame, now_ms: i64) {
        let mut counter = self.activity_counter.get();
        let answer = counter.count_notice(now_ms);
        self.activity_counter.set(counter);
        match answer {
            ActivityAnswer::Notice => self.connection.send(notice.clone()),
            // When this time has passed, no further notice of the second is dropped, so one read finds them all.
            ActivityAnswer::Summary => self.reply(&ServerFrame::RoomsActivity { after_ms: 1000 }),
            ActivityAnswer::Nothing => {}
        }
    }

    /// Sends the presence change number `round`, unless the connection already got this change through another room.
    pub(crate) fn send_presence(&self, round: u32, frame: &Frame) {
        if self.presence_round.replace(round) != round {
            self.connection.send(frame.clone());
        }
    }

    /// Whether the client is a long poll and not a WebSocket.
    pub(crate) fn is_poll(&self) -> bool {
        matches!(self.connection, ClientTransport::Poll(_))
    }

    /// The connection's subscription in a room; `None` if the connection has not joined the room.
    pub(crate) fn subscription(&self, room: &RoomId) -> Option<Subscription> {
        self.rooms.borrow().get(room).copied().filter(|subscription| *subscription != Subscription::ENDED)
    }

    /// The joined rooms, and the rooms for which [`Subscription::ENDED`] is stored.
    pub(crate) fn rooms(&self) -> Vec<RoomId> {
        self.rooms.borrow().keys().cloned().collect()
    }

    /// Stores a subscription. Returns the earlier subscription of the same room.
    pub(crate) fn insert_subscription(
        &self,
        room: RoomId,
        subscription: Subscription,
    ) -> Option<Subscription> {
        self.rooms
            .borrow_mut()
            .insert(room, subscription)
            .filter(|subscription| *subscription != Subscription::ENDED)
    }

    /// Removes the subscription of a room and returns it, so that the caller ends it; `None` if it has ended or never
    /// existed.
    pub(crate) fn remove_subscription(&self, room: &RoomId) -> Option<Subscription> {
        self.rooms.borrow_mut().remove(room).filter(|subscription| *subscription != Subscription::ENDED)
    }

    /// Removes a subscription that the hub has ended. Keeps a later subscription of the same room.
    pub(crate) fn remove_ended_subscription(&self, room: &RoomId, subscription: Subscription) {
        let mut rooms = self.rooms.borrow_mut();
        match rooms.get_mut(room) {
            Some(held) if *held == subscription && self.open_joins.get() > 0 => *held = Subscription::ENDED,
            Some(held) if *held == subscription => {
                rooms.remove(room);
            }
            _ => {}
        }
    }

    /// Begins a join. Until the join is answered, a subscription that ends is replaced by [`Subscription::ENDED`],
    /// because the answer must name the subscription's room as failed.
    pub(crate) fn begin_join(&self) {
        self.open_joins.set(self.open_joins.get() + 1);
    }

    /// Whether the subscription of a room has ended while a join was not answered yet.
    pub(crate) fn has_subscription_ended(&self, room: &RoomId) -> bool {
        self.rooms.borrow().get(room) == Some(&Subscription::ENDED)
    }

    /// Ends a join. When no join is open any more, removes every [`Subscription::ENDED`].
    pub(crate) fn end_join(&self) {
        self.open_joins.set(self.open_joins.get() - 1);
        if self.open_joins.get() == 0 {
            self.rooms.borrow_mut().retain(|_, subscription| *subscription != Subscription::ENDED);
        }
    }

    /// Takes the subscriptions of all rooms, for a connection that has closed. Some may be [`Subscription::ENDED`].
    pub(crate) fn take_subscriptions(&self) -> FxHashMap<RoomId, Subscription> {
        std::mem::take(&mut self.rooms.borrow_mut())
    }
}

/// The time until a token expires; zero if the token has expired.
pub(crate) fn time_until_expiry(identity: &Identity, now_ms: i64) -> Duration {
    let left_ms = identity.expires_at_s.saturating_mul(1000).saturating_sub(now_ms);
    Duration::from_millis(u64::try_from(left_ms).unwrap_or(0))
}

/// A slot that a join or a command takes while it is in progress. Dropping the guard frees the slot. If the client did
/// not leave in time during a drain and has nothing else in progress, this also closes the connection.
pub(crate) struct SlotGuard {
    client: Rc<Client>,
    count: fn(&Client) -> &Cell<u16>,
}

impl SlotGuard {
    fn take(client: &Rc<Client>, count: fn(&Client) -> &Cell<u16>) -> Self {
        count(client).set(count(client).get() + 1);
        Self { client: client.clone(), count }
    }
}

impl Drop for SlotGuard {
    fn drop(&mut self) {
        let count = (self.count)(&self.client);
        count.set(count.get() - 1);
        self.client.close_if_overdue();
    }
}

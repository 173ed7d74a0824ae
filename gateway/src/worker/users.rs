//! The users connected to this worker, and the delivery of events to all connections of a user on this worker.

use std::rc::Rc;

use tidings_shared::{
    clock::unix_ms,
    error::{ErrorCode, Refusal},
    ids::{Epoch, RoomId, Seq, UserId},
    membership::Versions,
    protocol::CloseCode,
};

use super::Worker;
use crate::{
    bus::{ConnectionKey, PendingRegistration, UserEvent},
    client::Client,
    request_context::RequestContext,
};

impl Worker {
    /// Registers a connection under its user, with the versions of memberships and account that were read.
    pub fn register(
        &self,
        client: &Rc<Client>,
        registration: PendingRegistration,
        versions: (Epoch, Versions),
    ) {
        // A connection that has already closed would never be unregistered.
        if !client.connection.is_closed()
            && let Some(user) = client.known_user()
        {
            self.users.borrow_mut().entry(user.clone()).or_default().push(client.clone());
            registration.register(ConnectionKey::new(self.index, client.connection.id()), versions);
        }
    }

    /// Unregisters a connection, if it was registered.
    pub fn unregister(&self, client: &Client) {
        let Some(user) = client.known_user() else { return };
        let removed = {
            let mut users = self.users.borrow_mut();
            let Some(clients) = users.get_mut(user) else { return };
            let removed = clients.remove(|other| std::ptr::eq(&**other, client));
            if clients.is_empty() {
                users.remove(user);
            }
            removed
        };
        if removed {
            self.node.bus.unregister(user, ConnectionKey::new(self.index, client.connection.id()));
        }
    }

    /// Sends an event to a user's connections on this worker.
    pub(super) fn send_event(self: &Rc<Self>, user: &UserId, event: &UserEvent) {
        // The list is copied, because an event may close a connection, and so remove it from the list.
        let clients =
            self.users.borrow().get(user).map_or_else(Vec::new, |clients| clients.as_slice().to_vec());
        for client in &clients {
            match event {
                UserEvent::Frame(frame) => client.connection.send(frame.clone()),
                UserEvent::Read { room, pushed, frame } => {
                    if !pushed || !self.receives_live_only(client, room) {
                        client.connection.send(frame.clone());
                    }
                }
                UserEvent::Activity { room, frame } => {
                    if client.subscription(room).is_none() {
                        client.send_activity(frame, unix_ms());
                    }
                }
                UserEvent::Membership { room, seq, frame } => {
                    client.connection.send(frame.clone());
                    self.refill_if_behind(client, room, *seq);
                }
                UserEvent::RoomsChanged(frame) => {
                    client.connection.send(frame.clone());
                    for room in client.rooms() {
                        self.request_refill(&room);
                    }
                }
                UserEvent::Account { name, picture } => {
                    client.update_account(name.as_deref(), picture.as_deref())
                }
                UserEvent::Blocked => {
                    let refusal = Refusal::new(ErrorCode::Forbidden, "this user is blocked or deleted");
                    self.refuse(client, &RequestContext::unobserved(None), None, &refusal);
                    client.close(CloseCode::Forbidden, &refusal.message);
                }
                UserEvent::Surplus(key) => {
                    if *key == ConnectionKey::new(self.index, client.connection.id()) {
                        client.close(CloseCode::TooManyConnections, "too many connections of this user");
                    }
                }
            }
        }
    }

    /// Whether an event reports a membership change whose record has not been sent to the room, although a connection
    /// of the user has joined the room.
    pub(super) fn is_early(&self, user: &UserId, event: &UserEvent) -> bool {
        let UserEvent::Membership { room, seq, .. } = event else { return false };
        let position = self.hub.borrow().room(room).live_position();
        let users = self.users.borrow();
        position.is_some_and(|position| position.seq < *seq)
            && users.get(user).is_some_and(|clients| {
                clients.as_slice().iter().any(|client| client.subscription(room).is_some())
            })
    }

    /// Whether a connection gets the live-only records of a room, among them receipts.
    fn receives_live_only(&self, client: &Client, room: &RoomId) -> bool {
        client
            .subscription(room)
            .is_some_and(|joined| self.hub.borrow().room(room).receives_live_only(joined))
    }

    /// Refills a joined room if its live position is below `seq`, the seq of a membership change.
    fn refill_if_behind(self: &Rc<Self>, client: &Client, room: &RoomId, seq: Seq) {
        let position = self.hub.borrow().room(room).live_position();
        if client.subscription(room).is_some() && position.is_some_and(|position| position.seq < seq) {
            self.request_refill(room);
        }
    }
}

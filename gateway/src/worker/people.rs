//! The users connected on this worker, and what reaches all of their connections here.

use std::rc::Rc;

use rustc_hash::FxHashMap;
use tidings_shared::{
    error::{ErrorCode, Refusal},
    ids::{Epoch, RoomId, Seq, UserId},
    membership::Versions,
    protocol::CloseCode,
};

use super::Worker;
use crate::{
    bus::{Entering, Place, Told},
    session::Client,
};

/// One connection needs no list.
#[allow(
    clippy::box_collection,
    reason = "one pointer, since most users have one connection, and there are many"
)]
enum Connections {
    One(Rc<Client>),
    Many(Box<Vec<Rc<Client>>>),
}

/// See the module.
#[derive(Default)]
pub(super) struct People(FxHashMap<UserId, Connections>);

impl People {
    fn add(&mut self, user: &UserId, client: Rc<Client>) {
        match self.0.remove(user) {
            None => self.0.insert(user.clone(), Connections::One(client)),
            Some(Connections::One(first)) => {
                self.0.insert(user.clone(), Connections::Many(Box::new(vec![first, client])))
            }
            Some(Connections::Many(mut all)) => {
                all.push(client);
                self.0.insert(user.clone(), Connections::Many(all))
            }
        };
    }

    /// False: it was not here.
    fn remove(&mut self, user: &UserId, client: &Client) -> bool {
        let is = |held: &Rc<Client>| std::ptr::eq(&**held, client);
        let here = match self.0.get_mut(user) {
            None => false,
            Some(Connections::One(only)) => is(only),
            Some(Connections::Many(all)) => {
                let before = all.len();
                all.retain(|held| !is(held));
                match (before > all.len(), all.len()) {
                    (true, 0) => true,
                    (here, _) => return here,
                }
            }
        };
        if here {
            self.0.remove(user);
        }
        here
    }

    /// The user's connections, by handles of their own: telling one may end another.
    fn of(&self, user: &UserId) -> Vec<Rc<Client>> {
        match self.0.get(user) {
            None => Vec::new(),
            Some(Connections::One(only)) => vec![only.clone()],
            Some(Connections::Many(all)) => all.to_vec(),
        }
    }
}

impl Worker {
    /// Gives a connection its place among its user's, knowing these versions; it leaves by [`Worker::leave`].
    pub fn enter(&self, client: &Rc<Client>, entering: Entering, versions: (Epoch, Versions)) {
        // Closed already it would never leave.
        if !client.is_closed()
            && let Some(user) = client.known_user()
        {
            self.people.borrow_mut().add(user, client.clone());
            entering.sit(Place::new(self.index, client.id()), versions);
        }
    }

    /// Takes a connection's place away, when it had one.
    pub fn leave(&self, client: &Client) {
        if let Some(user) = client.known_user()
            && self.people.borrow_mut().remove(user, client)
        {
            self.node.bus.rise(user, Place::new(self.index, client.id()));
        }
    }

    /// Tells a user's connections on this worker.
    pub(super) fn tell(self: &Rc<Self>, user: &UserId, told: &Told) {
        let clients = self.people.borrow().of(user);
        for client in &clients {
            match told {
                Told::Frame(frame) => client.tell(frame.clone()),
                Told::Read { room, pushed, frame } => {
                    if !pushed || !self.is_live(client, room) {
                        client.tell(frame.clone());
                    }
                }
                Told::Membership { room, seq, frame } => {
                    client.tell(frame.clone());
                    self.look_for(client, room, *seq);
                }
                Told::RoomsChanged(frame) => {
                    client.tell(frame.clone());
                    for room in client.rooms() {
                        self.suspect(&room);
                    }
                }
                Told::Account { name, picture } => client.update_account(name.as_deref(), picture.as_deref()),
                Told::Refused => {
                    let refusal = Refusal::new(ErrorCode::Forbidden, "this user is blocked or gone");
                    client.refuse_and_close(self, &refusal, CloseCode::Forbidden);
                }
                Told::Surplus(place) => {
                    if *place == Place::new(self.index, client.id()) {
                        client.close(CloseCode::TooManyConnections, "too many connections of this user");
                    }
                }
            }
        }
    }

    fn is_live(&self, client: &Client, room: &RoomId) -> bool {
        client.joined(room).is_some_and(|joined| self.hub.borrow().is_live(room, joined))
    }

    /// A membership changed at `seq`: the room of a connection that is not there yet is looked at.
    fn look_for(self: &Rc<Self>, client: &Client, room: &RoomId, seq: Seq) {
        let position = self.hub.borrow().live_position(room);
        if client.joined(room).is_some() && position.is_some_and(|position| position.seq < seq) {
            self.suspect(room);
        }
    }
}

//! Who is told of people who come and go: subscriptions whose join did not ask for silence. What is told so has no
//! place in the log, so it does not matter whether they are live.

use std::rc::Rc;

use tidings_shared::ids::RoomId;

use super::{Hub, Peer, Subscription};

impl<P: Peer> Hub<P> {
    /// Has a subscription told of people who come and go, from now on.
    pub fn watch(&mut self, room: &RoomId, subscription: Subscription) {
        if let Some(room) = self.rooms.get_mut(room) {
            room.watch(subscription);
        }
    }

    /// Whom to tell of someone who shares this room; a connection may be named more than once.
    pub fn watchers(&self, room: &str) -> impl Iterator<Item = &Rc<P>> {
        self.rooms.get(room).into_iter().flat_map(|room| room.watchers())
    }
}

//! The subscriptions that receive presence changes: all except those whose join declined them. Presence changes have
//! no position in the log, so a replaying subscription also receives them.

use std::rc::Rc;

use tidings_shared::ids::RoomId;

use super::{Hub, Peer, Subscription};

impl<P: Peer> Hub<P> {
    /// Makes a subscription receive presence changes from now on.
    pub fn watch_presence(&mut self, room: &RoomId, subscription: Subscription) {
        if let Some(room) = self.rooms.get_mut(room) {
            room.watch_presence(subscription);
        }
    }

    /// The peers that receive presence changes in this room. A connection may occur more than once.
    pub fn presence_watchers(&self, room: &str) -> impl Iterator<Item = &Rc<P>> {
        self.rooms.get(room).into_iter().flat_map(|room| room.presence_watchers())
    }
}

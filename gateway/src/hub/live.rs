//! Live-only frames: records without a position in the log. They reach the live subscriptions of the room and change
//! no position. A replaying subscription gets none.

use tidings_shared::log::{Record, record::is_visible_to};

use super::{Peer, room::Room};
use crate::transport::Frame;

/// Whether a live-only record reaches a user: a record with a visibility reaches the named users and roles only; other
/// records reach everyone except the sender.
fn reaches(record: &Record, user: &str, role: &str) -> bool {
    let named = record.visibility();
    if named.is_empty() { record.sender() != user } else { is_visible_to(named, "", user, role) }
}

impl<P: Peer> Room<P> {
    pub fn deliver_live(&self, record: &Record, frame: &Frame) {
        for (peer, role) in self.live_peers() {
            if reaches(record, peer.user().as_str(), role) {
                peer.send_shared(frame);
            }
        }
    }
}

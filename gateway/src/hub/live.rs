//! Live-only frames: what has no place in the log. They reach who is live in the room at that moment, and touch no
//! position. A replaying subscription gets none: it is not there yet.

use tidings_shared::log::{Record, record::is_visible_to};

use super::{Peer, room::Room};
use crate::transport::Frame;

/// Whom a live-only record reaches: those it names, their sender too when named; else everyone but its sender.
fn reaches(record: &Record, user: &str, role: &str) -> bool {
    let named = record.visibility();
    if named.is_empty() { record.sender() != user } else { is_visible_to(named, "", user, role) }
}

impl<P: Peer> Room<P> {
    pub fn deliver_live(&self, record: &Record, frame: &Frame) {
        for (peer, role) in self.live_peers() {
            if reaches(record, peer.user().as_str(), role) {
                peer.share(frame);
            }
        }
    }
}

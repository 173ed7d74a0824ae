//! The messages from the bus to the workers.

use std::sync::Arc;

use tidings_shared::ids::{RoomId, Seq, UserId};

use super::{connections::ConnectionKey, published::PublishedRecord};
use crate::transport::Frame;

/// A message for a worker, shared by all receivers.
#[derive(Debug, Clone)]
pub enum WorkerMessage {
    /// A published record and its frame.
    Record { record: Arc<PublishedRecord>, frame: Frame },
    /// An event for the connections of a user.
    User { user: UserId, event: Arc<UserEvent> },
}

/// An event for a user's connections on a worker. Frames are encoded once for the node.
#[derive(Debug)]
pub enum UserEvent {
    /// A frame for all of the connections.
    Frame(Frame),
    /// A read mark of the user. `pushed`: the room's receipts are published, so a connection that is live in the room
    /// gets the mark with these receipts instead.
    Read { room: RoomId, pushed: bool, frame: Frame },
    /// A membership changed at `seq`.
    Membership { room: RoomId, seq: Seq, frame: Frame },
    /// Memberships may have changed without a notice.
    RoomsChanged(Frame),
    /// The current account.
    Account { name: Option<String>, picture: Option<String> },
    /// The user is blocked or was deleted.
    Blocked,
    /// This connection is the user's oldest, and the user has one too many.
    Surplus(ConnectionKey),
}

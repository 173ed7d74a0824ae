//! The messages from the bus to the workers.

use std::sync::Arc;

use tidings_shared::ids::{RoomId, Seq, UserId};

use super::{connections::ConnectionKey, published::PublishedRecord};
use crate::transport::Frame;

/// A message from the bus to workers. All clones of a message share its content.
#[derive(Debug, Clone)]
pub enum WorkerMessage {
    /// A published record and its frame.
    Record { record: Arc<PublishedRecord>, frame: Frame },
    /// An event for the connections of a user.
    User { user: UserId, event: Arc<UserEvent> },
}

/// An event for a user's connections on a worker. Each frame is encoded once for the whole node.
#[derive(Debug)]
pub enum UserEvent {
    /// A frame for all connections of the user.
    Frame(Frame),
    /// The user's read mark in a room. `pushed` means that the room publishes receipts, so a connection that is live in
    /// the room gets the mark with the receipts and not with this frame.
    Read { room: RoomId, pushed: bool, frame: Frame },
    /// The user's membership in a room was changed by the event with this seq.
    Membership { room: RoomId, seq: Seq, frame: Frame },
    /// The user's memberships may have changed. The frame is `rooms:changed`.
    RoomsChanged(Frame),
    /// The name and picture of the user's account, which may have changed.
    Account { name: Option<String>, picture: Option<String> },
    /// The user is blocked or was deleted.
    Blocked,
    /// The key of the user's oldest connection, which must close because the user has one connection too many.
    Surplus(ConnectionKey),
}

//! The outcomes of the hub's methods.

use tidings_shared::ids::RoomId;

/// What the hub did with a published record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dispatch {
    /// Sent to all live subscriptions that may see it.
    Delivered,
    /// No subscription was live. Later joins read the record from the tail.
    NobodyLive,
    /// The record is of an older epoch, or was sent already.
    Stale,
    /// The record does not follow the last sent one: the room must be refilled.
    Refill,
    /// As `Refill`, but a refill runs already.
    RefillUnderWay,
}

/// The outcome of a refill.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RefillOutcome {
    /// The tail held all missing records, and they were sent.
    FromTail,
    /// The tail did not hold all missing records, or the subscriptions were above the epoch's base: they were sent
    /// `room:gap`.
    Gap,
    /// The read is stale, or lacks the mark of a live subscriber: the room must be read again.
    Retry,
    /// The marks do not give every role in this epoch: read the roles from persistence, then read the room again.
    RolesUnknown,
}

/// The outcome of [`Hub::refresh_role`](super::Hub::refresh_role).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RoleRefresh {
    /// The role is as of the read, or later.
    UpToDate,
    /// The subscription has ended.
    Ended,
    /// The mark does not give the role in this epoch: read the role from persistence, then read the room again.
    RoleUnknown,
}

/// The subscriptions of one room that a call has ended because of removals. The caller counts them and unsubscribes
/// the room's channel.
#[derive(Debug, Default)]
#[must_use]
pub struct Ended {
    pub subscriptions: usize,
    /// The room, if no subscription is left, so that its channel is not wanted any more.
    pub room: Option<RoomId>,
}

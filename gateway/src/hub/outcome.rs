//! The outcomes of the hub's methods.

use tidings_shared::ids::RoomId;

/// The outcome of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dispatch {
    /// Sent to all live subscriptions that may see it.
    Delivered,
    /// No subscription was live. Joins read the record from the tail.
    NobodyLive,
    /// Of an older epoch, or already sent.
    Stale,
    /// The record does not follow the last sent one: the room must be refilled.
    Refill,
    /// As `Refill`, but a refill runs already.
    RefillUnderWay,
}

/// The outcome of a refill.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RefillOutcome {
    /// The tail held all missing records: they were sent.
    FromTail,
    /// The tail did not hold them, or the epoch's base is lower: live subscriptions were sent the gap.
    Gap,
    /// The read is stale or misses a live subscriber: read again.
    Retry,
    /// The marks do not give every role in this epoch: read the roles from persistence, then read the room again.
    RolesUnknown,
}

/// The outcome of a read for a replaying subscription.
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
    /// The room, if it has no subscription now: its channel is not wanted any more.
    pub room: Option<RoomId>,
}

//! What the hub answers: what a record, a refill or a replay's read led to.

use tidings_shared::ids::RoomId;

/// What a record led to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dispatch {
    /// Sent to all live subscriptions that may see it.
    Delivered,
    /// Nobody was live: those who join bring it from the tail.
    NobodyLive,
    /// Of an older epoch, or already sent.
    Stale,
    /// It does not follow on what was sent: the room is to be refilled.
    Refill,
    /// As `Refill`, and a refill is already under way.
    RefillUnderWay,
}

/// How a refill ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refilled {
    /// The tail reached back: the missing records were sent.
    FromTail,
    /// It did not, or the epoch's base lies lower: live subscriptions were told the gap.
    Gap,
    /// What was read is not yet up to what is known to exist, or not of all who are live: read again.
    Again,
    /// The marks do not tell everybody's role in this epoch: ask persistence for the roles, then read again.
    RolesUnknown,
}

/// What a read means for a subscription that replays.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Renewed {
    /// Its role is as of what was read, or later.
    Stands,
    /// It is gone.
    Ended,
    /// The mark does not tell the role in this epoch: ask persistence, then read again.
    RoleUnknown,
}

/// What ended because of removals.
#[derive(Debug, Default)]
pub struct Ended {
    pub subscriptions: usize,
    /// Rooms without a subscription now: their channels are not wanted any more.
    pub rooms: Vec<RoomId>,
}

//! The outcomes of the hub's methods.

/// What the hub did with a published record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DispatchOutcome {
    /// The record was sent to all live subscriptions that may see it.
    Delivered,
    /// No subscription was live. Later joins read the record from the room's tail.
    NobodyLive,
    /// The record is of an older epoch, or was sent already.
    Stale,
    /// The record does not follow the last sent record, so the room must be refilled.
    Refill,
    /// A refill of the room is already running, and will send the record.
    RefillUnderWay,
}

/// The outcome of [`Hub::refill`](super::Hub::refill).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RefillOutcome {
    /// The tail held all missing records, and the live subscriptions were sent these records.
    FromTail,
    /// At least one subscription was sent `room:gap`, because the tail did not hold all missing records, or because the
    /// subscription was above the base of the new epoch.
    Gap,
    /// The read is stale, or lacks the membership mark of a live subscriber, so the room must be read again.
    Retry,
    /// The membership marks do not give every role. The caller must read the roles from persistence, then the room
    /// again.
    RolesUnknown,
}

/// The outcome of [`Hub::refresh_role`](super::Hub::refresh_role).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RoleRefresh {
    /// The role is as of the head of the read, or later.
    UpToDate,
    /// The subscription has ended.
    Ended,
    /// The membership mark does not give the role. The caller must read the role from persistence, then the room again.
    RoleUnknown,
}

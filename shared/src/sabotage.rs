//! Fault injection: one fault for each guarantee, chosen at run time, so that tests can prove that they notice it. It
//! exists only in builds with the feature `sabotage`, which the system tests use, and never in release builds, even
//! with the feature. In other builds [`is_active`] is always `false` and costs nothing.

/// The environment variable whose value chooses the fault.
pub const VARIABLE: &str = "TIDINGS_SABOTAGE";

/// The faults.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sabotage {
    /// A gateway delivers records at or below the position of the room again.
    Order,
    /// A gateway appends a repetition with another client id.
    Once,
    /// The answer to a sender is `stored` as soon as the record is in Redis.
    Stored,
    /// The writer skips records and continues after them.
    Prefix,
    /// A gateway skips some records, and delivers the records after them.
    Complete,
    /// Live delivery ignores the visibility of records.
    Private,
    /// A cursor of an earlier epoch always stays valid.
    Epoch,
    /// The outboxes of slow connections are unbounded.
    Bounded,
}

impl Sabotage {
    /// All faults with their names in the variable.
    pub const ALL: [(&'static str, Self); 8] = [
        ("order", Self::Order),
        ("once", Self::Once),
        ("stored", Self::Stored),
        ("prefix", Self::Prefix),
        ("complete", Self::Complete),
        ("private", Self::Private),
        ("epoch", Self::Epoch),
        ("bounded", Self::Bounded),
    ];
}

/// Whether this fault is chosen.
#[cfg(all(feature = "sabotage", debug_assertions))]
#[must_use]
pub fn is_active(sabotage: Sabotage) -> bool {
    static CHOSEN: std::sync::LazyLock<Option<Sabotage>> = std::sync::LazyLock::new(|| {
        let name = std::env::var(VARIABLE).ok()?;
        let chosen = Sabotage::ALL.into_iter().find(|(known, _)| *known == name).map(|(_, chosen)| chosen);
        tracing::error!(
            name,
            known = chosen.is_some(),
            "fault injection is on: this process breaks a guarantee on purpose"
        );
        chosen
    });
    *CHOSEN == Some(sabotage)
}

/// Whether this fault is chosen: never in this build.
#[cfg(not(all(feature = "sabotage", debug_assertions)))]
#[must_use]
#[inline]
pub const fn is_active(_: Sabotage) -> bool {
    false
}

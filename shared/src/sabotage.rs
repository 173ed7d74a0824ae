//! Fault injection: one fault for each guarantee, chosen at run time, so that tests can prove that they notice it. It
//! exists only in builds with the feature `sabotage`, which the system tests use, and never in release builds, even
//! with the feature. In other builds [`is_active`] is always `false` and costs nothing.

use crate::named_enum::named_enum;

/// The environment variable whose value chooses the fault.
pub const VARIABLE: &str = "TIDINGS_SABOTAGE";

named_enum! {
    /// The faults, with their names in the variable.
    pub enum Sabotage {
        /// A gateway delivers records at or below the position of the room again.
        Order = "order",
        /// A gateway appends a repetition with another client id.
        Once = "once",
        /// The answer to a sender is `stored` as soon as the record is in Redis.
        Stored = "stored",
        /// The writer skips records and continues after them.
        Prefix = "prefix",
        /// A gateway skips some records, and delivers the records after them.
        Complete = "complete",
        /// Live delivery ignores the visibility of records.
        Private = "private",
        /// A cursor of an earlier epoch always stays valid.
        Epoch = "epoch",
        /// The outboxes of slow connections are unbounded.
        Bounded = "bounded",
    }
}

/// Whether this fault is chosen.
#[cfg(all(feature = "sabotage", debug_assertions))]
#[must_use]
pub fn is_active(sabotage: Sabotage) -> bool {
    static CHOSEN: std::sync::LazyLock<Option<Sabotage>> = std::sync::LazyLock::new(|| {
        let name = std::env::var(VARIABLE).ok()?;
        let chosen = Sabotage::ALL.into_iter().find(|fault| fault.as_str() == name);
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

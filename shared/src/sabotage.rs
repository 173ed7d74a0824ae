//! Fault injection: for each guarantee there is a fault that breaks the guarantee, so that a test can prove that it
//! notices the fault. The faults exist only in debug builds with the feature `sabotage`, which the system tests use. In
//! all other builds [`is_active`] is always `false` and costs nothing.

use crate::named_enum::named_enum;

/// The environment variable that contains the name of the active fault.
pub const VARIABLE: &str = "TIDINGS_SABOTAGE";

named_enum! {
    /// The faults that a process can have, with their names in the variable [`VARIABLE`].
    pub enum Sabotage {
        /// A gateway delivers records again that it has already delivered.
        Order = "order",
        /// A gateway appends a repeated message with another client id.
        Once = "once",
        /// The service answers a sender with `stored` as soon as the record is in Redis.
        Stored = "stored",
        /// Persistence skips records and writes the records after them.
        Prefix = "prefix",
        /// A gateway skips some records, and delivers the records after them.
        Complete = "complete",
        /// Live delivery ignores the visibility of records.
        Private = "private",
        /// A cursor of an earlier epoch is always accepted as valid.
        Epoch = "epoch",
        /// The outboxes of slow connections are unbounded.
        Bounded = "bounded",
    }
}

/// Whether this fault is active, according to the variable [`VARIABLE`].
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

/// Whether this fault is active, which is never the case in this build.
#[cfg(not(all(feature = "sabotage", debug_assertions)))]
#[must_use]
#[inline]
pub const fn is_active(_: Sabotage) -> bool {
    false
}

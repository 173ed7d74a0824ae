//! Faults of our own, chosen at run time, by which the tests show that they would notice: one for each promise. Only in
//! builds with the feature `sabotage`, which the tests of the whole system ask for, and never in a release build, whatever
//! is asked for. Elsewhere [`is`] is `false` and costs nothing.

/// Which fault: the value of this environment variable.
pub const VARIABLE: &str = "TIDINGS_SABOTAGE";

/// What is broken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sabotage {
    /// A gateway delivers records that are older than where a room stands.
    Order,
    /// A gateway appends a repetition under another client id.
    Once,
    /// A sender is told `stored` as soon as the record is in Redis.
    Stored,
    /// The writer leaves records out and goes on behind them.
    Prefix,
    /// A gateway misses hints, and delivers what comes behind the hole.
    Complete,
    /// Live delivery does not ask for whom a record is.
    Private,
    /// A cursor stays good whatever became of its epoch.
    Epoch,
    /// Slow connections hold as much as comes.
    Bounded,
}

impl Sabotage {
    /// As the variable names them.
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

/// Whether this is what is to be broken.
#[cfg(all(feature = "sabotage", debug_assertions))]
#[must_use]
pub fn is(sabotage: Sabotage) -> bool {
    static CHOSEN: std::sync::LazyLock<Option<Sabotage>> = std::sync::LazyLock::new(|| {
        let name = std::env::var(VARIABLE).ok()?;
        let chosen = Sabotage::ALL.into_iter().find(|(known, _)| *known == name).map(|(_, chosen)| chosen);
        tracing::error!(
            name,
            known = chosen.is_some(),
            "this process breaks its promises, as it was told to"
        );
        chosen
    });
    *CHOSEN == Some(sabotage)
}

/// Whether this is what is to be broken: it never is.
#[cfg(not(all(feature = "sabotage", debug_assertions)))]
#[must_use]
#[inline]
pub const fn is(_: Sabotage) -> bool {
    false
}

//! Fault injection for tests. Each guarantee has a fault that breaks the guarantee, and a test that must notice the
//! fault. A test can also remove single rules of the core, to prove that each rule is needed. A rule that is part of a
//! script or an SQL statement is removed by replacing its text. Only debug builds with the feature `sabotage`, which
//! the system tests use, contain faults.

use std::borrow::Cow;

use crate::named_enum::named_enum;

/// The environment variable that contains the names of the active faults, separated by commas. Of `order`, `complete` and
/// `private` only one can be active.
pub const FAULT_VARIABLE: &str = "TIDINGS_SABOTAGE";

/// The environment variable with the removed rules, separated by U+001E. Each rule is the name in a call of
/// [`is_removed`], or two texts separated by U+001F: a text in a script or an SQL statement, and its replacement.
pub const RULES_VARIABLE: &str = "TIDINGS_SABOTAGE_RULES";

named_enum! {
    /// The faults that a process can have, with their names in the variable [`FAULT_VARIABLE`].
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
        /// The feed leaves out some events.
        Feed = "feed",
        /// The feed returns two rows of a partition in the wrong order, as if two writers had stored them at once.
        FeedOrder = "feed-order",
        /// Webhooks forget some deliveries before they succeed.
        Webhook = "webhook",
        /// Ordered endpoints get the events of a room from several senders at once.
        WebhookOrder = "webhook-order",
        /// The sweep removes files that messages show.
        File = "file",
        /// The metadata of images stays.
        Metadata = "metadata",
        /// The preview of an image is not stored.
        Preview = "preview",
        /// Push forgets some notifications before an attempt.
        Push = "push",
        /// The outboxes of slow connections are unbounded.
        Bounded = "bounded",
    }
}

/// Whether this fault is active, according to the variable [`FAULT_VARIABLE`].
#[cfg(all(feature = "sabotage", debug_assertions))]
#[must_use]
pub fn is_active(sabotage: Sabotage) -> bool {
    static ACTIVE_FAULTS: std::sync::LazyLock<Vec<Sabotage>> = std::sync::LazyLock::new(|| {
        let names = std::env::var(FAULT_VARIABLE).unwrap_or_default();
        let (mut active, mut unknown) = (Vec::new(), Vec::new());
        for name in names.split(',').filter(|name| !name.is_empty()) {
            match Sabotage::ALL.into_iter().find(|fault| fault.as_str() == name) {
                Some(fault) => active.push(fault),
                None => unknown.push(name),
            }
        }
        if !names.is_empty() {
            tracing::error!(
                names,
                ?unknown,
                "fault injection is on: this process breaks guarantees on purpose"
            );
        }
        active
    });
    ACTIVE_FAULTS.contains(&sabotage)
}

/// Whether this fault is active, which is never the case in this build.
#[cfg(not(all(feature = "sabotage", debug_assertions)))]
#[must_use]
#[inline]
pub const fn is_active(_: Sabotage) -> bool {
    false
}

#[cfg(all(feature = "sabotage", debug_assertions))]
static REMOVED_RULES: std::sync::LazyLock<Vec<String>> = std::sync::LazyLock::new(|| {
    let rules = std::env::var(RULES_VARIABLE).unwrap_or_default();
    rules.split('\u{1e}').filter(|rule| !rule.is_empty()).map(ToOwned::to_owned).collect()
});

/// Whether the rule with this name is removed, according to the variable [`RULES_VARIABLE`].
#[cfg(all(feature = "sabotage", debug_assertions))]
#[must_use]
pub fn is_removed(rule: &str) -> bool {
    let removed = REMOVED_RULES.iter().any(|removed| removed == rule);
    if removed {
        tracing::error!(rule, "fault injection is on: a rule is removed");
    }
    removed
}

/// Returns the text of a script or an SQL statement without the rules that [`RULES_VARIABLE`] removes.
#[cfg(all(feature = "sabotage", debug_assertions))]
#[must_use]
pub fn without_rules(text: &str) -> Cow<'_, str> {
    let mut text = Cow::Borrowed(text);
    for (rule, replacement) in REMOVED_RULES.iter().filter_map(|removed| removed.split_once('\u{1f}')) {
        if text.contains(rule) {
            tracing::error!(rule, "fault injection is on: a rule is removed");
            text = Cow::Owned(text.replace(rule, replacement));
        }
    }
    text
}

/// Whether a rule is removed, which is never the case in this build.
#[cfg(not(all(feature = "sabotage", debug_assertions)))]
#[must_use]
#[inline]
pub const fn is_removed(_: &str) -> bool {
    false
}

/// Returns the text as it is, because this build removes no rules.
#[cfg(not(all(feature = "sabotage", debug_assertions)))]
#[must_use]
#[inline]
pub const fn without_rules(text: &str) -> Cow<'_, str> {
    Cow::Borrowed(text)
}

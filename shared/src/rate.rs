//! How fast a user may do something: the same rule on whichever service they do it.

use std::num::NonZeroU32;

/// How many seconds' worth may come at once, where no burst is set: someone who comes back joins and marks many rooms
/// in one go.
const BURST_S: u32 = 4;

/// How fast one kind of command may come.
#[derive(Debug, Clone, Copy)]
pub struct Rate {
    pub per_second: NonZeroU32,
    pub burst: NonZeroU32,
}

impl Rate {
    /// This many per second, and what comes in [`BURST_S`] at once.
    #[must_use]
    pub fn per_second(per_second: NonZeroU32) -> Self {
        Self { per_second, burst: per_second.saturating_mul(NonZeroU32::MIN.saturating_add(BURST_S - 1)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_lets_some_seconds_worth_through_at_once() {
        assert_eq!(Rate::per_second(NonZeroU32::new(10).unwrap()).burst.get(), 40);
        assert_eq!(Rate::per_second(NonZeroU32::MAX).burst, NonZeroU32::MAX);
    }
}

//! Persistence is left alone for a moment after it failed again and again, since PostgreSQL is away: whoever asks then is
//! told at once, instead of one after the other after a time limit each.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// One may fail for what it asks; so many in a row, with no answer to anybody in between, do not.
const FAILURES: u32 = 3;
/// Below what clients are told to wait (`retry_after_ms`): when it is back, nobody is told twice.
const REST: Duration = Duration::from_millis(500);
/// Longer than any question takes: whoever was to find out was cut off.
const FINDING_OUT: Duration = Duration::from_secs(10);

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Rest(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    in_a_row: u32,
    until: Option<Instant>,
}

impl Rest {
    /// Whether whoever calls is to be told that it is away. After each rest one is not, and finds out for all: the others
    /// would hold up what comes behind them in their rooms.
    pub fn lasts(&self, now: Instant) -> bool {
        let mut state = self.state();
        match state.until {
            None => false,
            Some(until) if now < until => true,
            Some(_) => {
                state.until = Some(now + FINDING_OUT);
                false
            }
        }
    }

    /// Persistence answered.
    pub fn over(&self) {
        *self.state() = State::default();
    }

    /// Persistence failed, all replicas of it.
    pub fn failed(&self, now: Instant) {
        let mut state = self.state();
        state.in_a_row = state.in_a_row.saturating_add(1);
        if state.in_a_row >= FAILURES {
            state.until = Some(now + REST);
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // No code that runs under the lock can panic half-way through a change.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn after_failures_in_a_row_it_rests_for_a_moment_and_one_answer_ends_it() {
        let (rest, begun) = (Rest::default(), Instant::now());
        for _ in 1..FAILURES {
            rest.failed(begun);
        }
        assert!(!rest.lasts(begun), "one or two may fail for what they ask");
        rest.failed(begun);
        assert!(rest.lasts(begun) && !rest.lasts(begun + REST));
        assert!(rest.lasts(begun + REST), "one finds out for all");
        assert!(!rest.lasts(begun + REST + FINDING_OUT), "another one, should the first not come back");
        rest.failed(begun + REST);
        assert!(rest.lasts(begun + REST), "it is still away");
        rest.over();
        assert!(!rest.lasts(begun + REST));
        rest.failed(begun + REST);
        assert!(!rest.lasts(begun + REST), "they are counted anew");
    }
}

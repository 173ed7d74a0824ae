//! A circuit breaker for requests to persistence. Several failures in a row mean that persistence or PostgreSQL is
//! unavailable. Then requests fail at once for 500 ms, so that callers do not wait for one timeout after the other.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Number of failures in a row that mean an outage. One failure may be the request's own fault.
const FAILURES_TO_OPEN: u32 = 3;
/// How long the breaker refuses requests (is open). This is shorter than the time that clients wait before a retry
/// (`retry_after_ms`), so that the breaker refuses no client twice after the outage.
const OPEN_FOR: Duration = Duration::from_millis(500);

/// Counts failures in a row, and refuses requests while persistence does not answer.
#[derive(Debug, Default)]
pub(super) struct CircuitBreaker(Mutex<BreakerState>);

#[derive(Debug, Default)]
struct BreakerState {
    failures: u32,
    open_until: Option<Instant>,
    /// Whether a trial request is running.
    has_trial: bool,
}

impl CircuitBreaker {
    /// Begins a request; returns `None` if it must be refused at once. After each open period one trial request is
    /// allowed. Other requests are still refused, because a waiting request would delay the later commands for the same
    /// room.
    pub fn begin(&self, now: Instant) -> Option<Attempt<'_>> {
        let mut state = self.state();
        let is_trial = match state.open_until {
            None => false,
            Some(until) if now < until || state.has_trial => return None,
            Some(_) => true,
        };
        state.has_trial |= is_trial;
        Some(Attempt { breaker: self, is_trial })
    }

    fn state(&self) -> MutexGuard<'_, BreakerState> {
        // A poisoned lock is usable, because no code that holds the lock can panic in the middle of a change.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A request that the breaker has allowed. A trial that is dropped without a result was cancelled by its caller. This
/// says nothing about persistence, so another trial is allowed at once.
#[derive(Debug)]
pub(super) struct Attempt<'a> {
    breaker: &'a CircuitBreaker,
    is_trial: bool,
}

impl Attempt<'_> {
    /// Records that persistence has answered the request, which closes the breaker.
    pub fn record_success(self) {
        let mut state = self.breaker.state();
        (state.failures, state.open_until) = (0, None);
    }

    /// Records that the request failed on all replicas of persistence.
    pub fn record_failure(self, now: Instant) {
        let mut state = self.breaker.state();
        state.failures = state.failures.saturating_add(1);
        if state.failures >= FAILURES_TO_OPEN {
            state.open_until = Some(now + OPEN_FOR);
        }
    }
}

impl Drop for Attempt<'_> {
    fn drop(&mut self) {
        if self.is_trial {
            self.breaker.state().has_trial = false;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_in_a_row_open_the_breaker_and_success_closes_it() {
        let (breaker, begun) = (CircuitBreaker::default(), Instant::now());
        let fail = |at| breaker.begin(at).expect("allowed").record_failure(at);
        for _ in 1..FAILURES_TO_OPEN {
            fail(begun);
        }
        fail(begun);
        assert!(breaker.begin(begun).is_none());
        let later = begun + OPEN_FOR;
        let trial = breaker.begin(later).expect("there is one trial request");
        assert!(breaker.begin(later).is_none(), "there is only one trial request");
        trial.record_failure(later);
        assert!(breaker.begin(later).is_none(), "the trial failed");
        breaker.begin(later + OPEN_FOR).expect("another trial").record_success();
        fail(later + OPEN_FOR);
        assert!(breaker.begin(later + OPEN_FOR).is_some(), "counting starts again");
    }

    #[test]
    fn cancelled_trial_is_followed_by_another() {
        let (breaker, begun) = (CircuitBreaker::default(), Instant::now());
        for _ in 0..FAILURES_TO_OPEN {
            breaker.begin(begun).expect("allowed").record_failure(begun);
        }
        drop(breaker.begin(begun + OPEN_FOR).expect("a trial"));
        assert!(breaker.begin(begun + OPEN_FOR).is_some());
    }
}

//! A circuit breaker for requests to persistence. Several failures in a row mean that PostgreSQL is unavailable. Then
//! requests fail at once for 500 ms, so that callers do not wait for one timeout after the other.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Number of failures in a row that mean an outage. One failure may be the request's own fault.
const FAILURES_TO_OPEN: u32 = 3;
/// How long the breaker refuses requests (is open). This is shorter than the time that clients wait before a retry
/// (`retry_after_ms`), so that the breaker refuses no client twice after the outage.
const OPEN_FOR: Duration = Duration::from_millis(500);
/// After this time without a result of the trial request, the breaker allows another trial request. No request takes
/// longer, so the caller of the first trial request was cancelled.
const TRIAL_TIMEOUT: Duration = Duration::from_secs(10);

/// Counts failures in a row, and refuses requests while persistence does not answer.
#[derive(Debug, Default)]
pub(super) struct CircuitBreaker(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    failures: u32,
    open_until: Option<Instant>,
}

impl CircuitBreaker {
    /// Whether a request must be refused at once. After each open period one trial request is allowed. Other requests
    /// are still refused, because a waiting request would delay the later commands for the same room.
    pub fn refuses(&self, now: Instant) -> bool {
        let mut state = self.state();
        match state.open_until {
            None => false,
            Some(until) if now < until => true,
            Some(_) => {
                state.open_until = Some(now + TRIAL_TIMEOUT);
                false
            }
        }
    }

    /// Reports that persistence has answered a request, which ends the refusals.
    pub fn succeeded(&self) {
        *self.state() = State::default();
    }

    /// Reports that a request failed on all replicas of persistence.
    pub fn failed(&self, now: Instant) {
        let mut state = self.state();
        state.failures = state.failures.saturating_add(1);
        if state.failures >= FAILURES_TO_OPEN {
            state.open_until = Some(now + OPEN_FOR);
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // A poisoned lock is usable, because no code under it can panic half-way through a change.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_in_a_row_open_the_breaker_and_success_closes_it() {
        let (breaker, begun) = (CircuitBreaker::default(), Instant::now());
        for _ in 1..FAILURES_TO_OPEN {
            breaker.failed(begun);
        }
        assert!(!breaker.refuses(begun), "one or two failures may be the fault of the requests");
        breaker.failed(begun);
        assert!(breaker.refuses(begun) && !breaker.refuses(begun + OPEN_FOR));
        assert!(breaker.refuses(begun + OPEN_FOR), "there is one trial request");
        assert!(!breaker.refuses(begun + OPEN_FOR + TRIAL_TIMEOUT), "a second trial after a lost one");
        breaker.failed(begun + OPEN_FOR);
        assert!(breaker.refuses(begun + OPEN_FOR), "the trial failed");
        breaker.succeeded();
        assert!(!breaker.refuses(begun + OPEN_FOR));
        breaker.failed(begun + OPEN_FOR);
        assert!(!breaker.refuses(begun + OPEN_FOR), "counting starts again");
    }
}

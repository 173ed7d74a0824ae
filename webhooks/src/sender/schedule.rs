//! When a failed delivery is tried again. Pure.

use std::time::Duration;

use crate::config::MAX_RETRY_DELAY;
use crate::store::deliveries::NextStep;

/// Longest time that an endpoint may ask for by `Retry-After`.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(24 * 3600);
/// A pause is up to this share longer, so that the events of an endpoint do not come back all at once.
const JITTER: f64 = 0.2;

/// What follows the failed attempt of this number, from 0. `retry_after` is what the endpoint asked for, and `jitter` is
/// a random number from 0 to 1.
pub fn next_step(delays: &[Duration], number: i32, retry_after: Option<Duration>, jitter: f64) -> NextStep {
    let number = usize::try_from(number).unwrap_or_default();
    let Some(delay) = delays.get(number) else { return NextStep::Die };
    let delay =
        delay.max(&retry_after.unwrap_or_default().min(MAX_RETRY_AFTER)).mul_f64(1.0 + JITTER * jitter);
    NextStep::RetryAfter(delay.min(MAX_RETRY_DELAY))
}

#[cfg(test)]
mod tests {
    use super::*;

    const DELAYS: [Duration; 2] = [Duration::from_secs(5), Duration::from_secs(300)];

    #[test]
    fn delivery_dies_after_attempt_behind_last_pause() {
        let after = |number| next_step(&DELAYS, number, None, 0.0);
        assert_eq!(after(0), NextStep::RetryAfter(DELAYS[0]));
        assert_eq!(after(1), NextStep::RetryAfter(DELAYS[1]));
        assert_eq!(after(2), NextStep::Die);
        assert_eq!(after(3), NextStep::Die);
    }

    #[test]
    fn pause_has_jitter_and_honours_bounded_retry_after() {
        let after = |asked, jitter| next_step(&DELAYS, 0, Some(Duration::from_secs(asked)), jitter);
        assert_eq!(after(1, 1.0), NextStep::RetryAfter(Duration::from_secs(6)));
        assert_eq!(after(100, 0.0), NextStep::RetryAfter(Duration::from_secs(100)));
        assert_eq!(after(u64::MAX, 0.0), NextStep::RetryAfter(MAX_RETRY_AFTER));
    }
}

//! When a device is tried again after a failure. Pure.

use std::time::Duration;

/// The pause after the first failure. Each later pause is four times as long.
const FIRST_PAUSE: Duration = Duration::from_secs(5);
const MAX_PAUSE: Duration = Duration::from_secs(3600);
/// Longest time that a push service may ask for by `Retry-After`.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(24 * 3600);
/// A device is removed after this many failures in a row, if the last of them is a refusal. They take at least 5 hours.
const MAX_FAILURES_WITH_REFUSAL: i32 = 10;
/// A pause is up to this share longer, so that devices do not come back all at once.
const JITTER: f64 = 0.2;

/// The pause after a failure. `failures` counts those before, `retry_after` is what the push service asked for, and
/// `jitter` is a random number from 0 to 1.
pub fn pause(failures: i32, retry_after: Option<Duration>, jitter: f64) -> Duration {
    let factor = 4_u32.saturating_pow(failures.unsigned_abs());
    let pause = FIRST_PAUSE.saturating_mul(factor).min(MAX_PAUSE);
    pause.max(retry_after.unwrap_or_default().min(MAX_RETRY_AFTER)).mul_f64(1.0 + JITTER * jitter)
}

/// Whether a device is removed that was refused now. `failures` counts those before.
pub fn is_given_up(failures: i32) -> bool {
    failures.saturating_add(1) >= MAX_FAILURES_WITH_REFUSAL
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pause_grows_to_an_hour_and_honours_bounded_retry_after() {
        let seconds = |failures| pause(failures, None, 0.0).as_secs();
        assert_eq!([0, 1, 2, 3, 4, 5, i32::MAX].map(seconds), [5, 20, 80, 320, 1280, 3600, 3600]);
        assert_eq!(pause(0, None, 1.0), Duration::from_secs(6));
        assert_eq!(pause(0, Some(Duration::from_secs(2)), 0.0), FIRST_PAUSE);
        assert_eq!(pause(0, Some(Duration::from_secs(100)), 0.0), Duration::from_secs(100));
        assert_eq!(pause(9, Some(Duration::from_secs(u64::MAX)), 0.0), MAX_RETRY_AFTER);
    }

    #[test]
    fn tenth_refusal_in_a_row_gives_device_up() {
        assert!(!is_given_up(0) && !is_given_up(8) && is_given_up(9) && is_given_up(i32::MAX));
    }
}

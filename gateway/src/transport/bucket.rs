//! Limits the frames of a peer by a token bucket. Each frame takes one token, also control frames and fragments. The
//! bucket is pure: the caller passes the time as a tick count. A peer that exceeds the limit for a moment is only read
//! more slowly. A peer that stays above the limit is closed.

use std::{num::NonZeroU32, time::Duration};

use super::wheel::to_ticks;

/// Default frames per second on average: ten times what one person sends in messages, marks and typing.
const DEFAULT_FRAMES_PER_SECOND: NonZeroU32 = NonZeroU32::MIN.saturating_add(99);
const DEFAULT_FRAMES_BURST: NonZeroU32 = NonZeroU32::MIN.saturating_add(199);
/// Default time for which a peer above the limit is only read more slowly. This is enough for a backlog of 3,000
/// frames. A peer that continues longer is treated as a flood.
const DEFAULT_FRAMES_GRACE: Duration = Duration::from_secs(30);
/// Two excesses with at most this time between them count as one continuous excess.
const CALM_INTERVAL: Duration = Duration::from_secs(2);

/// A limit on the frames of one connection.
#[derive(Debug, Clone, Copy)]
pub struct FrameRate {
    /// Frames per second on average.
    pub per_second: NonZeroU32,
    pub burst: NonZeroU32,
    /// How long a peer may stay above the limit, read at the limit's rate, before it is closed.
    pub grace: Duration,
}

impl Default for FrameRate {
    fn default() -> FrameRate {
        FrameRate {
            per_second: DEFAULT_FRAMES_PER_SECOND,
            burst: DEFAULT_FRAMES_BURST,
            grace: DEFAULT_FRAMES_GRACE,
        }
    }
}

impl FrameRate {
    /// Converts the limit to ticks of the duration `tick`.
    pub(crate) fn to_limits(self, tick: Duration) -> FrameLimits {
        let frame_ns = 1_000_000_000 / u64::from(self.per_second.get());
        FrameLimits {
            tick_ns: u64::try_from(tick.as_nanos()).unwrap_or(u64::MAX).max(1),
            frame_ns,
            burst_ns: frame_ns * u64::from(self.burst.get()),
            grace_ticks: to_ticks(self.grace, tick),
            calm_ticks: to_ticks(CALM_INTERVAL, tick),
        }
    }
}

/// A [`FrameRate`], converted to a worker's ticks.
#[derive(Debug, Clone, Copy)]
pub(crate) struct FrameLimits {
    tick_ns: u64,
    /// The time after which one token is added.
    frame_ns: u64,
    /// The time after which an empty bucket is full.
    burst_ns: u64,
    grace_ticks: u32,
    calm_ticks: u32,
}

/// The decision after a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FrameVerdict {
    /// Continue reading.
    Continue,
    /// Pause reading until this tick.
    PauseUntil(u32),
    /// The peer stayed above the limit for too long.
    Abused,
}

/// The token bucket of one connection. The default bucket is full.
#[derive(Debug, Default)]
pub(crate) struct TokenBucket {
    /// The time at which the bucket will be full. For an empty bucket, this is `burst_ns` from now.
    full_at_ns: u64,
    /// The tick at which the current excess began.
    limited_since: u32,
    /// The tick at which the last pause ends; 0 if the peer never exceeded the limit.
    paused_until: u32,
}

impl TokenBucket {
    /// Takes a token for a frame that arrived at the tick `now`. The verdict decides when the next frame may be read.
    pub(crate) fn take_token(&mut self, limits: &FrameLimits, now: u32) -> FrameVerdict {
        let now_ns = u64::from(now).saturating_mul(limits.tick_ns);
        self.full_at_ns = self.full_at_ns.max(now_ns).saturating_add(limits.frame_ns);
        let next_ns = self.full_at_ns.saturating_add(limits.frame_ns).saturating_sub(limits.burst_ns);
        if next_ns <= now_ns {
            return FrameVerdict::Continue;
        }
        if self.paused_until == 0 || now > self.paused_until.saturating_add(limits.calm_ticks) {
            self.limited_since = now;
        }
        let until = u32::try_from(next_ns.div_ceil(limits.tick_ns)).unwrap_or(u32::MAX);
        self.paused_until = until;
        if now - self.limited_since >= limits.grace_ticks {
            FrameVerdict::Abused
        } else {
            FrameVerdict::PauseUntil(until)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits(per_second: u32, burst: u32) -> FrameLimits {
        let grace = Duration::from_secs(30);
        let of = |count| NonZeroU32::new(count).unwrap();
        FrameRate { per_second: of(per_second), burst: of(burst), grace }
            .to_limits(Duration::from_millis(500))
    }

    /// Takes frames until reading must stop.
    fn flood(bucket: &mut TokenBucket, limits: &FrameLimits, now: u32) -> (u32, FrameVerdict) {
        let mut frames = 0;
        loop {
            frames += 1;
            match bucket.take_token(limits, now) {
                FrameVerdict::Continue => {}
                end => return (frames, end),
            }
        }
    }

    #[test]
    fn burst_passes_and_then_the_rate_applies() {
        let (limits, mut bucket) = (limits(100, 200), TokenBucket::default());
        assert_eq!(flood(&mut bucket, &limits, 7), (200, FrameVerdict::PauseUntil(8)));
        assert_eq!(flood(&mut bucket, &limits, 8), (50, FrameVerdict::PauseUntil(9)));
        assert_eq!(flood(&mut bucket, &limits, 10), (100, FrameVerdict::PauseUntil(11)));
        assert_eq!(flood(&mut bucket, &limits, 1_000).0, 200, "at most the burst is saved up");
    }

    #[test]
    fn slow_rate_holds_over_many_ticks() {
        let (limits, mut bucket) = (limits(1, 1), TokenBucket::default());
        assert_eq!(bucket.take_token(&limits, 5), FrameVerdict::PauseUntil(7));
        assert_eq!(bucket.take_token(&limits, 7), FrameVerdict::PauseUntil(9));
        assert_eq!(bucket.take_token(&limits, 99), FrameVerdict::PauseUntil(101));
    }

    #[test]
    fn only_peer_that_stays_above_limit_is_abuse() {
        let limits = limits(100, 200);
        let mut abuser = TokenBucket::default();
        for tick in 100..160 {
            let (_, verdict) = flood(&mut abuser, &limits, tick);
            assert!(matches!(verdict, FrameVerdict::PauseUntil(_)), "tick {tick}");
        }
        assert_eq!(flood(&mut abuser, &limits, 160).1, FrameVerdict::Abused);

        let mut bursts = TokenBucket::default();
        for tick in (100..1_000).step_by(6) {
            let (_, verdict) = flood(&mut bursts, &limits, tick);
            assert!(matches!(verdict, FrameVerdict::PauseUntil(_)), "tick {tick}");
        }

        // The peer stays a little below the limit after a burst, so the bucket is never full and never empty again.
        let mut steady = TokenBucket::default();
        flood(&mut steady, &limits, 100);
        for tick in 101..1_000 {
            for _ in 0..49 {
                assert_eq!(steady.take_token(&limits, tick), FrameVerdict::Continue, "tick {tick}");
            }
        }
    }

    #[test]
    fn huge_limits_pause_no_peer() {
        let (limits, mut bucket) = (limits(u32::MAX, u32::MAX), TokenBucket::default());
        for _ in 0..10_000 {
            assert_eq!(bucket.take_token(&limits, 1), FrameVerdict::Continue);
        }
    }
}

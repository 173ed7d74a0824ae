//! How many frames a peer may send: a bucket of tokens, one per frame, control frames and fragments included.
//! Pure: time is a tick count given by the caller. It promises to tell a peer that is over it for a moment, which
//! is only read more slowly, from one that stays over it.

use std::{num::NonZeroU32, time::Duration};

use super::config::ticks;

/// Frames of a connection per second in the long run: ten times what a person's messages, marks and typing come to.
const FRAMES_PER_SECOND: NonZeroU32 = NonZeroU32::MIN.saturating_add(99);
/// Frames of a connection at once: what a client has to say after a reconnect.
const FRAMES_BURST: NonZeroU32 = NonZeroU32::MIN.saturating_add(199);
/// How long a peer may send more than that, and is only read more slowly: a client with 3,000 frames to get rid of
/// is through by then, and one that never stops is a flood.
const FRAMES_PATIENCE: Duration = Duration::from_secs(30);
/// Over it with less than this in between counts as over it all the time.
const CALM: Duration = Duration::from_secs(2);

/// A bound on the frames of one connection.
#[derive(Debug, Clone, Copy)]
pub struct FrameRate {
    /// Frames per second in the long run.
    pub per_second: NonZeroU32,
    /// Frames at once.
    pub burst: NonZeroU32,
    /// How long a peer may stay over it, read as slowly as it allows, before it is closed.
    pub patience: Duration,
}

impl Default for FrameRate {
    fn default() -> FrameRate {
        FrameRate { per_second: FRAMES_PER_SECOND, burst: FRAMES_BURST, patience: FRAMES_PATIENCE }
    }
}

impl FrameRate {
    /// The bound in ticks of this length.
    pub(crate) fn in_ticks(self, tick: Duration) -> FrameLimits {
        let frame_ns = 1_000_000_000 / u64::from(self.per_second.get());
        FrameLimits {
            tick_ns: u64::try_from(tick.as_nanos()).unwrap_or(u64::MAX).max(1),
            frame_ns,
            burst_ns: frame_ns * u64::from(self.burst.get()),
            patience_ticks: ticks(self.patience, tick),
            calm_ticks: ticks(CALM, tick),
        }
    }
}

/// What a worker needs of a [`FrameRate`].
#[derive(Debug, Clone, Copy)]
pub(crate) struct FrameLimits {
    tick_ns: u64,
    /// Time in which one token comes.
    frame_ns: u64,
    /// Time in which an empty bucket fills.
    burst_ns: u64,
    patience_ticks: u32,
    calm_ticks: u32,
}

/// What is to be done after a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Allowance {
    /// Read on.
    More,
    /// Read no more before this tick.
    Hold(u32),
    /// The peer has been over the bound for too long.
    Abused,
}

/// The bucket of one connection.
#[derive(Debug, Default)]
pub(crate) struct Bucket {
    /// When it will be full again: empty is as far ahead as it takes to fill.
    full_at_ns: u64,
    /// Since when the peer is over the bound again and again.
    held_since: u32,
    /// Up to when it was last not read; 0: it never was over.
    held_until: u32,
}

impl Bucket {
    /// Takes a token for a frame that has come.
    pub(crate) fn take(&mut self, limits: &FrameLimits, now: u32) -> Allowance {
        let now_ns = u64::from(now).saturating_mul(limits.tick_ns);
        self.full_at_ns = self.full_at_ns.max(now_ns).saturating_add(limits.frame_ns);
        let next_ns = self.full_at_ns.saturating_add(limits.frame_ns).saturating_sub(limits.burst_ns);
        if next_ns <= now_ns {
            return Allowance::More;
        }
        if self.held_until == 0 || now > self.held_until.saturating_add(limits.calm_ticks) {
            self.held_since = now;
        }
        let until = u32::try_from(next_ns.div_ceil(limits.tick_ns)).unwrap_or(u32::MAX);
        self.held_until = until;
        if now - self.held_since >= limits.patience_ticks {
            Allowance::Abused
        } else {
            Allowance::Hold(until)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits(per_second: u32, burst: u32) -> FrameLimits {
        let patience = Duration::from_secs(30);
        let of = |count| NonZeroU32::new(count).unwrap();
        FrameRate { per_second: of(per_second), burst: of(burst), patience }
            .in_ticks(Duration::from_millis(500))
    }

    /// Frames taken in one go, until it is told to stop.
    fn flood(bucket: &mut Bucket, limits: &FrameLimits, now: u32) -> (u32, Allowance) {
        let mut frames = 0;
        loop {
            frames += 1;
            match bucket.take(limits, now) {
                Allowance::More => {}
                end => return (frames, end),
            }
        }
    }

    #[test]
    fn a_burst_is_let_through_and_then_as_many_as_time_brings() {
        let (limits, mut bucket) = (limits(100, 200), Bucket::default());
        assert_eq!(flood(&mut bucket, &limits, 7), (200, Allowance::Hold(8)));
        assert_eq!(flood(&mut bucket, &limits, 8), (50, Allowance::Hold(9)));
        assert_eq!(flood(&mut bucket, &limits, 10), (100, Allowance::Hold(11)));
        assert_eq!(flood(&mut bucket, &limits, 1_000).0, 200, "no more than the burst is saved up");
    }

    #[test]
    fn a_slow_bucket_is_waited_for_over_many_ticks() {
        let (limits, mut bucket) = (limits(1, 1), Bucket::default());
        assert_eq!(bucket.take(&limits, 5), Allowance::Hold(7));
        assert_eq!(bucket.take(&limits, 7), Allowance::Hold(9));
        assert_eq!(bucket.take(&limits, 99), Allowance::Hold(101));
    }

    #[test]
    fn who_stays_over_it_is_found_out_and_who_calms_down_is_not() {
        let limits = limits(100, 200);
        let mut abuser = Bucket::default();
        for tick in 100..160 {
            assert!(matches!(flood(&mut abuser, &limits, tick).1, Allowance::Hold(_)), "tick {tick}");
        }
        assert_eq!(flood(&mut abuser, &limits, 160).1, Allowance::Abused);

        let mut bursts = Bucket::default();
        for tick in (100..1_000).step_by(6) {
            assert!(matches!(flood(&mut bursts, &limits, tick).1, Allowance::Hold(_)), "tick {tick}");
        }

        // A little below the rate, after a burst: the bucket never fills, and is never empty again.
        let mut steady = Bucket::default();
        flood(&mut steady, &limits, 100);
        for tick in 101..1_000 {
            for _ in 0..49 {
                assert_eq!(steady.take(&limits, tick), Allowance::More, "tick {tick}");
            }
        }
    }

    #[test]
    fn limits_beyond_reason_hold_nobody_back() {
        let (limits, mut bucket) = (limits(u32::MAX, u32::MAX), Bucket::default());
        for _ in 0..10_000 {
            assert_eq!(bucket.take(&limits, 1), Allowance::More);
        }
    }
}

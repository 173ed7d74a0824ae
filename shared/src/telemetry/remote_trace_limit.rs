//! Limits how many sampled trace contexts of clients are followed, so that a client that samples every frame cannot
//! fill the span queue.

use std::{
    sync::{
        LazyLock,
        atomic::{AtomicU64, Ordering},
    },
    time::Instant,
};

/// Sampled contexts of clients that a process follows in one second; further ones are not traced.
const MAX_PER_SECOND: u32 = 200;

/// Upper half: seconds since the first call. Lower half: contexts that were allowed in that second.
static ALLOWED: AtomicU64 = AtomicU64::new(0);
static BEGUN: LazyLock<Instant> = LazyLock::new(Instant::now);

/// Whether one more remote trace may be followed now.
pub(super) fn allow_remote_trace() -> bool {
    allow(&ALLOWED, BEGUN.elapsed().as_secs())
}

fn allow(count: &AtomicU64, second: u64) -> bool {
    let next = |old: u64| {
        let (of, many) = (old >> 32, old & u64::from(u32::MAX));
        match (of == second, many < u64::from(MAX_PER_SECOND)) {
            (true, true) => Some(old + 1),
            (true, false) => None,
            (false, _) => Some((second << 32) + 1),
        }
    };
    count.fetch_update(Ordering::Relaxed, Ordering::Relaxed, next).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn remote_traces_are_limited_per_second() {
        let count = AtomicU64::new(0);
        let allowed = |second| (0..1000).filter(|_| allow(&count, second)).count();
        assert_eq!(allowed(0), 200);
        assert_eq!(allowed(1), 200);
        assert_eq!(allowed(1), 0);
        assert_eq!(allowed(7), 200);
    }
}

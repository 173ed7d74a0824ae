//! How many contexts of others are followed: whoever asks for a trace of each of its frames must not fill the place of all.

use std::{
    sync::{
        LazyLock,
        atomic::{AtomicU64, Ordering},
    },
    time::Instant,
};

/// Sampled contexts of clients that a process follows in one second; the others are not traced.
const PER_SECOND: u32 = 200;

/// Seconds since the first question in the upper half, how many were let through in that second in the lower.
static LET_THROUGH: AtomicU64 = AtomicU64::new(0);
static BEGUN: LazyLock<Instant> = LazyLock::new(Instant::now);

/// Whether one more is followed now.
pub(super) fn may_come() -> bool {
    counted(&LET_THROUGH, BEGUN.elapsed().as_secs())
}

fn counted(count: &AtomicU64, second: u64) -> bool {
    let next = |old: u64| {
        let (of, many) = (old >> 32, old & u64::from(u32::MAX));
        match (of == second, many < u64::from(PER_SECOND)) {
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
    fn so_many_come_in_a_second_and_as_many_in_the_next() {
        let count = AtomicU64::new(0);
        let let_through = |second| (0..1000).filter(|_| counted(&count, second)).count();
        assert_eq!(let_through(0), 200);
        assert_eq!(let_through(1), 200);
        assert_eq!(let_through(1), 0);
        assert_eq!(let_through(7), 200);
    }
}

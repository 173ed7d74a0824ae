//! The lowest rate at which clients send the bytes of files. A slower request ends, because it occupies a slot.

use std::num::NonZeroU64;
use std::time::Duration;

use tidings_shared::min_data_rate::MinDataRate;

use crate::bucket::parts::MIN_PART_BYTES;

/// How long a request waits for a free slot before its body is read.
pub const SLOT_TIMEOUT: Duration = Duration::from_secs(10);
/// Time for a body of [`MIN_PART_BYTES`], without the grace period. It sets the lowest rate: in proportion to the length
/// for shorter bodies, constant for longer ones.
const BODY_TIMEOUT_S: u64 = 300;
/// How far the body of an append may fall behind its lowest rate. The received bytes are kept.
pub const APPEND_GRACE_PERIOD: Duration = Duration::from_secs(20);
/// How far the body of a part may fall behind its lowest rate. The client must send the part again from its start.
pub const PART_GRACE_PERIOD: Duration = Duration::from_secs(60);
/// The lowest rate of short bodies, so that they do not hold their slots for [`BODY_TIMEOUT_S`].
const MIN_BYTES_PER_SECOND: NonZeroU64 = NonZeroU64::new(2 * 1024).expect("not zero");

/// The limit of a body that should have `length` bytes.
pub fn limit_of(length: u64, grace_period: Duration) -> MinDataRate {
    MinDataRate::new(bytes_per_second(length), grace_period)
}

fn bytes_per_second(length: u64) -> NonZeroU64 {
    let rate = length.min(MIN_PART_BYTES).div_ceil(BODY_TIMEOUT_S);
    NonZeroU64::new(rate).map_or(MIN_BYTES_PER_SECOND, |rate| rate.max(MIN_BYTES_PER_SECOND))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn body_needs_the_rate_of_a_whole_part_at_most() {
        let rates = [0, 20, 1 << 20, MIN_PART_BYTES, 100 << 20].map(|length| bytes_per_second(length).get());
        assert_eq!(rates, [2_048, 2_048, 3_496, 27_963, 27_963]);
    }
}

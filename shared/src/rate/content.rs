//! The limits of the contents that users send to rooms, in KiB. Both services use the same limits.

use std::num::NonZeroU32;

use super::Rate;

/// Contents of a command up to this size take no tokens, because the limits of the number of commands also limit their
/// bytes. So most commands need no look-up in the buckets of bytes.
const FREE_BYTES: usize = 4 * 1024;
/// For each message that the message limit of a user allows, the user may send this many KiB of large commands.
/// Messages with the longest text that the default settings allow stay below this limit.
const KIB_PER_MESSAGE: NonZeroU32 = NonZeroU32::new(8).expect("not zero");
/// Through one node, a room may get as many bytes of large commands as this number of users may send together.
const FULL_RATE_USERS_PER_ROOM: NonZeroU32 = NonZeroU32::new(8).expect("not zero");

/// Returns how many KiB contents of this size take from the buckets of their user and room, or `None` if they are free.
pub fn content_cost(bytes: usize) -> Option<NonZeroU32> {
    let kib = bytes.saturating_sub(FREE_BYTES).div_ceil(1024);
    NonZeroU32::new(u32::try_from(kib).unwrap_or(u32::MAX))
}

impl Rate {
    /// Returns the rate in KiB at which a user may send contents to rooms, if this is the rate of the user's messages.
    #[must_use]
    pub fn content_of_user(self) -> Self {
        self.multiplied_by(KIB_PER_MESSAGE)
    }

    /// Returns the rate in KiB at which all members together may send contents to one room, if this is the rate of the
    /// messages of one user.
    #[must_use]
    pub fn content_of_room(self) -> Self {
        self.content_of_user().multiplied_by(FULL_RATE_USERS_PER_ROOM)
    }

    fn multiplied_by(self, factor: NonZeroU32) -> Self {
        let Self { per_second, burst } = self;
        Self { per_second: per_second.saturating_mul(factor), burst: burst.saturating_mul(factor) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_bytes_above_the_free_ones_cost_tokens() {
        let cost =
            [0, FREE_BYTES, FREE_BYTES + 1, 16 * 1024].map(|bytes| content_cost(bytes).map(NonZeroU32::get));
        assert_eq!(cost, [None, None, Some(1), Some(12)]);
    }

    #[test]
    fn room_gets_the_bytes_of_eight_users() {
        let count = |count| NonZeroU32::new(count).unwrap();
        let messages = Rate { per_second: count(10), burst: count(20) };
        let numbers = |rate: Rate| (rate.per_second.get(), rate.burst.get());
        assert_eq!(numbers(messages.content_of_user()), (80, 160));
        assert_eq!(numbers(messages.content_of_room()), (640, 1280));
    }
}

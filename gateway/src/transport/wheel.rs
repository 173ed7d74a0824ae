//! A timer wheel for all connections of a worker. One task turns the wheel, and no connection has a timer of its own.
//! Pure: the caller passes the time as a tick count. An entry names its connection and its tick. The owner of the wheel
//! checks whether a due entry is still valid, because the connection may have closed or its timer may have moved.

use std::time::Duration;

/// Number of slots of the wheel. An entry that is due after more than one turn stays in its slot for several turns.
const SLOT_COUNT: u32 = 256;

/// Converts `time` to ticks, rounded up: at least one, and at most `u32::MAX / 4`, which is longer than any connection
/// stays open.
pub(crate) fn to_ticks(time: Duration, tick: Duration) -> u32 {
    let ticks = time.as_nanos().div_ceil(tick.as_nanos().max(1)).max(1);
    u32::try_from(ticks).unwrap_or(u32::MAX).min(u32::MAX / 4)
}

/// A timer of the connection with this `key`, due at the tick `due`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TimerEntry {
    pub key: u32,
    /// Distinguishes the connection from an earlier connection with the same key.
    pub generation: u32,
    pub due: u32,
}

/// The entries of all connections of a worker, in slots by their ticks.
pub(crate) struct TimerWheel {
    slots: Vec<Vec<TimerEntry>>,
}

impl TimerWheel {
    pub(crate) fn new() -> TimerWheel {
        TimerWheel { slots: (0..SLOT_COUNT).map(|_| Vec::new()).collect() }
    }

    /// Adds an entry, which must be due after the last tick that was turned.
    pub(crate) fn add(&mut self, entry: TimerEntry) {
        self.slots[(entry.due % SLOT_COUNT) as usize].push(entry);
    }

    /// Moves the entries that are due at `tick` to `due`. The caller must turn every tick once, in order.
    pub(crate) fn turn(&mut self, tick: u32, due: &mut Vec<TimerEntry>) {
        let slot = &mut self.slots[(tick % SLOT_COUNT) as usize];
        due.extend(slot.extract_if(.., |entry| entry.due <= tick));
        if slot.is_empty() {
            *slot = Vec::new();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_come_out_at_their_tick() {
        let mut wheel = TimerWheel::new();
        let dues = [1, 2, 2, 255, 256, 257, 258, 1_000];
        for (key, due) in (0..).zip(dues) {
            wheel.add(TimerEntry { key, generation: 0, due });
        }
        let mut seen = Vec::new();
        for tick in 1..=1_000 {
            let mut due = Vec::new();
            wheel.turn(tick, &mut due);
            for entry in due {
                assert_eq!(entry.due, tick);
                seen.push(entry.due);
            }
        }
        assert_eq!(seen, dues);
    }
}

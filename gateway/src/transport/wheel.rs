//! A timer wheel for all connections of a worker: one task turns it, no connection owns a timer.
//! Pure: time is a tick count given by the caller. An entry names its connection and when it is due; whether
//! it still means something (the connection may be gone, or its timer moved) is for the owner to tell.

/// Slots on the wheel. An entry further ahead than this goes round again.
const SLOTS: u32 = 256;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Entry {
    /// Where the connection is registered.
    pub key: u32,
    /// Tells a registered connection from an earlier one at the same key.
    pub generation: u32,
    /// The tick it is due.
    pub due: u32,
}

pub(crate) struct Wheel {
    slots: Vec<Vec<Entry>>,
}

impl Wheel {
    pub(crate) fn new() -> Wheel {
        Wheel { slots: (0..SLOTS).map(|_| Vec::new()).collect() }
    }

    /// Adds an entry; `due` must be after the last turned tick.
    pub(crate) fn add(&mut self, entry: Entry) {
        self.slots[(entry.due % SLOTS) as usize].push(entry);
    }

    /// Moves what is due at `tick` to `due`. Every tick is to be turned once, in order.
    pub(crate) fn turn(&mut self, tick: u32, due: &mut Vec<Entry>) {
        let slot = &mut self.slots[(tick % SLOTS) as usize];
        slot.retain(|entry| {
            let later = entry.due > tick;
            if !later {
                due.push(*entry);
            }
            later
        });
        if slot.is_empty() {
            *slot = Vec::new();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_come_out_at_their_tick_however_far_ahead() {
        let mut wheel = Wheel::new();
        let dues = [1, 2, 2, 255, 256, 257, 258, 1_000];
        for (key, due) in (0..).zip(dues) {
            wheel.add(Entry { key, generation: 0, due });
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

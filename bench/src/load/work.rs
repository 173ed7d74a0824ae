//! The orders to the load generator.

use std::time::Duration;

/// Something one client does in one room (by its number among all rooms).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Act {
    /// Sends a message of this many characters.
    Send {
        room: u32,
        characters: u16,
    },
    Typing {
        room: u32,
    },
    Read {
        room: u32,
    },
    Online,
    Away,
}

/// An act that is due at a time after the beginning, whether earlier acts have finished or not.
#[derive(Debug, Clone, Copy)]
pub struct Due {
    pub at: Duration,
    pub client: u32,
    pub act: Act,
}

/// When the next message may be sent in a closed loop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Gate {
    /// An earlier one was acked.
    Acked,
    /// An earlier one was delivered to everybody in its room.
    Delivered,
}

/// See the module.
#[derive(Debug, Clone)]
pub enum Work {
    /// Open loop, in order of time. Latency counts from the moment an act was due.
    Open(Vec<Due>),
    /// Closed loop: `window` messages are unfinished at any time, sent in turn by these clients to these rooms.
    Closed { senders: Vec<(u32, u32)>, characters: u16, window: usize, gate: Gate, time: Duration },
    /// Only receives.
    Listen(Duration),
}

/// Messages at a fixed rate, in turn by these clients to these rooms.
#[must_use]
pub fn paced(senders: &[(u32, u32)], characters: u16, per_second: f64, time: Duration) -> Work {
    let count = (per_second * time.as_secs_f64()).round() as usize;
    let due = |number: usize| {
        let (client, room) = senders[number % senders.len()];
        let at = Duration::from_secs_f64(number as f64 / per_second);
        Due { at, client, act: Act::Send { room, characters } }
    };
    Work::Open((0..count).map(due).collect())
}

//! The work that the load generator can do.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

/// An action of one client. Rooms are given by their numbers.
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

/// An act of a client that is due at the time `at` after the beginning of the work.
#[derive(Debug, Clone, Copy)]
pub struct DueAct {
    pub at: Duration,
    pub client: u32,
    pub act: Act,
}

/// When a message of a closed loop counts as finished. Then the next one is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Completion {
    /// When the server acked the message.
    Acked,
    /// When the message was delivered to everybody in its room.
    Delivered,
}

/// Work of the load generator.
#[derive(Debug, Clone)]
pub enum Work {
    /// Open loop: acts in order of time. Latency counts from the moment an act was due.
    Open(Vec<DueAct>),
    /// Open loop of messages at a fixed rate until `stop` is set.
    Until { senders: Vec<(u32, u32)>, characters: u16, per_second: f64, stop: Arc<AtomicBool> },
    /// Closed loop: `window` messages are unfinished at any time. The pairs of client and room in `senders` take turns.
    Closed {
        senders: Vec<(u32, u32)>,
        characters: u16,
        window: usize,
        completion: Completion,
        time: Duration,
    },
    /// Only receives frames, for this long.
    Listen(Duration),
}

/// An open loop of messages at a fixed rate. The pairs of client and room in `senders` take turns.
#[must_use]
pub fn fixed_rate_work(senders: &[(u32, u32)], characters: u16, per_second: f64, time: Duration) -> Work {
    let count = (per_second * time.as_secs_f64()).round() as usize;
    Work::Open(fixed_rate_acts(senders, characters, per_second).take(count).collect())
}

/// The messages of [`fixed_rate_work`], without an end.
pub(super) fn fixed_rate_acts(
    senders: &[(u32, u32)],
    characters: u16,
    per_second: f64,
) -> impl Iterator<Item = DueAct> + '_ {
    (0_u64..).zip(senders.iter().cycle()).map(move |(number, &(client, room))| {
        let at = Duration::from_secs_f64(number as f64 / per_second);
        DueAct { at, client, act: Act::Send { room, characters } }
    })
}

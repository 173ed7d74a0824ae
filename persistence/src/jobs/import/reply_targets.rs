//! Remembers the seqs of imported messages, because later lines reply to messages by their original ids.

use std::collections::HashMap;

use tidings_shared::ids::{RoomId, Seq};

/// Maximum number of messages in each of the two generations.
pub const MAX_REPLY_TARGETS: usize = 50_000;

/// Seqs by room and original id, in two generations. When the current generation is full, it replaces the older one.
#[derive(Default)]
pub struct ReplyTargets([HashMap<(RoomId, String), Seq>; 2]);

impl ReplyTargets {
    /// Remembers the seq of the message with this original id. If the current generation is full, forgets the older
    /// one.
    pub fn insert(&mut self, room: &RoomId, id: &str, seq: Seq) {
        if self.0[0].len() >= MAX_REPLY_TARGETS {
            self.0[1] = std::mem::take(&mut self.0[0]);
        }
        self.0[0].insert((room.clone(), id.to_owned()), seq);
    }

    /// The seq of the message with this original id, or None if it is not remembered (any more).
    #[must_use]
    pub fn get(&self, room: &RoomId, id: &str) -> Option<Seq> {
        let key = (room.clone(), id.to_owned());
        self.0.iter().find_map(|targets| targets.get(&key).copied())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_latest_targets_are_remembered() {
        let (mut targets, room) = (ReplyTargets::default(), RoomId::parse("r").unwrap());
        for n in 0..3 * MAX_REPLY_TARGETS as u64 {
            targets.insert(&room, &n.to_string(), Seq(n + 1));
        }
        assert!(targets.0.iter().map(HashMap::len).sum::<usize>() <= 2 * MAX_REPLY_TARGETS);
        assert_eq!(
            targets.get(&room, &(3 * MAX_REPLY_TARGETS - 1).to_string()),
            Some(Seq(3 * MAX_REPLY_TARGETS as u64))
        );
        assert_eq!(
            targets.get(&room, &(2 * MAX_REPLY_TARGETS).to_string()),
            Some(Seq(2 * MAX_REPLY_TARGETS as u64 + 1))
        );
        assert_eq!(targets.get(&room, "0"), None);
    }
}

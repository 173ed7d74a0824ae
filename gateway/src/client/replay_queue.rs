//! The replays of one connection. Its replay task runs them one after the other. A replay that cannot continue goes to
//! the end, so that a room that cannot be read does not hold up the rooms behind it.

use std::collections::VecDeque;

use tidings_shared::ids::RoomId;

use super::Replay;

/// The replays of one connection in their order. The running replay is at the front, so a queue that is not empty has a
/// running task.
#[derive(Debug, Default)]
pub(crate) struct ReplayQueue {
    replays: VecDeque<Replay>,
    /// Number of replays in a row that went to the end.
    moved: usize,
}

impl ReplayQueue {
    /// Adds replays. Returns true if the caller must start the replay task.
    pub fn extend(&mut self, replays: Vec<Replay>) -> bool {
        let was_empty = self.replays.is_empty();
        self.replays.extend(replays);
        was_empty && !self.replays.is_empty()
    }

    /// The replay that runs next.
    pub fn front(&self) -> Option<Replay> {
        self.replays.front().cloned()
    }

    /// Removes the running replay, which has ended.
    pub fn remove_front(&mut self) {
        self.replays.pop_front();
        self.moved = 0;
        if self.replays.is_empty() {
            self.replays.shrink_to_fit();
        }
    }

    /// Moves the running replay to the end, with the position that it has reached. Returns true if no replay of the
    /// queue could continue, so that the caller must wait before it tries again.
    pub fn move_front_to_end(&mut self, replay: Replay) -> bool {
        self.replays.pop_front();
        self.replays.push_back(replay);
        self.moved += 1;
        let must_wait = self.moved >= self.replays.len();
        if must_wait {
            self.moved = 0;
        }
        must_wait
    }

    /// The rooms of the waiting replays.
    pub fn rooms(&self) -> impl Iterator<Item = &RoomId> {
        self.replays.iter().map(|replay| &replay.room)
    }
}

#[cfg(test)]
mod tests {
    use tidings_shared::ids::{Epoch, Seq};

    use super::*;
    use crate::hub::{Generation, Position, Subscription};

    fn replay(room: &str) -> Replay {
        let position = Position { epoch: Epoch(1), seq: Seq(0) };
        Replay {
            room: RoomId::parse(room).unwrap(),
            subscription: Subscription::ENDED,
            position,
            head: position,
            gap: None,
            generation: Generation::default(),
            was_live: false,
            source: "memory",
        }
    }

    fn queue(rooms: &[&str]) -> ReplayQueue {
        let mut queue = ReplayQueue::default();
        assert!(queue.extend(rooms.iter().map(|room| replay(room)).collect()));
        queue
    }

    fn rooms(queue: &ReplayQueue) -> Vec<&str> {
        queue.rooms().map(RoomId::as_str).collect()
    }

    #[test]
    fn replay_that_cannot_continue_lets_the_others_go_first() {
        let mut queue = queue(&["away", "near1", "near2"]);
        let mut away = queue.front().unwrap();
        away.position.seq = Seq(7);
        assert!(!queue.move_front_to_end(away));
        assert_eq!(rooms(&queue), ["near1", "near2", "away"]);
        queue.remove_front();
        queue.remove_front();
        let away = queue.front().unwrap();
        assert_eq!((away.room.as_str(), away.position.seq), ("away", Seq(7)), "it continues where it was");
        assert!(queue.move_front_to_end(away), "no other replay is left");
    }

    #[test]
    fn task_waits_only_after_every_replay_was_tried() {
        let mut queue = queue(&["a", "b", "c"]);
        let try_front = |queue: &mut ReplayQueue| {
            let front = queue.front().unwrap();
            queue.move_front_to_end(front)
        };
        assert_eq!([(); 3].map(|()| try_front(&mut queue)), [false, false, true]);
        assert_eq!([(); 3].map(|()| try_front(&mut queue)), [false, false, true], "each round waits once");
        assert!(!try_front(&mut queue));
        assert!(!queue.extend(vec![replay("d")]), "the task runs already");
        assert_eq!([(); 3].map(|()| try_front(&mut queue)), [false, false, true]);
        assert_eq!(rooms(&queue), ["d", "b", "c", "a"], "new replays do not put off the wait, and come next");
    }

    #[test]
    fn replay_that_ends_begins_another_round() {
        let mut queue = queue(&["a", "b", "c"]);
        let front = queue.front().unwrap();
        assert!(!queue.move_front_to_end(front));
        queue.remove_front();
        let front = queue.front().unwrap();
        assert!(!queue.move_front_to_end(front), "the other room is tried before the task waits");
        assert_eq!(rooms(&queue), ["a", "c"]);
        queue.remove_front();
        queue.remove_front();
        assert!(queue.front().is_none());
        assert!(queue.extend(vec![replay("d")]), "an empty queue has no task");
    }
}

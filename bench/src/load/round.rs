//! A round sends one message in each of many rooms. The generator repeats a message with the same client id until it is
//! stored. So the end of a round shows that every room works.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::time::{Duration, Instant};

use anyhow::Result;

use super::receiving::leading_number;
use super::sending::MAX_ACTS_PER_POLL;
use super::work::Act;
use super::{LoadGenerator, Tally};

/// Pause between a refusal that names no time and the next attempt.
const RETRY_DELAY: Duration = Duration::from_millis(200);
/// The text right before the time in ms after which a refused message may be repeated.
const RETRY_AFTER_PREFIX: &str = r#""retry_after_ms":"#;
/// A message without an answer is repeated after this time.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);
/// The text right before the reference in an answer.
const REF_PREFIX: &str = r#""ref":""#;
/// The field by which a frame of Tidings promises that the client id is new. Repeated frames must not have it.
const FIRST_ATTEMPT: &str = r#""attempt":1"#;
const LATER_ATTEMPT: &str = r#""attempt":2"#;

/// A message of a round that is not stored yet.
struct UnstoredMessage {
    /// The number of the client that sends the message.
    client: usize,
    /// The frame of the next attempt.
    frame: String,
    /// The time of the next attempt.
    due: Instant,
}

/// The messages of a round that are not stored yet.
#[derive(Default)]
pub(super) struct Round {
    /// The messages by reference.
    unstored: HashMap<u64, UnstoredMessage>,
    /// The times of attempts, with the references of their messages. Entries whose message is stored or has another time
    /// are skipped.
    due: BinaryHeap<Reverse<(Instant, u64)>>,
}

impl Round {
    pub(super) fn add(&mut self, reference: u64, client: usize, text: &[u8]) {
        let frame = String::from_utf8_lossy(text).replacen(FIRST_ATTEMPT, LATER_ATTEMPT, 1);
        self.unstored.insert(reference, UnstoredMessage { client, frame, due: Instant::now() });
        self.schedule(reference, ANSWER_TIMEOUT);
    }

    /// Schedules the next attempt of a message, in place of an earlier schedule. Returns whether the message is
    /// unstored.
    fn schedule(&mut self, reference: u64, delay: Duration) -> bool {
        let Some(message) = self.unstored.get_mut(&reference) else { return false };
        message.due = Instant::now() + delay;
        self.due.push(Reverse((message.due, reference)));
        true
    }

    /// Removes a message that was stored. Returns false if an earlier ack has removed it.
    pub(super) fn remove(&mut self, reference: u64) -> bool {
        self.unstored.remove(&reference).is_some()
    }

    /// Returns the next message that is due, and schedules the attempt after it.
    fn pop_due(&mut self) -> Option<(u64, usize, String)> {
        let now = Instant::now();
        while let Some(Reverse((at, reference))) = self.due.peek().copied()
            && at <= now
        {
            self.due.pop();
            if let Some(message) = self.unstored.get(&reference).filter(|message| message.due == at) {
                let found = (reference, message.client, message.frame.clone());
                self.schedule(reference, ANSWER_TIMEOUT);
                return Some(found);
            }
        }
        None
    }
}

impl LoadGenerator {
    /// Sends one message for each pair of client and room, and repeats it until it is stored. Returns when all messages
    /// are stored and delivered, or after `time_limit`. The `wall` time of the tally ends with the last delivery.
    ///
    /// # Errors
    /// When epoll fails, or a server sends malformed frames.
    pub fn run_round(
        &mut self,
        senders: &[(u32, u32)],
        characters: u16,
        time_limit: Duration,
    ) -> Result<Tally> {
        let begun = self.begin_phase();
        self.backs_off = false;
        self.round = Some(Round::default());
        let (mut next, mut delivered) = (0, None);
        while begun.elapsed() < time_limit {
            let working = Instant::now();
            for &(client, room) in senders[next..].iter().take(MAX_ACTS_PER_POLL) {
                let now = self.now_us();
                self.perform_act(client, Act::Send { room, characters }, now)?;
                next += 1;
            }
            self.send_retries()?;
            self.tally.busy += working.elapsed();
            if next == senders.len() && self.tally.delivered >= self.tally.expected {
                delivered = delivered.or(Some(begun.elapsed()));
                if self.round.as_ref().is_none_or(|round| round.unstored.is_empty()) {
                    break;
                }
            }
            self.poll_sockets(if next < senders.len() { Duration::ZERO } else { Duration::from_millis(5) })?;
        }
        self.round = None;
        let tally = self.finish_phase(begun);
        Ok(Tally { wall: delivered.unwrap_or(tally.wall), ..tally })
    }

    fn send_retries(&mut self) -> Result<()> {
        while let Some(round) = &mut self.round
            && let Some((reference, client, text)) = round.pop_due()
        {
            if !self.clients[client].is_connected() {
                round.remove(reference);
                continue;
            }
            self.tally.repeated += 1;
            if self.send_text(client, text.as_bytes()).is_err() {
                self.handle_disconnect(client, 0);
            }
        }
        Ok(())
    }

    /// Schedules the next attempt if the payload refuses a message of a round. Returns whether it does.
    pub(super) fn schedule_retry(&mut self, payload: &[u8]) -> bool {
        let Some(round) = &mut self.round else { return false };
        let Some(at) = memchr::memmem::find(payload, REF_PREFIX.as_bytes()) else { return false };
        let reference = leading_number(&payload[at + REF_PREFIX.len()..]);
        let named = memchr::memmem::find(payload, RETRY_AFTER_PREFIX.as_bytes())
            .map(|at| Duration::from_millis(leading_number(&payload[at + RETRY_AFTER_PREFIX.len()..])));
        round.schedule(reference, named.unwrap_or(RETRY_DELAY))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn message_has_one_next_attempt_however_often_it_is_refused() {
        let mut round = Round::default();
        round.add(1, 0, b"{}");
        for _ in 0..3 {
            assert!(round.schedule(1, Duration::ZERO));
        }
        assert!(round.pop_due().is_some() && round.pop_due().is_none());
        assert!(round.remove(1) && !round.remove(1) && !round.schedule(1, Duration::ZERO));
    }
}

//! The send queue of one room. One message at a time is sent, and repeated with the same client id until it is stored.
//! The queue keeps the pauses that the server requests. Pure except for the clock; the engine sends the bytes.

use std::collections::VecDeque;
use std::time::Duration;

use serde_json::json;
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::{SendOptions, Sent, SentReceiver};
use crate::clock;
use crate::frames::{Ack, ErrorFrame};

/// Timeout of an answer, after which the engine reports a violation: the server must answer within 30 s.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(40);
const DEFAULT_RETRY_PAUSE: Duration = Duration::from_millis(200);

/// A message to be sent.
pub(super) struct QueuedMessage {
    room: String,
    text: String,
    options: SendOptions,
    client_id: String,
    attempts: u32,
    first: Option<Instant>,
    stored: oneshot::Sender<Result<Sent, String>>,
}

impl QueuedMessage {
    pub(super) fn new(room: &str, text: &str, options: SendOptions) -> (QueuedMessage, SentReceiver) {
        let (stored, waiting) = oneshot::channel();
        let (room, text) = (room.to_owned(), text.to_owned());
        (
            QueuedMessage { room, text, options, client_id: String::new(), attempts: 0, first: None, stored },
            waiting,
        )
    }

    pub(super) fn room(&self) -> &str {
        &self.room
    }
}

/// The next deadline of the first message: when to send it, or when it must be answered.
enum Deadline {
    Send(Instant),
    Answer(Instant),
}

/// What the engine must do after a deadline.
pub(super) enum DeadlineAction {
    /// The engine must send this frame.
    Send(Outgoing),
    /// The engine must report that an answer is overdue.
    Unanswered,
}

/// A message to send now.
pub(super) struct Outgoing {
    pub(super) frame: String,
    pub(super) room: String,
    pub(super) client_id: String,
    pub(super) text: String,
    pub(super) visible_to: Vec<String>,
    pub(super) attempt: u32,
}

/// The queue. Only its first message may have been sent.
#[derive(Default)]
pub(super) struct Outbox {
    queue: VecDeque<QueuedMessage>,
    due: Option<Deadline>,
}

impl Outbox {
    pub(super) fn push(&mut self, sending: QueuedMessage) {
        self.queue.push_back(sending);
        if self.due.is_none() {
            self.due = Some(Deadline::Send(Instant::now()));
        }
    }

    /// Makes the first message due at once, because its first attempt may be lost after a reconnect or a new epoch.
    pub(super) fn schedule_resend(&mut self) {
        if !self.queue.is_empty() {
            self.due = Some(Deadline::Send(Instant::now()));
        }
    }

    /// The client id of the first message; empty until the message is sent.
    pub(super) fn front_client_id(&self) -> Option<&str> {
        self.queue.front().map(|front| front.client_id.as_str())
    }

    /// Whether a message waits for its answer.
    pub(super) fn is_sending(&self) -> bool {
        matches!(self.due, Some(Deadline::Answer(_)))
    }

    /// The next deadline. With `holding` nothing is due to be sent, only to be answered.
    pub(super) fn deadline(&self, holding: bool) -> Option<Instant> {
        match self.due {
            Some(Deadline::Send(at)) if !holding => Some(at),
            Some(Deadline::Answer(at)) => Some(at),
            _ => None,
        }
    }

    /// Handles a passed deadline.
    pub(super) fn on_deadline(&mut self) -> Option<DeadlineAction> {
        match self.due {
            Some(Deadline::Answer(_)) => {
                self.schedule_resend();
                Some(DeadlineAction::Unanswered)
            }
            Some(Deadline::Send(_)) => {
                let front = self.queue.front_mut()?;
                front.attempts += 1;
                front.first.get_or_insert_with(Instant::now);
                if front.client_id.is_empty() {
                    front.client_id = clock::client_id();
                }
                self.due = Some(Deadline::Answer(Instant::now() + ANSWER_TIMEOUT));
                let mut frame = json!({
                    "type": "message:send", "ref": reference_of_attempt(&front.client_id, front.attempts),
                    "room": front.room, "client_id": front.client_id, "content": front.text,
                    "attempt": front.attempts,
                });
                let SendOptions { visible_to, accepted, attachments } = &front.options;
                if !attachments.is_empty() {
                    frame["attachments"] = json!(attachments);
                }
                if !visible_to.is_empty() {
                    frame["visible_to"] = json!({ "users": visible_to });
                }
                if *accepted {
                    frame["ack"] = json!("accepted");
                }
                Some(DeadlineAction::Send(Outgoing {
                    frame: frame.to_string(),
                    room: front.room.clone(),
                    client_id: front.client_id.clone(),
                    text: front.text.clone(),
                    visible_to: visible_to.clone(),
                    attempt: front.attempts,
                }))
            }
            None => None,
        }
    }

    /// Handles an ack. The ack of an earlier attempt counts too, because all attempts have the same client id.
    pub(super) fn handle_ack(&mut self, client_id: &str, ack: Ack) {
        if self.queue.front().is_none_or(|front| front.client_id != client_id) {
            return;
        }
        let enough = self.queue.front().is_some_and(|front| front.options.accepted);
        if ack.stage != "stored" && !enough {
            self.due = Some(Deadline::Send(Instant::now() + DEFAULT_RETRY_PAUSE));
            return;
        }
        self.finish_front(|front| {
            let took = front.first.map(|first| first.elapsed()).unwrap_or_default();
            let (client_id, attempts) = (front.client_id.clone(), front.attempts);
            Ok(Sent { client_id, seq: ack.seq, id: ack.id.unwrap_or_default(), attempts, took })
        });
    }

    /// Handles an error: repeats the message, or fails it if a retry cannot help.
    pub(super) fn handle_error(&mut self, client_id: &str, error: &ErrorFrame) {
        if self.queue.front().is_none_or(|front| front.client_id != client_id) {
            return;
        }
        if is_temporary(&error.code) {
            let pause = error.retry_after_ms.map_or(DEFAULT_RETRY_PAUSE, Duration::from_millis);
            self.due = Some(Deadline::Send(Instant::now() + pause));
        } else {
            self.finish_front(|_| Err(format!("{} {:?}: {}", error.code, error.reason, error.message)));
        }
    }

    /// Fails all waiting messages, because the listener has stopped.
    pub(super) fn abandon(&mut self, why: &str) {
        while !self.queue.is_empty() {
            self.finish_front(|_| Err(why.to_owned()));
        }
    }

    fn finish_front(&mut self, outcome: impl FnOnce(&QueuedMessage) -> Result<Sent, String>) {
        if let Some(front) = self.queue.pop_front() {
            let outcome = outcome(&front);
            // This fails if the task that waits for the outcome was cancelled.
            let _ = front.stored.send(outcome);
        }
        self.due = (!self.queue.is_empty()).then(|| Deadline::Send(Instant::now()));
    }
}

/// Whether the same command may succeed after an error with this code.
pub(super) fn is_temporary(code: &str) -> bool {
    matches!(code, "rate_limited" | "overloaded" | "unavailable" | "internal")
}

fn reference_of_attempt(client_id: &str, attempt: u32) -> String {
    format!("s{attempt}:{client_id}")
}

/// The client id in a ref of [`reference_of_attempt`]; `None` for other refs.
pub(super) fn client_id_of(reference: &str) -> Option<&str> {
    Some(reference.strip_prefix('s')?.split_once(':')?.1)
}

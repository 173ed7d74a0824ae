//! The send queue of one room: one message at a time, with the same client id until `stored`, and the requested pauses.
//! Pure except for the clock; the engine sends the bytes.

use std::collections::VecDeque;
use std::time::Duration;

use serde_json::json;
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::{SendOptions, Sent, Stored};
use crate::clock;
use crate::frames::{Ack, ErrorFrame};

/// The server must answer within 30 s; no answer by now is a violation.
const ANSWER_PATIENCE: Duration = Duration::from_secs(40);
const DEFAULT_RETRY: Duration = Duration::from_millis(200);

/// A message to be sent.
pub(super) struct Sending {
    room: String,
    text: String,
    options: SendOptions,
    client_id: String,
    attempts: u32,
    first: Option<Instant>,
    stored: oneshot::Sender<Result<Sent, String>>,
}

impl Sending {
    pub(super) fn new(room: &str, text: &str, options: SendOptions) -> (Sending, Stored) {
        let (stored, waiting) = oneshot::channel();
        let (room, text) = (room.to_owned(), text.to_owned());
        (Sending { room, text, options, client_id: String::new(), attempts: 0, first: None, stored }, waiting)
    }

    pub(super) fn room(&self) -> &str {
        &self.room
    }
}

/// When the first message must be sent, or answered.
enum Due {
    Send(Instant),
    Answer(Instant),
}

/// What to do after a deadline.
pub(super) enum DeadlineAction {
    /// Send this frame.
    Send(Outgoing),
    /// An answer is overdue.
    Unanswered,
}

/// A message to send now.
pub(super) struct Outgoing {
    pub(super) frame: String,
    pub(super) room: String,
    pub(super) client_id: String,
    pub(super) text: String,
    pub(super) visible_to: Vec<String>,
}

/// The queue; only the first message has been sent.
#[derive(Default)]
pub(super) struct Outbox {
    queue: VecDeque<Sending>,
    due: Option<Due>,
}

impl Outbox {
    pub(super) fn push(&mut self, sending: Sending) {
        self.queue.push_back(sending);
        if self.due.is_none() {
            self.due = Some(Due::Send(Instant::now()));
        }
    }

    /// After a reconnect or a new epoch: sends the first message again if it is not stored.
    pub(super) fn repeat(&mut self) {
        if !self.queue.is_empty() {
            self.due = Some(Due::Send(Instant::now()));
        }
    }

    /// The client id of the first message, once it was sent.
    pub(super) fn front(&self) -> Option<&str> {
        self.queue.front().map(|front| front.client_id.as_str())
    }

    /// Whether a message waits for its answer.
    pub(super) fn is_sending(&self) -> bool {
        matches!(self.due, Some(Due::Answer(_)))
    }

    /// The next deadline. While `holding`, no new message is sent.
    pub(super) fn deadline(&self, holding: bool) -> Option<Instant> {
        match self.due {
            Some(Due::Send(at)) if !holding => Some(at),
            Some(Due::Answer(at)) => Some(at),
            _ => None,
        }
    }

    /// Handles a passed deadline.
    pub(super) fn on_deadline(&mut self) -> Option<DeadlineAction> {
        match self.due {
            Some(Due::Answer(_)) => {
                self.repeat();
                Some(DeadlineAction::Unanswered)
            }
            Some(Due::Send(_)) => {
                let front = self.queue.front_mut()?;
                front.attempts += 1;
                front.first.get_or_insert_with(Instant::now);
                if front.client_id.is_empty() {
                    front.client_id = clock::client_id();
                }
                self.due = Some(Due::Answer(Instant::now() + ANSWER_PATIENCE));
                let mut frame = json!({
                    "type": "message:send", "ref": reference(&front.client_id, front.attempts),
                    "room": front.room, "client_id": front.client_id, "content": front.text,
                    "attempt": front.attempts,
                });
                let SendOptions { visible_to, accepted } = &front.options;
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
                }))
            }
            None => None,
        }
    }

    /// Handles an ack. The ack of an earlier attempt counts too, because the client id is the same.
    pub(super) fn acked(&mut self, client_id: &str, ack: Ack) {
        if self.queue.front().is_none_or(|front| front.client_id != client_id) {
            return;
        }
        let enough = self.queue.front().is_some_and(|front| front.options.accepted);
        if ack.stage != "stored" && !enough {
            self.due = Some(Due::Send(Instant::now() + DEFAULT_RETRY));
            return;
        }
        self.finish(|front| {
            let took = front.first.map(|first| first.elapsed()).unwrap_or_default();
            let (client_id, attempts) = (front.client_id.clone(), front.attempts);
            Ok(Sent { client_id, seq: ack.seq, id: ack.id.unwrap_or_default(), attempts, took })
        });
    }

    /// Handles an error: repeats the message, or fails it if a retry cannot help.
    pub(super) fn refused(&mut self, client_id: &str, error: &ErrorFrame) {
        if self.queue.front().is_none_or(|front| front.client_id != client_id) {
            return;
        }
        if is_passing(&error.code) {
            let pause = error.retry_after_ms.map_or(DEFAULT_RETRY, Duration::from_millis);
            self.due = Some(Due::Send(Instant::now() + pause));
        } else {
            self.finish(|_| Err(format!("{} {:?}: {}", error.code, error.reason, error.message)));
        }
    }

    /// The listener has stopped: fails all messages that are not stored.
    pub(super) fn abandon(&mut self, why: &str) {
        while !self.queue.is_empty() {
            self.finish(|_| Err(why.to_owned()));
        }
    }

    fn finish(&mut self, outcome: impl FnOnce(&Sending) -> Result<Sent, String>) {
        if let Some(front) = self.queue.pop_front() {
            let outcome = outcome(&front);
            // The receiver is gone if the sender's task was cancelled.
            let _ = front.stored.send(outcome);
        }
        self.due = (!self.queue.is_empty()).then(|| Due::Send(Instant::now()));
    }
}

/// Codes after which the same command may succeed.
pub(super) fn is_passing(code: &str) -> bool {
    matches!(code, "rate_limited" | "overloaded" | "unavailable" | "internal")
}

fn reference(client_id: &str, attempt: u32) -> String {
    format!("s{attempt}:{client_id}")
}

/// The client id of a ref made above.
pub(super) fn client_id_of(reference: &str) -> Option<&str> {
    Some(reference.strip_prefix('s')?.split_once(':')?.1)
}

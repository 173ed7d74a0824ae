//! The received events of a listener. Equal messages of several listeners are stored once, by the [`Interner`].

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};

use crate::frames::MessageNew;
use crate::http::MessageObject;

/// A message as it was received.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Received {
    /// Seq of the event in the room's log.
    pub seq: u64,
    /// Message id.
    pub id: String,
    /// The client id, which the sender has chosen.
    pub client_id: String,
    /// The sender's user id.
    pub sender: String,
    /// The text of the message.
    pub text: String,
}

/// Stores equal messages once, because thousands of listeners receive the same bytes. Messages are equal only if all
/// their bytes are.
#[derive(Debug, Default)]
pub struct Interner(Mutex<HashSet<Arc<Received>>>);

impl Interner {
    pub(crate) fn intern(&self, received: Received) -> Arc<Received> {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(same) = known.get(&received) {
            return Arc::clone(same);
        }
        let new = Arc::new(received);
        known.insert(Arc::clone(&new));
        new
    }
}

/// A received event at one position of the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RecordedEvent {
    Message(Arc<Received>),
    /// Any other event.
    Event(u64),
    /// `message:void` at the first seq makes the record at the second seq void.
    Void(u64, u64),
}

impl RecordedEvent {
    /// Seq of the event in the room's log.
    pub fn seq(&self) -> u64 {
        match self {
            RecordedEvent::Message(received) => received.seq,
            RecordedEvent::Event(seq) | RecordedEvent::Void(seq, _) => *seq,
        }
    }
}

impl From<MessageNew> for Received {
    fn from(message: MessageNew) -> Received {
        Received {
            seq: message.seq,
            id: message.id,
            client_id: message.client_id,
            sender: message.sender.id,
            text: message.content,
        }
    }
}

impl From<MessageObject> for Received {
    fn from(message: MessageObject) -> Received {
        Received {
            seq: message.seq,
            id: message.id,
            client_id: message.client_id,
            sender: message.sender.id,
            text: message.content,
        }
    }
}

//! The received events of a listener. Equal messages of several listeners are stored once.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};

use crate::frames::MessageNew;
use crate::http::MessageObject;

/// A message as it was received.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Received {
    /// Its place in the log.
    pub seq: u64,
    /// Message id.
    pub id: String,
    /// The sender's own id of it.
    pub client_id: String,
    /// The sender's user id.
    pub sender: String,
    /// What was said.
    pub text: String,
}

/// Stores equal messages once: thousands of listeners receive the same bytes, and each copy is compared byte by byte
/// when it arrives.
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
pub enum Held {
    /// A message.
    Message(Arc<Received>),
    /// Any other event.
    Event(u64),
    /// `message:void` at the first seq makes the record at the second seq void.
    Void(u64, u64),
}

impl Held {
    /// Its place in the log.
    pub fn seq(&self) -> u64 {
        match self {
            Held::Message(received) => received.seq,
            Held::Event(seq) | Held::Void(seq, _) => *seq,
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

//! One user of the kit's process.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde::Deserialize;
use serde_json::json;

use super::{Kit, PersonState};
use crate::listener::Sent;
use crate::play::room_view::RoomView;
use crate::recorder::{Interner, Received, Violations};

/// A user whose client is in the kit's process.
pub struct KitPerson {
    number: usize,
    kit: Arc<Kit>,
    state: Arc<PersonState>,
    here: AtomicBool,
}

#[derive(Deserialize)]
struct SentAnswer {
    client_id: String,
    seq: u64,
    message_id: String,
    took_us: u64,
}

/// The final state of a user. `came` is false if the user never came online.
#[derive(Deserialize)]
struct FinalState {
    came: bool,
    start: Option<u64>,
    cursor: Option<u64>,
    messages: Vec<(u64, String, String, String, String)>,
    duplicated: u64,
    reordered: u64,
    others: u64,
    told: Vec<String>,
    broken: Vec<String>,
}

impl KitPerson {
    pub(super) fn new(number: usize, kit: Arc<Kit>, state: Arc<PersonState>) -> KitPerson {
        KitPerson { number, kit, state, here: AtomicBool::new(false) }
    }

    /// Goes online, and returns when the room is live. Errors appear in the final state.
    pub(in crate::play) async fn go_online(&self) {
        self.here.store(true, Ordering::Relaxed);
        let _ = self.kit.request(json!({ "do": "come", "person": self.number })).await;
    }

    pub(in crate::play) fn go_offline(&self) {
        self.here.store(false, Ordering::Relaxed);
        self.kit.send_order(&json!({ "do": "go", "person": self.number }));
    }

    pub(in crate::play) async fn send(&self, text: &str) -> Result<Sent, String> {
        let answer = self.kit.request(json!({ "do": "say", "person": self.number, "text": text })).await?;
        let sent: SentAnswer = serde_json::from_value(answer).map_err(|error| error.to_string())?;
        Ok(Sent {
            client_id: sent.client_id,
            seq: sent.seq,
            id: sent.message_id,
            attempts: 1,
            took: Duration::from_micros(sent.took_us),
        })
    }

    pub(in crate::play) fn seq(&self) -> u64 {
        self.state.seq.load(Ordering::Relaxed)
    }

    pub(in crate::play) fn connections(&self) -> u64 {
        self.state.connections.load(Ordering::Relaxed)
    }

    pub(in crate::play) fn is_online(&self) -> bool {
        self.here.load(Ordering::Relaxed)
    }

    pub(in crate::play) async fn room_view(
        &self,
        interner: &Interner,
    ) -> Result<(Option<RoomView>, Vec<String>), String> {
        let answer = self.kit.request(json!({ "do": "tell", "person": self.number })).await?;
        let last: FinalState = serde_json::from_value(answer).map_err(|error| error.to_string())?;
        let messages = last.messages.into_iter().map(|(seq, id, client_id, sender, text)| {
            interner.intern(Received { seq, id, client_id, sender, text })
        });
        let view = RoomView {
            messages: messages.collect(),
            start: last.start,
            cursor: last.cursor,
            violations: Violations {
                duplicated: last.duplicated,
                reordered: last.reordered,
                others: last.others,
                descriptions: last.told,
            },
        };
        Ok((last.came.then_some(view), last.broken))
    }
}

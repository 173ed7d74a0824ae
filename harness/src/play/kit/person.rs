//! One user of the kit's process.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde::Deserialize;
use serde_json::json;

use super::{Kit, PersonState};
use crate::listener::Sent;
use crate::play::heard::Heard;
use crate::recorder::{Interner, Received, Violations};

/// See the module.
pub struct KitPerson {
    number: usize,
    kit: Arc<Kit>,
    state: Arc<PersonState>,
    here: AtomicBool,
}

#[derive(Deserialize)]
struct Said {
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

    /// Returns when the room is live; errors appear in the final state.
    pub(in crate::play) async fn come(&self) {
        self.here.store(true, Ordering::Relaxed);
        let _ = self.kit.ask(json!({ "do": "come", "person": self.number })).await;
    }

    pub(in crate::play) fn go(&self) {
        self.here.store(false, Ordering::Relaxed);
        self.kit.tell(&json!({ "do": "go", "person": self.number }));
    }

    pub(in crate::play) async fn say(&self, text: &str) -> Result<Sent, String> {
        let answer = self.kit.ask(json!({ "do": "say", "person": self.number, "text": text })).await?;
        let said: Said = serde_json::from_value(answer).map_err(|error| error.to_string())?;
        Ok(Sent {
            client_id: said.client_id,
            seq: said.seq,
            id: said.message_id,
            attempts: 1,
            took: Duration::from_micros(said.took_us),
        })
    }

    pub(in crate::play) fn seq(&self) -> u64 {
        self.state.seq.load(Ordering::Relaxed)
    }

    pub(in crate::play) fn connections(&self) -> u64 {
        self.state.connections.load(Ordering::Relaxed)
    }

    pub(in crate::play) fn is_here(&self) -> bool {
        self.here.load(Ordering::Relaxed)
    }

    pub(in crate::play) async fn heard(
        &self,
        interner: &Interner,
    ) -> Result<(Option<Heard>, Vec<String>), String> {
        let answer = self.kit.ask(json!({ "do": "tell", "person": self.number })).await?;
        let last: FinalState = serde_json::from_value(answer).map_err(|error| error.to_string())?;
        let messages = last.messages.into_iter().map(|(seq, id, client_id, sender, text)| {
            interner.intern(Received { seq, id, client_id, sender, text })
        });
        let heard = Heard {
            messages: messages.collect(),
            start: last.start,
            cursor: last.cursor,
            violations: Violations {
                duplicated: last.duplicated,
                reordered: last.reordered,
                others: last.others,
                told: last.told,
            },
        };
        Ok((last.came.then_some(heard), last.broken))
    }
}

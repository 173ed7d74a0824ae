//! What is neither stored nor replayed: typing, signals, presence.

use std::rc::Rc;

use tidings_shared::error::Refusal;

use super::{Client, refuse};
use crate::{command::Live, worker::Worker};

pub(super) fn start(worker: &Rc<Worker>, client: &Rc<Client>, reference: Option<String>, live: Live) {
    let room = match &live {
        Live::Typing { room, .. } | Live::Signal { room, .. } => Some(room),
        Live::PresenceSet(_) | Live::PresenceGet(_) => None,
    };
    refuse(worker, client, reference.as_deref(), room, &Refusal::unavailable("not yet"));
}

//! `typing:start`, `typing:stop`, `signal`, `presence:set`, `presence:get`: what is neither stored nor replayed.

use super::{Effect, Live};

pub(super) fn apply(reference: Option<String>, live: Live) -> Vec<Effect> {
    vec![Effect::Live { reference, live }]
}

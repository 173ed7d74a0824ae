//! `typing:start`, `typing:stop`, `signal`, `presence:set`, `presence:get`: what is neither stored nor replayed.

use super::{Asked, Effect, Live};

pub(super) fn apply(asked: Asked, live: Live) -> Vec<Effect> {
    vec![Effect::Live { asked, live }]
}

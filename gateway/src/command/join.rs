//! `room:join`: hear of one room, several, or all of one's own.

use tidings_shared::protocol::JoinTarget;

use super::{Asked, Effect};

pub(super) fn apply(asked: Asked, target: JoinTarget, presence: bool) -> Vec<Effect> {
    vec![Effect::Join { asked, target, presence }]
}

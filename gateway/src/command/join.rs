//! `room:join`: hear of one room, several, or all of one's own.

use tidings_shared::protocol::JoinTarget;

use super::Effect;

pub(super) fn apply(reference: Option<String>, target: JoinTarget, presence: bool) -> Vec<Effect> {
    vec![Effect::Join { reference, target, presence }]
}

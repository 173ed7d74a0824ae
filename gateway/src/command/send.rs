//! `message:send`: a checked message within the user's allowance goes to the room's log.

use tidings_shared::{
    auth::Identity,
    error::{ErrorCode, Refusal},
    ids::RoomId,
    message::Draft,
};

use super::{Context, Effect};

pub(super) fn apply(
    identity: &Identity,
    context: &Context<'_>,
    reference: Option<String>,
    room: RoomId,
    draft: Box<Draft>,
) -> Vec<Effect> {
    match within_allowance(identity, context) {
        Ok(()) => vec![Effect::Append { reference, room, draft }],
        Err(refusal) => vec![Effect::refuse(reference, Some(room), refusal)],
    }
}

/// Takes one message off the user's allowance.
pub(super) fn within_allowance(identity: &Identity, context: &Context<'_>) -> Result<(), Refusal> {
    (context.allow_message)(&identity.user).map_err(|retry_after_ms| Refusal {
        retry_after_ms: Some(retry_after_ms),
        ..Refusal::new(ErrorCode::RateLimited, "too many messages; repeat this one later")
    })
}

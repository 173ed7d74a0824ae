//! `auth`: the first tells who is connecting, later ones put off the token's end.

use std::rc::Rc;

use tidings_shared::{
    auth::{Identity, Reason},
    protocol::{
        CloseCode,
        server::{ServerFrame, rfc3339},
    },
};

use super::{Context, Effect, State};

pub(super) fn apply(
    state: &mut State,
    context: &Context<'_>,
    reference: Option<String>,
    token: &str,
) -> Vec<Effect> {
    let verified = context.verifier.verify(token);
    match (state, verified) {
        (state @ State::AwaitingAuth, Ok(identity)) => {
            *state = State::Authenticating;
            vec![Effect::Authenticate { reference, identity }]
        }
        (State::AwaitingAuth, Err(reason)) => vec![
            Effect::refuse(reference, None, reason),
            Effect::Close(CloseCode::Unauthorized, "the token was refused"),
        ],
        (State::Ready(current), Ok(identity)) if identity.user == current.user => {
            let expires_at = rfc3339(identity.expires_at_s.saturating_mul(1000));
            // A token without a name does not take away the one that the account has.
            let name = identity.name.or_else(|| current.name.clone());
            let picture = identity.picture.or_else(|| current.picture.clone());
            *current = Rc::new(Identity { name, picture, ..identity });
            let answer =
                ServerFrame::AuthOk { reference: reference.as_deref(), expires_at: &expires_at }.to_json();
            vec![Effect::Renewed, Effect::Reply(answer)]
        }
        (State::Ready(_), Ok(_)) => vec![Effect::refuse(reference, None, Reason::UserChanged)],
        // The old token stays valid until it expires.
        (State::Ready(_), Err(reason)) => vec![Effect::refuse(reference, None, reason)],
        (State::Authenticating, _) => vec![Effect::refuse(reference, None, Reason::Missing)],
    }
}

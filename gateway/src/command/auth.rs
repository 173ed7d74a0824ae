//! `auth`: the first tells who is connecting, later ones put off the token's end.

use std::rc::Rc;

use tidings_shared::{
    auth::{Identity, Reason, Unverified},
    error::{ErrorCode, Refusal},
    ids::RoomId,
    protocol::{
        CloseCode,
        server::{ServerFrame, rfc3339},
    },
};

use super::{Asked, Context, Effect, State};

pub(super) fn apply(state: &mut State, context: &Context<'_>, asked: Asked, token: String) -> Vec<Effect> {
    if matches!(state, State::Authenticating) {
        return vec![Effect::refuse(asked, None, Reason::Missing)];
    }
    match context.verifier.verify(&token) {
        Ok(identity) => settle(state, asked, Ok(identity)),
        Err(Unverified::Refused(reason)) => settle(state, asked, Err(reason.into())),
        Err(Unverified::KeysNeeded) => vec![Effect::FindKey { asked, token }],
    }
}

/// What a token leads to, once it is known whether it is good.
pub(super) fn settle(state: &mut State, asked: Asked, verdict: Result<Identity, Refusal>) -> Vec<Effect> {
    match (state, verdict) {
        (state @ State::AwaitingAuth, Ok(identity)) => {
            *state = State::Authenticating;
            vec![Effect::Authenticate { asked, identity }]
        }
        (State::AwaitingAuth, Err(refusal)) => {
            let close = match refusal.code {
                ErrorCode::Unauthorized => Effect::Close(CloseCode::Unauthorized, "the token was refused"),
                _ => Effect::Close(CloseCode::Overloaded, "the token cannot be checked now"),
            };
            vec![Effect::refuse(asked, None, refusal), close]
        }
        (State::Ready(current), Ok(identity)) if identity.user == current.user => {
            let expires_at = rfc3339(identity.expires_at_s.saturating_mul(1000));
            // A token without a name does not take away the one that the account has.
            let name = identity.name.or_else(|| current.name.clone());
            let picture = identity.picture.or_else(|| current.picture.clone());
            *current = Rc::new(Identity { name, picture, ..identity });
            let answer =
                ServerFrame::AuthOk { reference: asked.reference(), expires_at: &expires_at }.to_json();
            vec![Effect::Renewed, Effect::Reply(answer)]
        }
        (State::Ready(_), Ok(_)) => vec![Effect::refuse(asked, None, Reason::UserChanged)],
        // The old token stays valid until it expires.
        (State::Ready(_), Err(refusal)) => vec![Effect::refuse(asked, None, refusal)],
        (State::Authenticating, _) => vec![Effect::refuse(asked, None, Reason::Missing)],
    }
}

/// A frame that cannot be carried out, before there is a token. Whatever is wrong with it, the token is what is
/// missing; an `auth` without one is as good as one with a bad one.
pub(super) fn unreadable(
    state: &mut State,
    asked: Asked,
    room: Option<RoomId>,
    refusal: Refusal,
) -> Vec<Effect> {
    match refusal.field.as_deref() {
        // No other command has this field.
        Some("token") => settle(state, asked, Err(Reason::Missing.into())),
        // What is no object, and what cannot be answered under its `ref`, is no command either.
        None | Some("ref") => vec![Effect::refuse(asked, room, refusal)],
        Some(_) => vec![Effect::refuse(asked, room, Reason::Missing)],
    }
}

#[cfg(test)]
mod tests {
    use tidings_shared::auth::{Given, Rules, Settings, Verifier};

    use super::*;

    /// Of keys at a URL where nobody answers.
    fn verifier() -> Verifier {
        let given = Given {
            secret: None,
            public_key: None,
            jwks_file: None,
            jwks_url: Some("http://127.0.0.1:1/keys"),
            algorithms: &["ES256".to_owned()],
            rules: Rules { audiences: vec!["tidings".to_owned()], ..Rules::default() },
        };
        Verifier::start(Settings::read(given).unwrap(), |_| {})
    }

    fn ready() -> State {
        let user = tidings_shared::ids::UserId::parse("a").unwrap();
        let identity =
            Identity { user, name: None, picture: None, expires_at_s: 4_000_000_000, admin: false };
        State::Ready(Rc::new(identity))
    }

    #[tokio::test]
    async fn a_token_whose_key_is_not_here_has_it_looked_for_before_anything_is_said() {
        let verifier = verifier();
        let allow =
            |_: crate::limits::Limit, _: &tidings_shared::ids::UserId, _: std::num::NonZeroU32| Ok(());
        let context = Context { verifier: &verifier, allow: &allow, now_ms: 0 };
        let token = "eyJhbGciOiJFUzI1NiIsImtpZCI6ImsifQ.e30.AAAA"; // {"alg":"ES256","kid":"k"}
        for mut state in [State::AwaitingAuth, ready()] {
            let effects = apply(&mut state, &context, Asked::untold(Some("r".to_owned())), token.to_owned());
            assert!(
                matches!(&effects[..], [Effect::FindKey { asked, token: t }] if asked.reference() == Some("r") && t == token)
            );
        }
        // What needs no key is said at once.
        let effects = apply(&mut State::AwaitingAuth, &context, Asked::untold(None), "nonsense".to_owned());
        assert!(matches!(&effects[..], [Effect::Refuse { .. }, Effect::Close(CloseCode::Unauthorized, _)]));
    }

    #[test]
    fn what_cannot_be_checked_now_ends_a_connection_without_a_token_and_leaves_one_with() {
        let away = || Err(Refusal::unavailable("later"));
        let effects = settle(&mut State::AwaitingAuth, Asked::untold(None), away());
        assert!(
            matches!(&effects[..], [Effect::Refuse { refusal, .. }, Effect::Close(CloseCode::Overloaded, _)]
            if refusal.code == ErrorCode::Unavailable)
        );
        let mut state = ready();
        let effects = settle(&mut state, Asked::untold(None), away());
        assert!(
            matches!(&effects[..], [Effect::Refuse { refusal, .. }] if refusal.code == ErrorCode::Unavailable)
        );
        assert!(matches!(&state, State::Ready(identity) if identity.expires_at_s == 4_000_000_000));
    }
}

//! The effects of `auth`: the first `auth` authenticates the connection, and later ones renew the token.

use std::rc::Rc;

use tidings_shared::{
    auth::{Identity, Reason, VerifyError},
    error::{ErrorCode, Refusal},
    ids::RoomId,
    protocol::{
        CloseCode,
        server::{ServerFrame, rfc3339},
    },
};

use super::{AuthState, Effect, Environment, RequestContext};

/// Returns the effects of one `auth`. If the key of the token was not fetched yet, this is [`Effect::FetchKey`], and
/// the state stays unchanged.
pub(super) fn apply(
    state: &mut AuthState,
    env: &Environment<'_>,
    request: RequestContext,
    token: String,
) -> Vec<Effect> {
    if matches!(state, AuthState::Authenticating) {
        return vec![Effect::refuse(request, None, Reason::Missing)];
    }
    match env.verifier.verify(&token) {
        Ok(identity) => finish_auth(state, request, Ok(identity)),
        Err(VerifyError::Refused(reason)) => finish_auth(state, request, Err(reason.into())),
        Err(VerifyError::KeysNeeded) => vec![Effect::FetchKey { request, token }],
    }
}

/// Returns the effects of an `auth` command whose token was verified with the result `verdict`. Also completes an
/// `auth` command that waited for [`Effect::FetchKey`].
pub fn finish_auth(
    state: &mut AuthState,
    request: RequestContext,
    verdict: Result<Identity, Refusal>,
) -> Vec<Effect> {
    match (state, verdict) {
        (state @ AuthState::AwaitingAuth, Ok(identity)) => {
            *state = AuthState::Authenticating;
            vec![Effect::Authenticate { request, identity }]
        }
        (AuthState::AwaitingAuth, Err(refusal)) => {
            let close = match refusal.code {
                ErrorCode::Unauthorized => Effect::Close(CloseCode::Unauthorized, "the token was refused"),
                _ => Effect::Close(CloseCode::Overloaded, "the token cannot be checked now; reconnect"),
            };
            vec![Effect::refuse(request, None, refusal), close]
        }
        (AuthState::Ready(current), Ok(identity)) if identity.user == current.user => {
            let expires_at = rfc3339(identity.expires_at_s.saturating_mul(1000));
            // A token without a name does not remove the name of the account.
            let name = identity.name.or_else(|| current.name.clone());
            let picture = identity.picture.or_else(|| current.picture.clone());
            *current = Rc::new(Identity { name, picture, ..identity });
            let answer =
                ServerFrame::AuthOk { reference: request.reference(), expires_at: &expires_at }.to_json();
            vec![Effect::TokenRenewed, Effect::Reply(answer)]
        }
        (AuthState::Ready(_), Ok(_)) => vec![Effect::refuse(request, None, Reason::UserChanged)],
        // After a refused renewal, the old token stays valid until it expires.
        (AuthState::Ready(_), Err(refusal)) => vec![Effect::refuse(request, None, refusal)],
        (AuthState::Authenticating, _) => vec![Effect::refuse(request, None, Reason::Missing)],
    }
}

/// Refuses an invalid frame of a connection without a user. Most errors of such a frame are reported as a missing
/// token. An `auth` without a token is treated like an `auth` with a bad token.
pub(super) fn refuse_unreadable(
    state: &mut AuthState,
    request: RequestContext,
    room: Option<RoomId>,
    refusal: Refusal,
) -> Vec<Effect> {
    match refusal.field.as_deref() {
        // Only `auth` has this field, so the frame is an `auth`.
        Some("token") => finish_auth(state, request, Err(Reason::Missing.into())),
        // A frame that is no JSON object, or that has an invalid `ref`, is answered with its own error.
        None | Some("ref") => vec![Effect::refuse(request, room, refusal)],
        Some(_) => vec![Effect::refuse(request, room, Reason::Missing)],
    }
}

#[cfg(test)]
mod tests {
    use tidings_shared::auth::{CheckedTokenSettings, ClaimRules, TokenSettings, Verifier};

    use super::*;

    /// A verifier with keys at a URL where no server listens.
    fn verifier() -> Verifier {
        let settings = TokenSettings {
            secret: None,
            public_key: None,
            jwks_file: None,
            jwks_url: Some("http://127.0.0.1:1/keys"),
            algorithms: &["ES256".to_owned()],
            rules: ClaimRules { audiences: vec!["tidings".to_owned()], ..ClaimRules::default() },
        };
        Verifier::start(CheckedTokenSettings::check(settings).unwrap(), |_| {})
    }

    fn ready_state() -> AuthState {
        let user = tidings_shared::ids::UserId::parse("a").unwrap();
        let identity = Identity {
            user,
            name: None,
            picture: None,
            expires_at_s: 4_000_000_000,
            admin: false,
            feed: false,
        };
        AuthState::Ready(Rc::new(identity))
    }

    #[tokio::test]
    async fn token_with_unknown_key_fetches_it_before_any_answer() {
        let verifier = verifier();
        let take_tokens =
            |_: crate::limits::Limit, _: &tidings_shared::ids::UserId, _: std::num::NonZeroU32| Ok(());
        let env = Environment { verifier: &verifier, take_tokens: &take_tokens, now_ms: 0 };
        let token = "eyJhbGciOiJFUzI1NiIsImtpZCI6ImsifQ.e30.AAAA"; // {"alg":"ES256","kid":"k"}
        for mut state in [AuthState::AwaitingAuth, ready_state()] {
            let effects =
                apply(&mut state, &env, RequestContext::unobserved(Some("r".to_owned())), token.to_owned());
            assert!(
                matches!(&effects[..], [Effect::FetchKey { request, token: t }] if request.reference() == Some("r") && t == token)
            );
        }
        // A token that needs no key is refused at once.
        let effects = apply(
            &mut AuthState::AwaitingAuth,
            &env,
            RequestContext::unobserved(None),
            "nonsense".to_owned(),
        );
        assert!(matches!(&effects[..], [Effect::Refuse { .. }, Effect::Close(CloseCode::Unauthorized, _)]));
    }

    #[test]
    fn uncheckable_token_closes_only_unauthenticated_connection() {
        let unavailable = || Err(Refusal::unavailable("later"));
        let effects =
            finish_auth(&mut AuthState::AwaitingAuth, RequestContext::unobserved(None), unavailable());
        assert!(
            matches!(&effects[..], [Effect::Refuse { refusal, .. }, Effect::Close(CloseCode::Overloaded, _)]
            if refusal.code == ErrorCode::Unavailable)
        );
        let mut state = ready_state();
        let effects = finish_auth(&mut state, RequestContext::unobserved(None), unavailable());
        assert!(
            matches!(&effects[..], [Effect::Refuse { refusal, .. }] if refusal.code == ErrorCode::Unavailable)
        );
        assert!(matches!(&state, AuthState::Ready(identity) if identity.expires_at_s == 4_000_000_000));
    }
}

//! The authentication state of a connection, and the outcome of an `auth`: the first one admits the user, and later
//! ones renew the token.

use std::rc::Rc;

use tidings_shared::{
    auth::{Identity, Reason},
    error::{ErrorCode, Refusal},
    protocol::CloseCode,
};

/// The authentication state of a connection.
#[derive(Debug, Default)]
pub enum AuthState {
    /// The connection has no user yet, so only `auth` is accepted.
    #[default]
    AwaitingAuth,
    /// The token is valid and the account is being read. The connection reads no frame in this state.
    Authenticating,
    Ready(Rc<Identity>),
}

/// The outcome of an `auth`.
#[derive(Debug)]
pub(crate) enum AuthOutcome {
    /// The account of the user is read next.
    Admit(Identity),
    /// The connection has a new token.
    Renewed(Rc<Identity>),
    Refused(Refusal),
    /// The `auth` is refused, and the connection closes.
    RefusedAndClosed(Refusal, CloseCode, &'static str),
}

impl AuthState {
    /// Applies an `auth` whose token was verified with the result `verdict`.
    pub(crate) fn apply(&mut self, verdict: Result<Identity, Refusal>) -> AuthOutcome {
        match (self, verdict) {
            (state @ Self::AwaitingAuth, Ok(identity)) => {
                *state = Self::Authenticating;
                AuthOutcome::Admit(identity)
            }
            (Self::AwaitingAuth, Err(refusal)) => {
                let (code, reason) = match refusal.code {
                    ErrorCode::Unauthorized => (CloseCode::Unauthorized, "the token was refused"),
                    _ => (CloseCode::Overloaded, "the token cannot be checked now; reconnect"),
                };
                AuthOutcome::RefusedAndClosed(refusal, code, reason)
            }
            (Self::Ready(current), Ok(identity)) if identity.user == current.user => {
                // A token without a name does not remove the name of the account.
                let name = identity.name.or_else(|| current.name.clone());
                let picture = identity.picture.or_else(|| current.picture.clone());
                *current = Rc::new(Identity { name, picture, ..identity });
                AuthOutcome::Renewed(current.clone())
            }
            (Self::Ready(_), Ok(_)) => AuthOutcome::Refused(Reason::UserChanged.into()),
            // After a refused renewal, the old token stays valid until it expires.
            (Self::Ready(_), Err(refusal)) => AuthOutcome::Refused(refusal),
            (Self::Authenticating, _) => AuthOutcome::Refused(Reason::Missing.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use tidings_shared::ids::UserId;

    use super::*;

    fn identity(user: &str, expires_at_s: i64) -> Identity {
        let user = UserId::parse(user).unwrap();
        Identity { user, name: None, picture: None, expires_at_s, admin: false, feed: false }
    }

    #[test]
    fn good_token_authenticates_once() {
        let mut state = AuthState::default();
        let admitted = state.apply(Ok(identity("a", 1)));
        assert!(matches!(&admitted, AuthOutcome::Admit(identity) if identity.user.as_str() == "a"));
        let again = state.apply(Ok(identity("a", 1)));
        assert!(
            matches!(&again, AuthOutcome::Refused(refusal) if refusal.reason.as_deref() == Some("missing"))
        );
    }

    #[test]
    fn bad_token_closes_only_unauthenticated_connection() {
        let refusals = [
            (Refusal::from(Reason::Expired), CloseCode::Unauthorized),
            (Refusal::unavailable("later"), CloseCode::Overloaded),
        ];
        for (refusal, close) in refusals {
            let outcome = AuthState::AwaitingAuth.apply(Err(refusal.clone()));
            assert!(matches!(&outcome, AuthOutcome::RefusedAndClosed(sent, code, _)
                    if sent.code == refusal.code && *code == close));
            let mut state = AuthState::Ready(Rc::new(identity("a", 7)));
            let outcome = state.apply(Err(refusal.clone()));
            assert!(matches!(&outcome, AuthOutcome::Refused(sent) if sent.code == refusal.code));
            assert!(matches!(&state, AuthState::Ready(identity) if identity.expires_at_s == 7));
        }
    }

    #[test]
    fn later_token_renews_for_same_user_only() {
        let named = Identity { name: Some("Ann".to_owned()), ..identity("a", 7) };
        let mut state = AuthState::Ready(Rc::new(named));
        let other = state.apply(Ok(identity("b", 8)));
        assert!(matches!(&other, AuthOutcome::Refused(refusal)
            if refusal.reason.as_deref() == Some("user_changed")));
        let same = state.apply(Ok(identity("a", 8)));
        assert!(matches!(&same, AuthOutcome::Renewed(identity)
            if identity.expires_at_s == 8 && identity.name.as_deref() == Some("Ann")));
        assert!(matches!(&state, AuthState::Ready(identity) if identity.expires_at_s == 8));
    }
}

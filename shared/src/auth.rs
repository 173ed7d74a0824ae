//! Authentication: JSON Web Tokens (RFC 7519), verified with the configured keys and with keys fetched from a URL.
//!
//! `settings` checks the configuration. `token` parses a token, `keys` chooses the `key`s that may verify it, and
//! `claims` reads the identity from the claims. `source` keeps the keys of the URL fresh, and `fetch` downloads them.
//! The algorithm comes from the key, never from the token (RFC 8725, 3.1).

mod claims;
mod fetch;
mod key;
mod keys;
mod settings;
mod source;
mod token;
mod verifier;

use jsonwebtoken::{EncodingKey, Header};
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Map, Value};

use crate::{
    error::{ErrorCode, Refusal},
    ids::UserId,
};

pub use claims::ClaimRules;
pub(crate) use key::MIN_SECRET_BYTES;
pub use settings::{CheckedTokenSettings, TokenSettings};
pub use verifier::{Unverified, Verifier};

/// Tokens with this scope may choose room ids and act on any room.
pub const ADMIN_SCOPE: &str = "tidings.admin";

/// Why a token was refused; clients get it as `reason`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Reason {
    Missing,
    Malformed,
    Algorithm,
    Signature,
    UnknownKey,
    Expired,
    NotYetValid,
    Claims,
    UnknownUser,
    UserChanged,
}

impl Reason {
    #[must_use]
    pub fn as_str(self) -> &'static str {
        self.name_and_message().0
    }

    fn name_and_message(self) -> (&'static str, &'static str) {
        match self {
            Self::Missing => ("missing", "a bearer token is required"),
            Self::Malformed => ("malformed", "the token is not a well-formed JWT"),
            Self::Algorithm => ("algorithm", "the key of the token does not allow the token's algorithm"),
            Self::Signature => ("signature", "the token's signature does not verify"),
            Self::UnknownKey => ("unknown_key", "no key of this service matches the token"),
            Self::Expired => ("expired", "the token has expired; get a new one"),
            Self::NotYetValid => ("not_yet_valid", "the token is not valid yet"),
            Self::Claims => (
                "claims",
                "a required claim of the token is missing or invalid, or its issuer or audience is wrong",
            ),
            Self::UnknownUser => ("unknown_user", "the token's user does not exist; create the user first"),
            Self::UserChanged => {
                ("user_changed", "the token belongs to another user; open a new connection for that user")
            }
        }
    }
}

impl From<Reason> for Refusal {
    fn from(reason: Reason) -> Self {
        let (name, message) = reason.name_and_message();
        Refusal::new(ErrorCode::Unauthorized, message).with_reason(name)
    }
}

/// The user whom a valid token identifies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    pub user: UserId,
    pub name: Option<String>,
    pub picture: Option<String>,
    /// When the token expires: seconds since the Unix epoch, leeway included.
    pub expires_at_s: i64,
    /// The token has the scope `tidings.admin`.
    pub admin: bool,
}

/// Signs claims with HS256 and returns the token; for development and tests.
pub fn sign_hs256(
    secret: &SecretString,
    claims: &Map<String, Value>,
) -> Result<String, jsonwebtoken::errors::Error> {
    jsonwebtoken::encode(
        &Header::default(),
        claims,
        &EncodingKey::from_secret(secret.expose_secret().as_bytes()),
    )
}

#[cfg(test)]
mod tests;

//! Authentication: JSON Web Tokens (RFC 7519), verified with the configured keys and with keys fetched from a URL.
//!
//! `settings` checks the configuration. `token` parses a token, `keys` chooses the keys that may verify the token, and
//! `claims` reads the identity from the claims. `source` keeps the keys of the URL up to date, and `fetch` downloads
//! them. The algorithm comes from the key, never from the token (RFC 8725, 3.1).

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
    named_enum::named_enum,
};

pub use claims::ClaimRules;
pub use settings::{CheckedTokenSettings, TokenSettings};
pub use verifier::{Verifier, VerifyError};

/// The scope of an admin token, whose user may choose room ids and act on any room.
pub const ADMIN_SCOPE: &str = "tidings.admin";
/// The scope of a token that may read the feed: the events of all rooms, also private ones.
pub const FEED_SCOPE: &str = "tidings.feed";

named_enum! {
    /// Why a token was refused. Clients get the name as `reason`.
    pub enum Reason {
        Missing = "missing",
        Malformed = "malformed",
        Algorithm = "algorithm",
        Signature = "signature",
        UnknownKey = "unknown_key",
        Expired = "expired",
        NotYetValid = "not_yet_valid",
        Claims = "claims",
        UnknownUser = "unknown_user",
        UserChanged = "user_changed",
    }
}

impl From<Reason> for Refusal {
    fn from(reason: Reason) -> Self {
        let message = match reason {
            Reason::Missing => "a bearer token is required",
            Reason::Malformed => "the token is not a well-formed JWT",
            Reason::Algorithm => "the key of the token does not allow the token's algorithm",
            Reason::Signature => "the token's signature does not verify",
            Reason::UnknownKey => "no key of this service matches the token",
            Reason::Expired => "the token has expired; get a new one",
            Reason::NotYetValid => "the token is not valid yet",
            Reason::Claims => {
                "a required claim of the token is missing or invalid, or its issuer or audience is wrong"
            }
            Reason::UnknownUser => "the token's user does not exist; create the user first",
            Reason::UserChanged => "the token belongs to another user; open a new connection for that user",
        };
        Refusal::new(ErrorCode::Unauthorized, message).with_reason(reason.as_str())
    }
}

/// The user whom a valid token identifies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    pub user: UserId,
    pub name: Option<String>,
    pub picture: Option<String>,
    /// Expiry of the token plus the configured leeway, in seconds since the Unix epoch.
    pub expires_at_s: i64,
    /// Whether the token has the scope `tidings.admin`.
    pub admin: bool,
    /// Whether the token has the scope `tidings.feed`.
    pub feed: bool,
}

/// Signs claims with HS256 and returns the token. Used for development and tests only.
pub fn sign_hs256(
    secret: &SecretString,
    claims: &Map<String, Value>,
) -> jsonwebtoken::errors::Result<String> {
    let key = EncodingKey::from_secret(secret.expose_secret().as_bytes());
    jsonwebtoken::encode(&Header::default(), claims, &key)
}

#[cfg(test)]
mod tests;

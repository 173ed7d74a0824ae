//! What a token says of itself before any key has looked at it. Pure; nothing in it is trusted.

use std::str::FromStr;

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use jsonwebtoken::Algorithm;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::Reason;

/// Longer tokens are refused before they are looked at.
pub(super) const MAX_TOKEN_BYTES: usize = 8 * 1024;

/// The part of a header that says which keys to try. Keys and addresses of keys in it are never looked at.
pub(super) struct Head {
    pub algorithm: Algorithm,
    pub id: Option<String>,
}

#[derive(Deserialize)]
struct Fields<'a> {
    alg: String,
    #[serde(default)]
    kid: Option<String>,
    #[serde(borrow, default)]
    crit: Option<&'a RawValue>,
}

impl Head {
    pub fn read(token: &str) -> Result<Self, Reason> {
        if token.is_empty() {
            return Err(Reason::Missing);
        }
        if token.len() > MAX_TOKEN_BYTES {
            return Err(Reason::Malformed);
        }
        let mut parts = token.split('.');
        let head = parts.next().unwrap_or_default();
        if parts.count() != 2 {
            return Err(Reason::Malformed);
        }
        let head = URL_SAFE_NO_PAD.decode(head).map_err(|_| Reason::Malformed)?;
        let fields: Fields<'_> = serde_json::from_slice(&head).map_err(|_| Reason::Malformed)?;
        if fields.crit.is_some() {
            // RFC 7515, 4.1.11: an extension that is not understood makes the token invalid.
            return Err(Reason::Malformed);
        }
        let algorithm = Algorithm::from_str(&fields.alg).map_err(|_| Reason::Algorithm)?;
        Ok(Self { algorithm, id: fields.kid })
    }
}

//! Parses a token before its signature is verified, so the result must not be trusted.

use std::str::FromStr;

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use jsonwebtoken::Algorithm;
use serde::Deserialize;
use serde_json::{Map, Value, value::RawValue};

use super::Reason;

const MAX_TOKEN_BYTES: usize = 8 * 1024;

/// The parts of a token (RFC 7515, 7.1), and the fields of its header by which keys are chosen. Keys and URLs of keys
/// in the header are ignored.
pub(super) struct Token<'a> {
    pub algorithm: Algorithm,
    /// The `kid` of the header, which is the id of the key.
    pub id: Option<String>,
    /// The signed bytes: header and claims as they were received.
    pub signed: &'a str,
    claims: &'a str,
    pub signature: &'a str,
}

#[derive(Deserialize)]
struct TokenHeader<'a> {
    alg: String,
    #[serde(default)]
    kid: Option<String>,
    #[serde(borrow, default)]
    crit: Option<&'a RawValue>,
}

impl<'a> Token<'a> {
    /// Splits a token and reads its header; the claims stay encoded.
    pub fn parse(text: &'a str) -> Result<Self, Reason> {
        if text.is_empty() {
            return Err(Reason::Missing);
        }
        if text.len() > MAX_TOKEN_BYTES {
            return Err(Reason::Malformed);
        }
        let (signed, signature) = text.rsplit_once('.').ok_or(Reason::Malformed)?;
        let (header, claims) = signed.split_once('.').ok_or(Reason::Malformed)?;
        if claims.contains('.') {
            return Err(Reason::Malformed);
        }
        let header = URL_SAFE_NO_PAD.decode(header).map_err(|_| Reason::Malformed)?;
        // The whole header must be UTF-8. The JSON parser does not check this for values that it skips.
        let header = str::from_utf8(&header).map_err(|_| Reason::Malformed)?;
        let header: TokenHeader<'_> = serde_json::from_str(header).map_err(|_| Reason::Malformed)?;
        if header.crit.is_some() {
            // A token with an unsupported critical extension is invalid (RFC 7515, 4.1.11), and none is supported.
            return Err(Reason::Malformed);
        }
        let algorithm = Algorithm::from_str(&header.alg).map_err(|_| Reason::Algorithm)?;
        Ok(Self { algorithm, id: header.kid, signed, claims, signature })
    }

    /// Decodes the claims. The caller must verify the signature before.
    pub fn claims(&self) -> Result<Map<String, Value>, Reason> {
        let claims = URL_SAFE_NO_PAD.decode(self.claims).map_err(|_| Reason::Malformed)?;
        serde_json::from_slice(&claims).map_err(|_| Reason::Malformed)
    }
}

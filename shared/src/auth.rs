//! Who is connecting: JSON Web Tokens (RFC 7519), signed with HS256 by a shared secret.
//!
//! The algorithm comes from the key that is configured, never from the token (RFC 8725, 3.1).

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation, errors::ErrorKind};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::{
    error::{ErrorCode, Refusal},
    ids::UserId,
};

/// Longer tokens are refused before they are looked at.
const MAX_TOKEN_BYTES: usize = 8 * 1024;
/// The scope that may choose room ids and act on any room.
pub const ADMIN_SCOPE: &str = "tidings.admin";
/// Longest name and picture address taken from claims, characters; longer ones are cut off.
const MAX_CLAIM_CHARS: usize = 512;

/// Why a token was refused: the `reason` of the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Reason {
    Missing,
    Malformed,
    Algorithm,
    Signature,
    Expired,
    NotYetValid,
    Claims,
    UserChanged,
}

impl Reason {
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::Malformed => "malformed",
            Self::Algorithm => "algorithm",
            Self::Signature => "signature",
            Self::Expired => "expired",
            Self::NotYetValid => "not_yet_valid",
            Self::Claims => "claims",
            Self::UserChanged => "user_changed",
        }
    }

    fn message(self) -> &'static str {
        match self {
            Self::Missing => "a bearer token is needed",
            Self::Malformed => "the token is not a well-formed JWT",
            Self::Algorithm => "the token's algorithm is not the configured one",
            Self::Signature => "the token's signature does not verify",
            Self::Expired => "the token has expired; get a new one",
            Self::NotYetValid => "the token is not valid yet",
            Self::Claims => "the token lacks `exp` or a usable user id",
            Self::UserChanged => "the token is another user's; open another connection for it",
        }
    }
}

impl From<Reason> for Refusal {
    fn from(reason: Reason) -> Self {
        Refusal::new(ErrorCode::Unauthorized, reason.message()).with_reason(reason.as_str())
    }
}

/// The person that a valid token stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    pub user: UserId,
    pub name: Option<String>,
    pub picture: Option<String>,
    /// Seconds since the Unix epoch.
    pub expires_at_s: i64,
    /// The token has the scope `tidings.admin`.
    pub admin: bool,
}

/// Checks tokens. One per service, shared by all threads.
pub struct Verifier {
    key: DecodingKey,
    validation: Validation,
}

#[derive(Deserialize)]
struct TokenHeader {
    alg: String,
    #[serde(default)]
    crit: Option<Value>,
}

impl Verifier {
    #[must_use]
    pub fn hs256(secret: &SecretString, leeway_s: u64) -> Self {
        let mut validation = Validation::new(Algorithm::HS256);
        validation.set_required_spec_claims(&["exp"]);
        validation.validate_nbf = true;
        validation.validate_aud = false;
        validation.leeway = leeway_s;
        Self { key: DecodingKey::from_secret(secret.expose_secret().as_bytes()), validation }
    }

    /// Checks form, algorithm, signature, times and claims of a token.
    ///
    /// # Errors
    /// The first [`Reason`] that speaks against it.
    pub fn verify(&self, token: &str) -> Result<Identity, Reason> {
        if token.is_empty() {
            return Err(Reason::Missing);
        }
        if token.len() > MAX_TOKEN_BYTES {
            return Err(Reason::Malformed);
        }
        let header = read_header(token).ok_or(Reason::Malformed)?;
        if header.alg != "HS256" {
            return Err(Reason::Algorithm);
        }
        if header.crit.is_some() {
            // RFC 7515, 4.1.11: an extension that is not understood makes the token invalid.
            return Err(Reason::Malformed);
        }
        let decoded = jsonwebtoken::decode::<Map<String, Value>>(token, &self.key, &self.validation);
        let claims = decoded.map_err(|error| reason_of(error.kind()))?.claims;
        identity_of(&claims).ok_or(Reason::Claims)
    }
}

fn read_header(token: &str) -> Option<TokenHeader> {
    let mut parts = token.split('.');
    let header = parts.next()?;
    if parts.count() != 2 {
        return None;
    }
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(header).ok()?).ok()
}

fn reason_of(kind: &ErrorKind) -> Reason {
    match kind {
        ErrorKind::InvalidSignature => Reason::Signature,
        ErrorKind::ExpiredSignature => Reason::Expired,
        ErrorKind::ImmatureSignature => Reason::NotYetValid,
        ErrorKind::InvalidAlgorithm => Reason::Algorithm,
        ErrorKind::MissingRequiredClaim(_) | ErrorKind::InvalidClaimFormat(_) => Reason::Claims,
        _ => Reason::Malformed,
    }
}

fn identity_of(claims: &Map<String, Value>) -> Option<Identity> {
    let user = match claims.get("sub")? {
        Value::String(text) => UserId::parse(text).ok()?,
        Value::Number(number) => UserId::parse(&number.to_string()).ok()?,
        _ => return None,
    };
    let text = |claim: &str| {
        let text = claims.get(claim)?.as_str()?;
        let kept: String = text.chars().filter(|c| !c.is_control()).take(MAX_CLAIM_CHARS).collect();
        (!kept.is_empty()).then_some(kept)
    };
    let admin = match claims.get("scope") {
        Some(Value::String(scopes)) => scopes.split(' ').any(|scope| scope == ADMIN_SCOPE),
        Some(Value::Array(scopes)) => scopes.iter().any(|scope| scope == ADMIN_SCOPE),
        _ => false,
    };
    #[allow(clippy::cast_possible_truncation)] // far beyond any date
    let expires_at_s =
        claims.get("exp").and_then(|exp| exp.as_i64().or(exp.as_f64().map(|exp| exp as i64)))?;
    Some(Identity { user, name: text("name"), picture: text("picture"), expires_at_s, admin })
}

/// Signs claims with HS256: for development tokens and tests.
///
/// # Errors
/// When the claims cannot be serialised.
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
mod tests {
    use serde_json::json;

    use super::*;

    fn secret() -> SecretString {
        SecretString::from("a secret of the tests")
    }

    fn token(claims: &Value) -> String {
        sign_hs256(&secret(), claims.as_object().unwrap()).unwrap()
    }

    fn verify(token: &str) -> Result<Identity, Reason> {
        Verifier::hs256(&secret(), 0).verify(token)
    }

    #[test]
    fn a_valid_token_tells_who_it_is() {
        let exp = 4_000_000_000_i64;
        let identity =
            verify(&token(&json!({"sub": 42, "exp": exp, "name": "Al\u{7}", "scope": "a tidings.admin"})));
        let identity = identity.unwrap();
        assert_eq!((identity.user.as_str(), identity.name.as_deref()), ("42", Some("Al")));
        assert_eq!((identity.expires_at_s, identity.admin), (exp, true));
    }

    #[test]
    fn each_defect_has_its_reason() {
        let good = token(&json!({"sub": "a", "exp": 4_000_000_000_i64}));
        let (head, signature) = good.rsplit_once('.').unwrap();
        let payload = head.split_once('.').unwrap().1;
        let none = URL_SAFE_NO_PAD.encode(r#"{"alg":"none"}"#);
        let crit = URL_SAFE_NO_PAD.encode(r#"{"alg":"HS256","crit":["x"]}"#);
        let other = sign_hs256(
            &SecretString::from("other"),
            json!({"sub": "a", "exp": 4_000_000_000_i64}).as_object().unwrap(),
        );
        let cases = [
            (String::new(), Reason::Missing),
            ("x".to_owned(), Reason::Malformed),
            ("a.b.c".to_owned(), Reason::Malformed),
            (format!("{none}.{payload}."), Reason::Algorithm),
            (format!("{crit}.{payload}.{signature}"), Reason::Malformed),
            (other.unwrap(), Reason::Signature),
            (format!("{head}.AAAA"), Reason::Signature),
            (token(&json!({"sub": "a", "exp": 1})), Reason::Expired),
            (
                token(&json!({"sub": "a", "exp": 4_000_000_000_i64, "nbf": 3_900_000_000_i64})),
                Reason::NotYetValid,
            ),
            (token(&json!({"sub": "a"})), Reason::Claims),
            (token(&json!({"exp": 4_000_000_000_i64})), Reason::Claims),
            (token(&json!({"sub": "a b", "exp": 4_000_000_000_i64})), Reason::Claims),
            ("x".repeat(MAX_TOKEN_BYTES + 1), Reason::Malformed),
        ];
        for (token, reason) in cases {
            assert_eq!(verify(&token).unwrap_err(), reason, "{token:.80}");
        }
    }
}

//! Identifies this service to push services (VAPID, RFC 8292): each request has a token that is signed with our key.

use aws_lc_rs::agreement::{ECDH_P256, PrivateKey};
use aws_lc_rs::rand::fill;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use chrono::{DateTime, Utc};
use url::Url;

use crate::jwt::TokenKey;

const PRIVATE_KEY_BYTES: usize = 32;
/// How long a token is valid. RFC 8292 allows 24 hours.
const TOKEN_LIFETIME_S: i64 = 12 * 3600;

/// The key pair that identifies this installation to push services.
pub struct VapidKey {
    key: TokenKey,
    /// The public key, base64url: browsers subscribe with it.
    public: String,
    /// Contact of the operator: a URL with `mailto:` or `https:`.
    subject: String,
}

impl VapidKey {
    /// Reads a private key: base64url of its 32 bytes, as tools for Web Push print it.
    ///
    /// # Errors
    /// The rule that `key` breaks. It does not contain the key.
    pub fn parse(key: &str, subject: &str) -> Result<Self, &'static str> {
        const RULE: &str = "must be the base64url of 32 bytes, a private key on the curve P-256";
        let bytes = URL_SAFE_NO_PAD.decode(key.trim().trim_end_matches('=')).map_err(|_| RULE)?;
        let public = PrivateKey::from_private_key(&ECDH_P256, &bytes).map_err(|_| RULE)?;
        let public = public.compute_public_key().map_err(|_| RULE)?;
        let algorithm = &ECDSA_P256_SHA256_FIXED_SIGNING;
        let key = EcdsaKeyPair::from_private_key_and_public_key(algorithm, &bytes, public.as_ref());
        Ok(Self {
            key: TokenKey::Es256(key.map_err(|_| RULE)?),
            public: URL_SAFE_NO_PAD.encode(public),
            subject: subject.to_owned(),
        })
    }

    /// Makes a new private key, in the form that [`Self::parse`] reads. None if the system has no random numbers.
    pub fn generate() -> Option<String> {
        loop {
            let mut bytes = [0; PRIVATE_KEY_BYTES];
            fill(&mut bytes).ok()?;
            let text = URL_SAFE_NO_PAD.encode(bytes);
            // A random number of 32 bytes is almost always a valid key of P-256; otherwise the next one is tried.
            if Self::parse(&text, "").is_ok() {
                return Some(text);
            }
        }
    }

    /// The public key, base64url without padding.
    pub fn public(&self) -> &str {
        &self.public
    }

    #[cfg(test)]
    pub fn into_token_key(self) -> TokenKey {
        self.key
    }

    /// The header `Authorization` of a request to this URL. None if nothing can be signed.
    pub fn authorization(&self, url: &Url, now: DateTime<Utc>) -> Option<String> {
        let claims = serde_json::json!({
            "aud": url.origin().ascii_serialization(),
            "exp": now.timestamp() + TOKEN_LIFETIME_S,
            "sub": self.subject,
        });
        let token = self.key.sign(None, &claims)?;
        Some(format!("vapid t={token}, k={}", self.public))
    }
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED, UnparsedPublicKey};

    use super::*;

    #[test]
    fn token_names_origin_and_subject_and_is_signed_by_the_key() {
        let key = VapidKey::parse(&VapidKey::generate().unwrap(), "mailto:ops@example.org").unwrap();
        let url = Url::parse("https://push.example.org:8443/send/abc?x=1").unwrap();
        let header = key.authorization(&url, DateTime::UNIX_EPOCH).unwrap();
        let (token, public) = header.strip_prefix("vapid t=").unwrap().split_once(", k=").unwrap();
        assert_eq!(public, key.public());
        let (signed, signature) = token.rsplit_once('.').unwrap();
        let decode = |text: &str| URL_SAFE_NO_PAD.decode(text).unwrap();
        let claims: serde_json::Value =
            serde_json::from_slice(&decode(signed.split_once('.').unwrap().1)).unwrap();
        assert_eq!(claims["aud"], "https://push.example.org:8443");
        assert_eq!(claims["exp"], 43_200);
        assert_eq!(claims["sub"], "mailto:ops@example.org");
        let verifier = UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, decode(public));
        assert!(verifier.verify(signed.as_bytes(), &decode(signature)).is_ok());
    }

    #[test]
    fn wrong_private_key_is_refused() {
        for wrong in ["", "short", "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA", &"x".repeat(500)] {
            assert!(VapidKey::parse(wrong, "").is_err(), "{wrong}");
        }
    }
}

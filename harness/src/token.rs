//! Tokens as an identity provider issues them, valid or invalid, signed with a shared secret or a provider's key.

use std::time::{SystemTime, UNIX_EPOCH};

use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde_json::{Map, Value, json};

use crate::jwks::SigningKey;

/// A builder for a token. By default the token is valid for an hour.
#[derive(Debug, Clone)]
pub struct Token {
    claims: Map<String, Value>,
    algorithm: Algorithm,
}

impl Token {
    /// A valid token of this user.
    pub fn of(user: &str) -> Token {
        let now = now_s();
        let mut claims = Map::new();
        claims.insert("sub".to_owned(), json!(user));
        claims.insert("iat".to_owned(), json!(now));
        claims.insert("exp".to_owned(), json!(now + 3600));
        Token { claims, algorithm: Algorithm::HS256 }
    }

    /// Sets the display name.
    #[must_use]
    pub fn name(self, name: &str) -> Token {
        self.claim("name", json!(name))
    }

    /// Sets the scopes, separated by spaces.
    #[must_use]
    pub fn scope(self, scope: &str) -> Token {
        self.claim("scope", json!(scope))
    }

    /// Sets the expiry to this many seconds from now. With a negative number the token has already expired.
    #[must_use]
    pub fn ttl_s(self, seconds: i64) -> Token {
        self.claim("exp", json!(now_s() + seconds))
    }

    /// Makes the token valid only after this many seconds.
    #[must_use]
    pub fn not_before_s(self, seconds: i64) -> Token {
        self.claim("nbf", json!(now_s() + seconds))
    }

    /// Sets any claim.
    #[must_use]
    pub fn claim(mut self, name: &str, value: Value) -> Token {
        self.claims.insert(name.to_owned(), value);
        self
    }

    /// Removes a claim.
    #[must_use]
    pub fn without(mut self, name: &str) -> Token {
        self.claims.remove(name);
        self
    }

    /// Selects another HMAC algorithm for [`Token::sign`].
    #[must_use]
    pub fn algorithm(mut self, algorithm: Algorithm) -> Token {
        self.algorithm = algorithm;
        self
    }

    /// Signs the token with a shared secret.
    pub fn sign(&self, secret: &str) -> String {
        let key = EncodingKey::from_secret(secret.as_bytes());
        jsonwebtoken::encode(&Header::new(self.algorithm), &self.claims, &key)
            .expect("a map of JSON always encodes, and HMAC takes any secret")
    }
}

impl Token {
    /// Signs the token with a provider's key.
    pub fn sign_with(&self, key: &SigningKey) -> String {
        key.sign(&self.claims)
    }

    /// The claims of the token.
    pub fn claims(&self) -> &Map<String, Value> {
        &self.claims
    }
}

/// A random secret of 32 bytes, in hexadecimal.
pub fn secret() -> String {
    format!("{:032x}{:032x}", rand::random::<u128>(), rand::random::<u128>())
}

fn now_s() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}

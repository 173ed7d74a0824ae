//! The set of all keys that verify tokens, and the choice of the keys that may verify a given token.
//!
//! | token | keys that may verify it |
//! | --- | --- |
//! | the token's `kid` is the id of a key | the keys with this id |
//! | no key has the token's `kid` as its id | the keys without an id |
//! | the token has no `kid` | the keys without an id; and, if only one key with an id accepts the token's algorithm, this key |
//!
//! A key verifies only tokens with an algorithm that the key accepts.

use std::sync::Arc;

use jsonwebtoken::{Algorithm, AlgorithmFamily};
use serde::Deserialize;
use serde_json::Value;

use super::{Reason, key::Key, token::Token};

/// Maximum number of keys that are read from one JWK set; further keys are ignored.
const MAX_KEYS_PER_SET: usize = 64;
/// Maximum number of signature checks for one token, because each check costs CPU time even if the token is refused.
const MAX_KEYS_TRIED: usize = 16;

/// Whether the keys of the configured URL are loaded.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum UrlKeysState {
    /// No URL is configured.
    Unused,
    /// The keys were never fetched, or are too old to be used.
    Missing,
    /// The keys were fetched, and are not too old.
    Loaded,
}

/// The configured keys and the keys that were fetched from the URL.
pub(super) struct KeySet {
    configured: Arc<[Key]>,
    fetched: Arc<[Key]>,
    pub url_keys: UrlKeysState,
}

/// Why [`KeySet::check`] did not accept a token.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum KeyCheckError {
    Refused(Reason),
    /// No key of the set matches the token, but the URL may have a matching key, so the keys should be fetched.
    FetchMayHelp,
}

impl KeySet {
    /// Creates a set of the configured keys and the keys of the URL. `fetched` must be empty if `url_keys` is not
    /// `Loaded`.
    pub fn new(configured: Arc<[Key]>, fetched: impl Into<Arc<[Key]>>, url_keys: UrlKeysState) -> Self {
        Self { configured, fetched: fetched.into(), url_keys }
    }

    /// Returns a set with the same configured keys, and with the given keys of the URL.
    pub fn with_fetched(&self, fetched: Arc<[Key]>, url_keys: UrlKeysState) -> Self {
        Self::new(self.configured.clone(), fetched, url_keys)
    }

    /// Returns a set with the given configured keys, and with the same keys of the URL.
    pub fn with_configured(&self, configured: Arc<[Key]>) -> Self {
        Self::new(configured, self.fetched.clone(), self.url_keys)
    }

    /// Whether there is no key, neither configured nor fetched, so that no token can be verified.
    pub fn is_empty(&self) -> bool {
        self.all_keys().next().is_none()
    }

    fn all_keys(&self) -> impl Iterator<Item = &Key> {
        self.configured.iter().chain(&*self.fetched)
    }

    /// Verifies the token's signature with the keys that match its algorithm and key id.
    pub fn check(&self, token: &Token<'_>) -> Result<(), KeyCheckError> {
        let accepting = || self.all_keys().filter(|key| key.accepts(token.algorithm));
        let named = |key: &&Key| key.id.is_some() && key.id.as_deref() == token.id.as_deref();
        if self.all_keys().any(|key| named(&key)) {
            return verify_with_any(accepting().filter(named), token)
                .unwrap_or(Err(Reason::Algorithm))
                .map_err(KeyCheckError::Refused);
        }
        let mut with_id = accepting().filter(|key| key.id.is_some());
        let only = with_id.next().filter(|_| token.id.is_none());
        let ambiguous = only.is_some() && with_id.next().is_some();
        let candidates = accepting().filter(|key| key.id.is_none()).chain(only.filter(|_| !ambiguous));
        // A fetch may find a new key with the token's id. For a token without an id, a fetch may help only while no
        // keys of the URL are loaded.
        let fetch_may_help = match self.url_keys {
            UrlKeysState::Unused => false,
            UrlKeysState::Missing => true,
            UrlKeysState::Loaded => token.id.is_some(),
        };
        match verify_with_any(candidates, token) {
            Some(Ok(())) => Ok(()),
            // Keys of the URL are never symmetric, so a fetch cannot help a token with HMAC.
            _ if fetch_may_help && token.algorithm.family() != AlgorithmFamily::Hmac => {
                Err(KeyCheckError::FetchMayHelp)
            }
            Some(Err(reason)) => Err(KeyCheckError::Refused(reason)),
            None if accepting().next().is_none() => Err(KeyCheckError::Refused(Reason::Algorithm)),
            None => Err(KeyCheckError::Refused(Reason::UnknownKey)),
        }
    }
}

/// Checks that one of these keys has signed the token; returns `None` if there are no keys. Tries at most
/// [`MAX_KEYS_TRIED`] keys.
fn verify_with_any<'a>(keys: impl Iterator<Item = &'a Key>, token: &Token<'_>) -> Option<Result<(), Reason>> {
    let mut keys = keys.take(MAX_KEYS_TRIED).peekable();
    keys.peek()?;
    Some(if keys.any(|key| key.verifies(token)) { Ok(()) } else { Err(Reason::Signature) })
}

/// Reads the usable keys of a JWK set. Unusable keys are ignored, as RFC 7517, 5 requires. Fails if no key is usable.
pub(super) fn parse_jwks(
    text: &[u8],
    source_is_secret: bool,
    allowed: &[Algorithm],
) -> Result<Vec<Key>, &'static str> {
    #[derive(Deserialize)]
    struct JwkSet {
        keys: Vec<Value>,
    }
    let set: JwkSet =
        serde_json::from_slice(text).map_err(|_| "is not a JWK set: expected {\"keys\": […]}")?;
    if set.keys.len() > MAX_KEYS_PER_SET {
        tracing::warn!(keys = set.keys.len(), used = MAX_KEYS_PER_SET, "a JWK set has too many keys");
    }
    let mut keys = Vec::new();
    for jwk in set.keys.iter().take(MAX_KEYS_PER_SET) {
        match Key::of_jwk(jwk, source_is_secret, allowed) {
            Ok(key) => keys.push(key),
            Err(unfit) => {
                let id = jwk.get("kid").and_then(Value::as_str).map(|id| id.get(..64).unwrap_or(id));
                tracing::debug!(id, "a key of a JWK set is ignored: the key {unfit}");
            }
        }
    }
    if keys.is_empty() { Err("contains no usable key") } else { Ok(keys) }
}

/// Parses the names of algorithms, such as `RS256`. The error names the first unsupported one.
pub(super) fn parse_algorithms(names: &[String]) -> Result<Vec<Algorithm>, String> {
    names
        .iter()
        .map(|name| name.parse().map_err(|_| format!("{name} is not a supported algorithm")))
        .collect()
}

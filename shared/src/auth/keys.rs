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

/// Highest number of keys that are read from one JWK set; further keys are ignored.
const MAX_KEYS_PER_SET: usize = 64;
/// Highest number of signature checks for one token, so that refusing a token is not too expensive.
const MAX_KEYS_TRIED: usize = 16;

/// Whether the keys of the configured URL are loaded.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum UrlKeys {
    /// No URL is configured.
    Unused,
    /// The keys were never fetched, or are too old to be used.
    Missing,
    Loaded,
}

/// The configured keys and the keys that were fetched from the URL.
pub(super) struct KeySet {
    configured: Arc<[Key]>,
    fetched: Vec<Key>,
    pub remote: UrlKeys,
}

/// Why no key of the set has verified a token.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Unmatched {
    Refused(Reason),
    /// No key of the set matches the token, but the URL may have a matching key, so the keys should be fetched.
    FetchMayHelp,
}

impl KeySet {
    /// Creates a set. `remote` says whether `fetched` are the present keys of the URL.
    pub fn new(configured: Arc<[Key]>, fetched: Vec<Key>, remote: UrlKeys) -> Self {
        Self { configured, fetched, remote }
    }

    /// Returns a set with the same configured keys, and with the given keys of the URL.
    pub fn with_fetched(&self, fetched: Vec<Key>, remote: UrlKeys) -> Self {
        Self::new(self.configured.clone(), fetched, remote)
    }

    /// Whether there is no key, neither configured nor fetched, so that no token can be verified.
    pub fn is_empty(&self) -> bool {
        self.all().next().is_none()
    }

    fn all(&self) -> impl Iterator<Item = &Key> {
        self.configured.iter().chain(&self.fetched)
    }

    /// Checks that one of the keys that may verify the token has signed it.
    pub fn check(&self, token: &Token<'_>) -> Result<(), Unmatched> {
        let accepting = || self.all().filter(|key| key.accepts(token.algorithm));
        let named = |key: &&Key| key.id.is_some() && key.id.as_deref() == token.id.as_deref();
        if self.all().any(|key| named(&key)) {
            return verify(accepting().filter(named), token)
                .unwrap_or(Err(Reason::Algorithm))
                .map_err(Unmatched::Refused);
        }
        let mut with_id = accepting().filter(|key| key.id.is_some());
        let only = with_id.next().filter(|_| token.id.is_none());
        let ambiguous = only.is_some() && with_id.next().is_some();
        let candidates = accepting().filter(|key| key.id.is_none()).chain(only.filter(|_| !ambiguous));
        // A fetch may find a new key with the token's id. For a token without an id, a fetch may help only while no
        // keys of the URL are loaded.
        let fetch_may_help = match self.remote {
            UrlKeys::Unused => false,
            UrlKeys::Missing => true,
            UrlKeys::Loaded => token.id.is_some(),
        };
        match verify(candidates, token) {
            Some(Ok(())) => Ok(()),
            // Keys of the URL are never symmetric, so a fetch cannot help a token with HMAC.
            _ if fetch_may_help && token.algorithm.family() != AlgorithmFamily::Hmac => {
                Err(Unmatched::FetchMayHelp)
            }
            Some(Err(reason)) => Err(Unmatched::Refused(reason)),
            None if accepting().next().is_none() => Err(Unmatched::Refused(Reason::Algorithm)),
            None => Err(Unmatched::Refused(Reason::UnknownKey)),
        }
    }
}

/// Checks that one of these keys has signed the token; `None` if there are no keys.
fn verify<'a>(keys: impl Iterator<Item = &'a Key>, token: &Token<'_>) -> Option<Result<(), Reason>> {
    let mut keys = keys.take(MAX_KEYS_TRIED).peekable();
    keys.peek()?;
    Some(if keys.any(|key| key.verifies(token)) { Ok(()) } else { Err(Reason::Signature) })
}

/// Reads the usable keys of a JWK set. Unusable keys are ignored, as RFC 7517, 5 requires. Fails if no key is usable.
pub(super) fn of_jwks(
    text: &[u8],
    source_is_secret: bool,
    allowed: &[Algorithm],
) -> Result<Vec<Key>, &'static str> {
    #[derive(Deserialize)]
    struct Set {
        keys: Vec<Value>,
    }
    let set: Set = serde_json::from_slice(text).map_err(|_| "is not a JWK set: expected {\"keys\": […]}")?;
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

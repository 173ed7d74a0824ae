//! All keys that tokens are checked with, and which of them may check a given one. Pure.
//!
//! A token with a `kid` is checked with the keys of that id; with keys that have no id only when no key has it. A
//! token without is checked with the keys that have no id, and with one that has only where a single one takes the
//! token's algorithm. Whatever the token says, a key takes only the algorithms that are its own.

use std::sync::Arc;

use jsonwebtoken::{Algorithm, AlgorithmFamily};
use serde::Deserialize;
use serde_json::Value;

use super::{Reason, key::Key, token::Token};

/// Keys of one set; what lies behind is left out.
const MAX_KEYS: usize = 64;
/// Signatures checked for one token: what makes a refusal cheap.
const MAX_TRIES: usize = 16;

/// What is known of the keys of the URL.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Remote {
    /// There is none.
    Unused,
    /// They could not be had yet, or were kept for too long.
    Missing,
    Loaded,
}

/// See the module.
pub(super) struct KeySet {
    given: Arc<[Key]>,
    fetched: Vec<Key>,
    pub remote: Remote,
}

/// Why no key verified a token.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Unmatched {
    Refused(Reason),
    /// The URL may have the key.
    NotHere,
}

impl KeySet {
    pub fn new(given: Arc<[Key]>, fetched: Vec<Key>, remote: Remote) -> Self {
        Self { given, fetched, remote }
    }

    /// The same with other keys of the URL.
    pub fn with_fetched(&self, fetched: Vec<Key>, remote: Remote) -> Self {
        Self::new(self.given.clone(), fetched, remote)
    }

    /// There is no key at all.
    pub fn is_empty(&self) -> bool {
        self.all().next().is_none()
    }

    fn all(&self) -> impl Iterator<Item = &Key> {
        self.given.iter().chain(&self.fetched)
    }

    /// Whether one of the keys that may check a token has signed it.
    pub fn check(&self, token: &Token<'_>) -> Result<(), Unmatched> {
        let taking = || self.all().filter(|key| key.takes(token.algorithm));
        let named = |key: &&Key| key.id.is_some() && key.id.as_deref() == token.id.as_deref();
        if self.all().any(|key| named(&key)) {
            return signed(taking().filter(named), token)
                .unwrap_or(Err(Reason::Algorithm))
                .map_err(Unmatched::Refused);
        }
        let mut with_id = taking().filter(|key| key.id.is_some());
        let only = with_id.next().filter(|_| token.id.is_none());
        let ambiguous = only.is_some() && with_id.next().is_some();
        let candidates = taking().filter(|key| key.id.is_none()).chain(only.filter(|_| !ambiguous));
        // The URL may have an id that is not known. What has no id is helped only by keys that were never seen.
        let elsewhere = match self.remote {
            Remote::Unused => false,
            Remote::Missing => true,
            Remote::Loaded => token.id.is_some(),
        };
        match signed(candidates, token) {
            Some(Ok(())) => Ok(()),
            // Keys of the URL are never symmetric.
            _ if elsewhere && token.algorithm.family() != AlgorithmFamily::Hmac => Err(Unmatched::NotHere),
            Some(Err(reason)) => Err(Unmatched::Refused(reason)),
            None if taking().next().is_none() => Err(Unmatched::Refused(Reason::Algorithm)),
            None => Err(Unmatched::Refused(Reason::UnknownKey)),
        }
    }
}

/// Whether the signature is that of one of these keys; `None`: there are none.
fn signed<'a>(keys: impl Iterator<Item = &'a Key>, token: &Token<'_>) -> Option<Result<(), Reason>> {
    let mut keys = keys.take(MAX_TRIES).peekable();
    keys.peek()?;
    Some(if keys.any(|key| key.signed(token)) { Ok(()) } else { Err(Reason::Signature) })
}

/// The usable keys of a JWK set (RFC 7517, 5); those that are not are left out, as it asks for.
pub(super) fn of_jwks(
    text: &[u8],
    secret_place: bool,
    allowed: &[Algorithm],
) -> Result<Vec<Key>, &'static str> {
    #[derive(Deserialize)]
    struct Set {
        keys: Vec<Value>,
    }
    let set: Set = serde_json::from_slice(text).map_err(|_| "is no JWK set: expected {\"keys\": […]}")?;
    if set.keys.len() > MAX_KEYS {
        tracing::warn!(keys = set.keys.len(), taken = MAX_KEYS, "a JWK set has too many keys");
    }
    let mut keys = Vec::new();
    for jwk in set.keys.iter().take(MAX_KEYS) {
        match Key::of_jwk(jwk, secret_place, allowed) {
            Ok(key) => keys.push(key),
            Err(unfit) => {
                let id = jwk.get("kid").and_then(Value::as_str).map(|id| id.get(..64).unwrap_or(id));
                tracing::debug!(id, "left out of a JWK set: the key {unfit}");
            }
        }
    }
    if keys.is_empty() { Err("holds no key that can be used") } else { Ok(keys) }
}

/// The algorithms of a comma list.
pub(super) fn algorithms(names: &[String]) -> Result<Vec<Algorithm>, String> {
    names
        .iter()
        .map(|name| name.parse().map_err(|_| format!("{name} is no algorithm that is served")))
        .collect()
}

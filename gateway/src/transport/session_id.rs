//! The ids of Engine.IO sessions. An id says which process and worker have the session, and is signed, so that a client
//! cannot guess the id of another session. The keys can be replaced while the node runs. Pure.

use std::sync::Arc;

use arc_swap::ArcSwap;
use aws_lc_rs::{constant_time::verify_slices_are_equal, hmac};
use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};

const VERSION: u8 = 1;
/// Length of the truncated signature, in bytes.
const SIGNATURE_BYTES: usize = 16;
/// Length of an id without the signature, in bytes: the version and the fields of [`SessionId`].
const SIGNED_BYTES: usize = 1 + 8 + 2 + 4 + 8;
/// Length of an encoded id, in characters.
const ENCODED_BYTES: usize = ((SIGNED_BYTES + SIGNATURE_BYTES) * 4).div_ceil(3);

/// The decoded id of a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SessionId {
    /// The random number of the process that has the session.
    pub instance: u64,
    pub worker: u16,
    /// The index of the connection in the worker's table.
    pub key: u32,
    /// The id of the connection, unique on its worker.
    pub id: u64,
}

/// The keys that sign and verify ids, for all workers of a node. The first one signs; each of them verifies.
#[derive(Clone)]
pub struct SessionIdKeys(Arc<ArcSwap<Vec<hmac::Key>>>);

impl SessionIdKeys {
    /// Keys of these secrets.
    pub fn new(secrets: &[[u8; 32]]) -> SessionIdKeys {
        SessionIdKeys(Arc::new(ArcSwap::from_pointee(hmac_keys(secrets))))
    }

    /// Replaces all keys. A session whose id no key verifies any more is unknown.
    pub fn replace(&self, secrets: &[[u8; 32]]) {
        self.0.store(Arc::new(hmac_keys(secrets)));
    }

    /// The text of an id, which needs no escaping in JSON and in a query.
    pub(crate) fn encode(&self, session: &SessionId) -> String {
        let mut bytes = Vec::with_capacity(SIGNED_BYTES + SIGNATURE_BYTES);
        bytes.push(VERSION);
        bytes.extend_from_slice(&session.instance.to_be_bytes());
        bytes.extend_from_slice(&session.worker.to_be_bytes());
        bytes.extend_from_slice(&session.key.to_be_bytes());
        bytes.extend_from_slice(&session.id.to_be_bytes());
        if let Some(key) = self.0.load().first() {
            bytes.extend_from_slice(&hmac::sign(key, &bytes).as_ref()[..SIGNATURE_BYTES]);
        }
        BASE64_URL_SAFE_NO_PAD.encode(bytes)
    }

    /// Decodes the text of an id. `None` if it is no id with a valid signature.
    pub(crate) fn decode(&self, text: &str) -> Option<SessionId> {
        if text.len() != ENCODED_BYTES {
            return None;
        }
        let bytes = BASE64_URL_SAFE_NO_PAD.decode(text).ok()?;
        let (signed, signature) = bytes.split_at_checked(bytes.len().checked_sub(SIGNATURE_BYTES)?)?;
        let is_signed_by = |key: &hmac::Key| {
            let expected = hmac::sign(key, signed);
            verify_slices_are_equal(signature, &expected.as_ref()[..SIGNATURE_BYTES]).is_ok()
        };
        self.0.load().iter().any(is_signed_by).then_some(())?;
        let (&version, rest) = signed.split_first()?;
        let (instance, rest) = rest.split_first_chunk()?;
        let (worker, rest) = rest.split_first_chunk()?;
        let (key, rest) = rest.split_first_chunk()?;
        let (id, rest) = rest.split_first_chunk()?;
        (version == VERSION && rest.is_empty()).then(|| SessionId {
            instance: u64::from_be_bytes(*instance),
            worker: u16::from_be_bytes(*worker),
            key: u32::from_be_bytes(*key),
            id: u64::from_be_bytes(*id),
        })
    }
}

fn hmac_keys(secrets: &[[u8; 32]]) -> Vec<hmac::Key> {
    secrets.iter().map(|secret| hmac::Key::new(hmac::HMAC_SHA256, secret)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SESSION: SessionId = SessionId { instance: u64::MAX, worker: 3, key: 70_000, id: 1 << 40 };

    #[test]
    fn id_decodes_to_its_session() {
        let signer = SessionIdKeys::new(&[[7; 32]]);
        assert_eq!(signer.decode(&signer.encode(&SESSION)), Some(SESSION));
    }

    #[test]
    fn replaced_key_verifies_until_it_is_removed() {
        let node = SessionIdKeys::new(&[[7; 32]]);
        let worker = node.clone();
        let old = worker.encode(&SESSION);
        node.replace(&[[8; 32], [7; 32]]);
        assert_eq!(worker.decode(&old), Some(SESSION));
        let new = worker.encode(&SESSION);
        assert_eq!(SessionIdKeys::new(&[[8; 32]]).decode(&new), Some(SESSION), "the first key signs");
        node.replace(&[[8; 32]]);
        assert_eq!((worker.decode(&old), worker.decode(&new)), (None, Some(SESSION)));
    }

    #[test]
    fn changed_or_foreign_id_is_refused() {
        let signer = SessionIdKeys::new(&[[7; 32]]);
        let text = signer.encode(&SESSION);
        assert_eq!(SessionIdKeys::new(&[[8; 32]]).decode(&text), None);
        for position in 0..text.len() {
            let other = if &text[position..=position] == "A" { "B" } else { "A" };
            let changed = format!("{}{other}{}", &text[..position], &text[position + 1..]);
            assert_eq!(signer.decode(&changed), None, "changed at {position}");
        }
        for end in 0..text.len() {
            assert_eq!(signer.decode(&text[..end]), None, "cut at {end}");
        }
        assert_eq!(signer.decode(&"A".repeat(10_000)), None);
    }
}

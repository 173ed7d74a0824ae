//! The ids of Engine.IO sessions. An id says which process and worker have the session, and is signed, so that a client
//! cannot guess the id of another session. Pure.

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

/// Signs and verifies ids.
pub(crate) struct SessionIdSigner {
    key: hmac::Key,
}

impl SessionIdSigner {
    pub(crate) fn new(secret: &[u8; 32]) -> SessionIdSigner {
        SessionIdSigner { key: hmac::Key::new(hmac::HMAC_SHA256, secret) }
    }

    /// The text of an id, which needs no escaping in JSON and in a query.
    pub(crate) fn encode(&self, session: &SessionId) -> String {
        let mut bytes = Vec::with_capacity(SIGNED_BYTES + SIGNATURE_BYTES);
        bytes.push(VERSION);
        bytes.extend_from_slice(&session.instance.to_be_bytes());
        bytes.extend_from_slice(&session.worker.to_be_bytes());
        bytes.extend_from_slice(&session.key.to_be_bytes());
        bytes.extend_from_slice(&session.id.to_be_bytes());
        let signature = hmac::sign(&self.key, &bytes);
        bytes.extend_from_slice(&signature.as_ref()[..SIGNATURE_BYTES]);
        BASE64_URL_SAFE_NO_PAD.encode(bytes)
    }

    /// Decodes the text of an id. `None` if it is no id with a valid signature.
    pub(crate) fn decode(&self, text: &str) -> Option<SessionId> {
        if text.len() != ENCODED_BYTES {
            return None;
        }
        let bytes = BASE64_URL_SAFE_NO_PAD.decode(text).ok()?;
        let (signed, signature) = bytes.split_at_checked(bytes.len().checked_sub(SIGNATURE_BYTES)?)?;
        let expected = hmac::sign(&self.key, signed);
        verify_slices_are_equal(signature, &expected.as_ref()[..SIGNATURE_BYTES]).ok()?;
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

#[cfg(test)]
mod tests {
    use super::*;

    const SESSION: SessionId = SessionId { instance: u64::MAX, worker: 3, key: 70_000, id: 1 << 40 };

    #[test]
    fn id_decodes_to_its_session() {
        let signer = SessionIdSigner::new(&[7; 32]);
        assert_eq!(signer.decode(&signer.encode(&SESSION)), Some(SESSION));
    }

    #[test]
    fn changed_or_foreign_id_is_refused() {
        let signer = SessionIdSigner::new(&[7; 32]);
        let text = signer.encode(&SESSION);
        assert_eq!(SessionIdSigner::new(&[8; 32]).decode(&text), None);
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

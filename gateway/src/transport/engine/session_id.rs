//! The ids of Engine.IO sessions. An id says which node and worker have the session, and is signed, so that a client
//! cannot guess the id of another session. Pure.

use aws_lc_rs::{constant_time::verify_slices_are_equal, hmac};
use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};

const VERSION: u8 = 1;
/// Length of the truncated signature, in bytes.
const SIGNATURE_BYTES: usize = 16;
/// Maximum length of a node's name, in bytes. A longer name is cut.
const MAX_NODE_BYTES: usize = 64;
/// Length of an id without the node's name and the signature, in bytes: version, length of the name, and numbers.
const FIXED_BYTES: usize = 2 + 8 + 2 + 4 + 8;
/// Maximum length of an encoded id, in characters.
const MAX_ENCODED_BYTES: usize = (FIXED_BYTES + MAX_NODE_BYTES + SIGNATURE_BYTES).div_ceil(3) * 4;

/// The decoded id of a session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SessionId {
    /// The name of the node that has the session.
    pub node: Vec<u8>,
    /// Distinguishes the processes that had this name one after another.
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
        let node = &session.node[..session.node.len().min(MAX_NODE_BYTES)];
        let mut bytes = Vec::with_capacity(FIXED_BYTES + node.len() + SIGNATURE_BYTES);
        bytes.push(VERSION);
        bytes.push(u8::try_from(node.len()).unwrap_or(u8::MAX));
        bytes.extend_from_slice(node);
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
        if text.len() > MAX_ENCODED_BYTES {
            return None;
        }
        let bytes = BASE64_URL_SAFE_NO_PAD.decode(text).ok()?;
        let (signed, signature) = bytes.split_at_checked(bytes.len().checked_sub(SIGNATURE_BYTES)?)?;
        let expected = hmac::sign(&self.key, signed);
        verify_slices_are_equal(signature, &expected.as_ref()[..SIGNATURE_BYTES]).ok()?;
        let (&[version, node_bytes], rest) = signed.split_first_chunk()?;
        let (node, rest) = rest.split_at_checked(usize::from(node_bytes))?;
        let (instance, rest) = rest.split_first_chunk()?;
        let (worker, rest) = rest.split_first_chunk()?;
        let (key, rest) = rest.split_first_chunk()?;
        let (id, rest) = rest.split_first_chunk()?;
        (version == VERSION && rest.is_empty()).then(|| SessionId {
            node: node.to_vec(),
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

    fn session(node: &str) -> SessionId {
        SessionId { node: node.as_bytes().to_vec(), instance: u64::MAX, worker: 3, key: 70_000, id: 1 << 40 }
    }

    #[test]
    fn id_decodes_to_its_session() {
        let signer = SessionIdSigner::new(&[7; 32]);
        for node in ["", "gateway-1", &"n".repeat(64)] {
            let text = signer.encode(&session(node));
            assert_eq!(signer.decode(&text), Some(session(node)), "{node}");
        }
        let cut = signer.encode(&session(&"n".repeat(65)));
        assert_eq!(signer.decode(&cut), Some(session(&"n".repeat(64))));
    }

    #[test]
    fn changed_or_foreign_id_is_refused() {
        let signer = SessionIdSigner::new(&[7; 32]);
        let text = signer.encode(&session("a"));
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

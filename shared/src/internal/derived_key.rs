//! Keys that all nodes derive from the internal secret, so that no further secret must be configured.

use aws_lc_rs::hmac::{HMAC_SHA256, Key, sign};
use secrecy::{ExposeSecret, SecretString};

/// Returns the key with this name: the HMAC-SHA256 of the name under the secret. Keys of different names are
/// independent of each other, and none of them reveals the secret.
#[must_use]
pub fn derive_key(secret: &SecretString, name: &str) -> [u8; 32] {
    let tag = sign(&Key::new(HMAC_SHA256, secret.expose_secret().as_bytes()), name.as_bytes());
    let mut key = [0; 32];
    key.copy_from_slice(tag.as_ref());
    key
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn derived_key_depends_on_secret_and_name() {
        let key = |secret: &str, name| derive_key(&SecretString::from(secret), name);
        assert_eq!(key("a", "x"), key("a", "x"));
        assert_ne!(key("a", "x"), key("b", "x"));
        assert_ne!(key("a", "x"), key("a", "y"));
        // Test case 2 of RFC 4231.
        let known = key("Jefe", "what do ya want for nothing?");
        assert_eq!(known[..4], [0x5b, 0xdc, 0xc1, 0x46]);
    }
}

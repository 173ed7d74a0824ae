//! A short name of a secret, by which operators see that all nodes use the same one. It must not help to guess the
//! secret: it has 32 bits, and each guess costs thousands of hashes.

use std::num::NonZeroU32;

use aws_lc_rs::pbkdf2::{PBKDF2_HMAC_SHA256, derive};

const ITERATIONS: NonZeroU32 = NonZeroU32::new(50_000).expect("not zero");
/// Not secret: it only makes fingerprints differ from other hashes of the same secret.
const SALT: &[u8] = b"tidings fingerprint 1";

/// Returns eight hexadecimal digits that depend on every byte of `secret`. Takes some milliseconds.
#[must_use]
pub fn fingerprint(secret: &[u8]) -> String {
    let mut hash = [0; 4];
    derive(PBKDF2_HMAC_SHA256, ITERATIONS, SALT, secret, &mut hash);
    format!("{:08x}", u32::from_be_bytes(hash))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fingerprint_has_eight_digits_and_depends_on_secret() {
        assert_eq!(fingerprint(b"0123456789abcdef").len(), 8);
        assert_eq!(fingerprint(b"0123456789abcdef"), fingerprint(b"0123456789abcdef"));
        assert_ne!(fingerprint(b"0123456789abcdef"), fingerprint(b"0123456789abcdeg"));
    }
}

//! The secret that the services share, compared in constant time.

use secrecy::{ExposeSecret, SecretString};

pub struct Secret(SecretString);

impl Secret {
    pub fn new(secret: SecretString) -> Self {
        Self(secret)
    }

    /// Whether the given bytes are the secret.
    pub fn matches(&self, given: &[u8]) -> bool {
        let own = self.0.expose_secret().as_bytes();
        let difference = own.iter().zip(given).fold(0, |all, (a, b)| std::hint::black_box(all | (a ^ b)));
        own.len() == given.len() && difference == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_exact_secret_is_accepted() {
        let secret = Secret::new("0123456789abcdef".to_owned().into());
        assert!(secret.matches(b"0123456789abcdef"));
        for wrong in
            [&b""[..], b"0123456789abcde", b"0123456789abcdeX", b"0123456789abcdef0", b"X123456789abcdef"]
        {
            assert!(!secret.matches(wrong));
        }
    }
}

//! The secrets that are accepted at the same time, so that a secret can be replaced while old and new nodes run.
//! The text of a secret has one line for each: the first signs, and each of them verifies.

use aws_lc_rs::constant_time::verify_slices_are_equal;
use secrecy::{ExposeSecret, SecretString};

/// Shortest accepted secret. RFC 7518, 3.2 asks for 32 bytes, but secrets for development may be shorter.
pub const MIN_SECRET_BYTES: usize = 16;
/// Maximum number of secrets that are accepted at the same time: the new one and the old one.
const MAX_SECRETS: usize = 2;

/// One or two secrets. Nodes sign with the newest one, and accept both.
#[derive(Debug, Clone)]
pub struct AcceptedSecrets {
    newest: SecretString,
    older: Option<SecretString>,
}

impl From<SecretString> for AcceptedSecrets {
    /// Accepts only this secret, which is not checked.
    fn from(secret: SecretString) -> Self {
        Self { newest: secret, older: None }
    }
}

impl AcceptedSecrets {
    /// Splits a text into its secrets, of at least 16 bytes each.
    pub fn parse(text: &SecretString) -> Result<Self, String> {
        let too_short = || format!("must have at least {MIN_SECRET_BYTES} bytes");
        let secrets = Self::split(text)?;
        if secrets.iter().any(|secret| secret.expose_secret().len() < MIN_SECRET_BYTES) {
            return Err(too_short());
        }
        let mut secrets = secrets.into_iter();
        Ok(Self { newest: secrets.next().ok_or_else(too_short)?, older: secrets.next() })
    }

    /// Splits a text into lines and skips empty lines. Fails if no line or more than two lines remain.
    pub fn split(text: &SecretString) -> Result<Vec<SecretString>, String> {
        let lines = text.expose_secret().split(['\n', '\r']).filter(|line| !line.is_empty());
        let secrets: Vec<SecretString> = lines.map(SecretString::from).collect();
        match secrets.len() {
            0 => Err(format!("must have at least {MIN_SECRET_BYTES} bytes")),
            1..=MAX_SECRETS => Ok(secrets),
            _ => Err(format!("has more than {MAX_SECRETS} lines: each line is a secret, the new one first")),
        }
    }

    /// The secret that signs, and the one that is only accepted.
    #[must_use]
    pub fn newest_and_older(&self) -> (&SecretString, Option<&SecretString>) {
        (&self.newest, self.older.as_ref())
    }

    /// All secrets, the newest first.
    pub fn all(&self) -> impl Iterator<Item = &SecretString> {
        std::iter::once(&self.newest).chain(&self.older)
    }

    /// Whether `given` is one of the secrets. Each comparison takes constant time.
    #[must_use]
    pub fn accepts(&self, given: &[u8]) -> bool {
        let is_equal =
            |secret: &SecretString| verify_slices_are_equal(secret.expose_secret().as_bytes(), given).is_ok();
        self.all().any(is_equal)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<AcceptedSecrets, String> {
        AcceptedSecrets::parse(&SecretString::from(text))
    }

    #[test]
    fn only_exact_secrets_are_accepted() {
        for secrets in
            [parse("0123456789abcdef").unwrap(), parse("new-0123456789ab\r\n0123456789abcdef\n").unwrap()]
        {
            assert!(secrets.accepts(b"0123456789abcdef"));
            for wrong in ["", "0123456789abcde", "0123456789abcdeX", "0123456789abcdef0", "X123456789abcdef"]
            {
                assert!(!secrets.accepts(wrong.as_bytes()), "{wrong}");
            }
        }
        let both = parse("new-0123456789ab\n0123456789abcdef").unwrap();
        assert!(both.accepts(b"new-0123456789ab"));
        assert!(!both.accepts(b"new-0123456789ab\n0123456789abcdef"));
        assert_eq!(both.newest_and_older().0.expose_secret(), "new-0123456789ab");
    }

    #[test]
    fn empty_short_and_third_secrets_are_refused() {
        for wrong in [
            "",
            "\n",
            "short",
            "0123456789abcdef\nshort",
            "0123456789abcdef\n0123456789abcdeg\n0123456789abcdeh",
        ] {
            assert!(parse(wrong).is_err(), "{wrong:?}");
        }
    }
}

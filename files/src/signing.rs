//! Addresses of files that are valid for a short time. An address is signed with HMAC-SHA256, so that nobody can make
//! one, change its file or extend it.

use std::sync::Arc;

use arc_swap::ArcSwap;
use aws_lc_rs::hmac;
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use secrecy::{ExposeSecret, SecretString};
use tidings_shared::ids::FileId;
use tidings_shared::rotation::AcceptedSecrets;

/// How long an address is valid, in seconds.
pub const ADDRESS_TTL_S: i64 = 300;

/// What a download URL is for. A signature is valid for one purpose only.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UrlPurpose {
    /// A user who sees the message of the file downloads it.
    Download,
    /// A user who sees the message of the file downloads its preview.
    Preview,
    /// An admin downloads the file, also while it is held.
    Review,
    /// The uploader sends the part with this number.
    Part(u16),
}

/// Signs addresses, and verifies them. The secrets may be replaced while the program runs.
#[derive(Clone)]
pub struct AddressSigner {
    secrets: Arc<ArcSwap<AcceptedSecrets>>,
}

impl AddressSigner {
    pub fn new(secrets: AcceptedSecrets) -> Self {
        Self { secrets: Arc::new(ArcSwap::from_pointee(secrets)) }
    }

    /// Replaces the secrets. Addresses that the older of the new secrets signed stay valid.
    pub fn replace(&self, secrets: AcceptedSecrets) {
        self.secrets.store(Arc::new(secrets));
    }

    /// The signature of an address that is valid up to `expires_s`, in seconds since the Unix epoch.
    pub fn sign(&self, file: &FileId, expires_s: i64, purpose: UrlPurpose) -> String {
        let secrets = self.secrets.load();
        let tag = hmac::sign(&key(secrets.newest_and_older().0), &signed_text(file, expires_s, purpose));
        URL_SAFE_NO_PAD.encode(tag)
    }

    /// Whether one of the secrets made this signature. Does not look at the clock.
    pub fn verifies(&self, file: &FileId, expires_s: i64, purpose: UrlPurpose, signature: &str) -> bool {
        let Ok(signature) = URL_SAFE_NO_PAD.decode(signature) else { return false };
        let text = signed_text(file, expires_s, purpose);
        self.secrets.load().all().any(|secret| hmac::verify(&key(secret), &text, &signature).is_ok())
    }
}

fn key(secret: &SecretString) -> hmac::Key {
    hmac::Key::new(hmac::HMAC_SHA256, secret.expose_secret().as_bytes())
}

/// The first line separates these signatures from others that might be made with the same secret.
fn signed_text(file: &FileId, expires_s: i64, purpose: UrlPurpose) -> Vec<u8> {
    let purpose = match purpose {
        UrlPurpose::Download => "reader".to_owned(),
        UrlPurpose::Preview => "preview".to_owned(),
        UrlPurpose::Review => "reviewer".to_owned(),
        UrlPurpose::Part(number) => format!("part {number}"),
    };
    format!("tidings-files address 1\n{file}\n{expires_s}\n{purpose}").into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn signer(secrets: &str) -> AddressSigner {
        AddressSigner::new(AcceptedSecrets::parse(&SecretString::from(secrets)).unwrap())
    }

    #[test]
    fn signature_holds_for_one_file_time_and_purpose() {
        let (signer, file) = (signer("0123456789abcdef"), FileId::generate());
        let signature = signer.sign(&file, 1000, UrlPurpose::Download);
        assert!(signer.verifies(&file, 1000, UrlPurpose::Download, &signature));
        assert!(!signer.verifies(&file, 1001, UrlPurpose::Download, &signature));
        assert!(!signer.verifies(&file, 1000, UrlPurpose::Review, &signature));
        assert!(!signer.verifies(&file, 1000, UrlPurpose::Preview, &signature));
        let of_part = signer.sign(&file, 1000, UrlPurpose::Part(1));
        assert!(signer.verifies(&file, 1000, UrlPurpose::Part(1), &of_part));
        assert!(!signer.verifies(&file, 1000, UrlPurpose::Part(11), &of_part));
        assert!(!signer.verifies(&file, 1000, UrlPurpose::Download, &of_part));
        assert!(!signer.verifies(&FileId::generate(), 1000, UrlPurpose::Download, &signature));
        for wrong in ["", "=", &signature[1..], &format!("{signature}A"), &"A".repeat(43)] {
            assert!(!signer.verifies(&file, 1000, UrlPurpose::Download, wrong), "{wrong}");
        }
    }

    #[test]
    fn older_secret_verifies_and_the_newest_signs() {
        let file = FileId::generate();
        let (old, both) = (signer("old-456789abcdef"), signer("new-456789abcdef\nold-456789abcdef"));
        let signature = old.sign(&file, 1, UrlPurpose::Download);
        assert!(both.verifies(&file, 1, UrlPurpose::Download, &signature));
        assert!(!old.verifies(&file, 1, UrlPurpose::Download, &both.sign(&file, 1, UrlPurpose::Download)));
        both.replace(AcceptedSecrets::parse(&SecretString::from("new-456789abcdef")).unwrap());
        assert!(!both.verifies(&file, 1, UrlPurpose::Download, &signature));
    }
}

//! Encrypts a message for one browser (RFC 8291, with the encoding `aes128gcm` of RFC 8188), so that the push service
//! cannot read it.

use aws_lc_rs::aead::{AES_128_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::agreement::{ECDH_P256, ParsedPublicKey, PrivateKey, UnparsedPublicKey, agree};
use aws_lc_rs::hkdf::{HKDF_SHA256, KeyType, Prk, Salt};
use aws_lc_rs::rand;
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};

const PUBLIC_KEY_BYTES: usize = 65;
const AUTH_BYTES: usize = 16;
const SALT_BYTES: usize = 16;
const CONTENT_KEY_BYTES: usize = 16;
const NONCE_BYTES: usize = 12;
const SHARED_KEY_BYTES: usize = 32;
/// The record size that the header names. A message is one record, which is shorter.
const RECORD_SIZE: u32 = 4096;
/// Ends the content of the last record.
const LAST_RECORD: u8 = 2;

/// The keys of a browser's subscription.
#[derive(Debug, Clone)]
pub struct Recipient {
    public_key: [u8; PUBLIC_KEY_BYTES],
    auth: [u8; AUTH_BYTES],
}

impl Recipient {
    /// Reads the keys as browsers show them: base64url, with or without padding. Err is the name of the wrong key.
    pub fn parse(p256dh: &str, auth: &str) -> Result<Self, &'static str> {
        let decode = |text: &str| URL_SAFE_NO_PAD.decode(text.trim_end_matches('=')).ok();
        let public_key: [u8; PUBLIC_KEY_BYTES] =
            decode(p256dh).and_then(|bytes| bytes.try_into().ok()).ok_or("p256dh")?;
        // Refuses points that are not on the curve.
        let parsed = ParsedPublicKey::try_from(UnparsedPublicKey::new(&ECDH_P256, &public_key));
        let on_curve = parsed.is_ok_and(|key| key.alg() == &ECDH_P256);
        if !on_curve {
            return Err("p256dh");
        }
        let auth = decode(auth).and_then(|bytes| bytes.try_into().ok()).ok_or("auth")?;
        Ok(Self { public_key, auth })
    }

    /// The two keys as text, base64url without padding.
    pub fn encoded(&self) -> (String, String) {
        (URL_SAFE_NO_PAD.encode(self.public_key), URL_SAFE_NO_PAD.encode(self.auth))
    }

    /// The authentication secret, which only the browser and this service know.
    pub fn auth(&self) -> &[u8] {
        &self.auth
    }
}

/// Encrypts a message with a new key pair and a new salt. None if the system has no random numbers.
pub fn encrypt(message: &[u8], recipient: &Recipient) -> Option<Vec<u8>> {
    let mut salt = [0; SALT_BYTES];
    rand::fill(&mut salt).ok()?;
    let ours = PrivateKey::generate(&ECDH_P256).ok()?;
    encrypt_with(message, recipient, &ours, &salt)
}

fn encrypt_with(
    message: &[u8],
    recipient: &Recipient,
    ours: &PrivateKey,
    salt: &[u8; SALT_BYTES],
) -> Option<Vec<u8>> {
    let our_public = ours.compute_public_key().ok()?;
    let theirs = UnparsedPublicKey::new(&ECDH_P256, &recipient.public_key);
    let extracted =
        agree(ours, theirs, (), |secret| Ok(Salt::new(HKDF_SHA256, &recipient.auth).extract(secret)));
    let key_info: [&[u8]; 3] = [b"WebPush: info\0", &recipient.public_key, our_public.as_ref()];
    let shared: [u8; SHARED_KEY_BYTES] = expand(&extracted.ok()?, &key_info)?;
    let extracted = Salt::new(HKDF_SHA256, salt).extract(&shared);
    let content_key: [u8; CONTENT_KEY_BYTES] = expand(&extracted, &[b"Content-Encoding: aes128gcm\0"])?;
    let nonce: [u8; NONCE_BYTES] = expand(&extracted, &[b"Content-Encoding: nonce\0"])?;

    let mut record = message.to_vec();
    record.push(LAST_RECORD);
    let key = LessSafeKey::new(UnboundKey::new(&AES_128_GCM, &content_key).ok()?);
    let nonce = Nonce::assume_unique_for_key(nonce);
    key.seal_in_place_append_tag(nonce, Aad::empty(), &mut record).ok()?;

    let mut body = salt.to_vec();
    body.extend(RECORD_SIZE.to_be_bytes());
    body.push(u8::try_from(PUBLIC_KEY_BYTES).ok()?);
    body.extend(our_public.as_ref());
    body.extend(record);
    Some(body)
}

/// A length of output for HKDF.
struct OutputLength(usize);

impl KeyType for OutputLength {
    fn len(&self) -> usize {
        self.0
    }
}

fn expand<const N: usize>(key: &Prk, info: &[&[u8]]) -> Option<[u8; N]> {
    let mut output = [0; N];
    key.expand(info, OutputLength(N)).ok()?.fill(&mut output).ok()?;
    Some(output)
}

#[cfg(test)]
mod tests {
    use super::*;

    const P256DH: &str =
        "BCVxsr7N_eNgVRqvHtD0zTZsEc6-VV-JvLexhqUzORcxaOzi6-AYWXvTBHm4bjyPjs7Vd8pZGH6SRpkNtoIAiw4";
    const AUTH: &str = "BTBZMqHH6r4Tts7J_aSIgg";

    /// RFC 8291, appendix A.
    #[test]
    fn message_is_encrypted_as_in_the_example_of_the_rfc() {
        let decode = |text: &str| URL_SAFE_NO_PAD.decode(text).unwrap();
        let ours = decode("yfWPiYE-n46HLnH0KqZOF1fJJU3MYrct3AELtAQ-oRw");
        let ours = PrivateKey::from_private_key(&ECDH_P256, &ours).unwrap();
        let salt = decode("DGv6ra1nlYgDCS1FRnbzlw").try_into().unwrap();
        let recipient = Recipient::parse(P256DH, AUTH).unwrap();
        let message = b"When I grow up, I want to be a watermelon";
        let wanted = "DGv6ra1nlYgDCS1FRnbzlwAAEABBBP4z9KsN6nGRTbVYI_c7VJSPQTBtkgcy27mlmlMoZIIgDll6e3vCYLocInmYWAmS\
            6TlzAC8wEqKK6PBru3jl7A_yl95bQpu6cVPTpK4Mqgkf1CXztLVBSt2Ks3oZwbuwXPXLWyouBWLVWGNWQexSgSxsj_Qulcy4a-fN";
        let encrypted = encrypt_with(message, &recipient, &ours, &salt).unwrap();
        assert_eq!(URL_SAFE_NO_PAD.encode(encrypted), wanted);
    }

    #[test]
    fn each_message_has_its_own_salt_and_key() {
        let recipient = Recipient::parse(P256DH, AUTH).unwrap();
        let (one, other) = (encrypt(b"x", &recipient).unwrap(), encrypt(b"x", &recipient).unwrap());
        assert_eq!(one.len(), SALT_BYTES + 4 + 1 + PUBLIC_KEY_BYTES + 2 + 16);
        assert_ne!(one[..16], other[..16]);
        assert_ne!(one[21..86], other[21..86]);
    }

    #[test]
    fn wrong_key_of_a_subscription_is_named() {
        let padded = format!("{P256DH}=");
        assert!(Recipient::parse(&padded, &format!("{AUTH}==")).is_ok());
        let off_curve = URL_SAFE_NO_PAD.encode([[4].as_slice(), &[1; 64]].concat());
        for p256dh in ["", "x", AUTH, &off_curve, &P256DH[1..]] {
            assert_eq!(Recipient::parse(p256dh, AUTH).unwrap_err(), "p256dh", "{p256dh}");
        }
        for auth in ["", "BTBZMqHH", P256DH, "not base64!"] {
            assert_eq!(Recipient::parse(P256DH, auth).unwrap_err(), "auth", "{auth}");
        }
    }
}

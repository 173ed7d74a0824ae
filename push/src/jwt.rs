//! Signs JSON Web Tokens with the keys of this installation. Tokens of users are verified elsewhere.

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, RSA_PKCS1_SHA256, RsaKeyPair};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::{Value, json};
use tidings_shared::tls::read_pkcs8_key;

/// A key that signs tokens.
pub enum TokenKey {
    Es256(EcdsaKeyPair),
    Rs256(RsaKeyPair),
}

impl TokenKey {
    /// Reads a private key on the curve P-256: PEM of PKCS #8. None if it is another.
    pub fn es256(pem: &str) -> Option<Self> {
        let der = read_pkcs8_key(pem)?;
        EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &der).ok().map(Self::Es256)
    }

    /// Reads a private RSA key: PEM of PKCS #8. None if it is another.
    pub fn rs256(pem: &str) -> Option<Self> {
        RsaKeyPair::from_pkcs8(&read_pkcs8_key(pem)?).ok().map(Self::Rs256)
    }

    /// Makes a token with these claims. The header names `key_id`, if there is one. None if nothing can be signed.
    pub fn sign(&self, key_id: Option<&str>, claims: &Value) -> Option<String> {
        let algorithm = if matches!(self, Self::Es256(_)) { "ES256" } else { "RS256" };
        let mut header = json!({ "typ": "JWT", "alg": algorithm });
        if let Some(id) = key_id {
            header["kid"] = id.into();
        }
        let encode = |part: &Value| URL_SAFE_NO_PAD.encode(part.to_string());
        let signed = format!("{}.{}", encode(&header), encode(claims));
        let (message, random) = (signed.as_bytes(), SystemRandom::new());
        let signature = match self {
            Self::Es256(key) => key.sign(&random, message).ok()?.as_ref().to_vec(),
            Self::Rs256(key) => {
                let mut signature = vec![0; key.public_modulus_len()];
                key.sign(&RSA_PKCS1_SHA256, &random, message, &mut signature).ok()?;
                signature
            }
        };
        Some(format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature)))
    }
}

//! A provider's key for one test. It signs tokens and gives its public key as a JWK (RFC 7517). This module encodes
//! tokens and JWKs without the library with which the services verify tokens.

use anyhow::{Result, anyhow};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair, RSA_PKCS1_SHA256, RsaKeyPair,
};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::{Map, Value, json};

/// A signing key of an identity provider.
pub struct SigningKey {
    id: String,
    pair: PrivateKey,
}

enum PrivateKey {
    Rsa(Box<RsaKeyPair>),
    Ec(EcdsaKeyPair),
    Ed(Ed25519KeyPair),
}

impl SigningKey {
    /// Creates a key that signs with RS256, as Firebase does.
    pub fn rs256(id: &str) -> Result<SigningKey> {
        let pair = RsaKeyPair::generate(KeySize::Rsa2048).map_err(|_| anyhow!("no RSA key"))?;
        Ok(SigningKey { id: id.to_owned(), pair: PrivateKey::Rsa(Box::new(pair)) })
    }

    /// Creates a key that signs with ES256.
    pub fn es256(id: &str) -> Result<SigningKey> {
        let pair =
            EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).map_err(|_| anyhow!("no EC key"))?;
        Ok(SigningKey { id: id.to_owned(), pair: PrivateKey::Ec(pair) })
    }

    /// Creates a key that signs with `EdDSA`.
    pub fn eddsa(id: &str) -> Result<SigningKey> {
        let pair = Ed25519KeyPair::generate().map_err(|_| anyhow!("no Ed25519 key"))?;
        Ok(SigningKey { id: id.to_owned(), pair: PrivateKey::Ed(pair) })
    }

    /// The name of the key's algorithm.
    pub fn algorithm(&self) -> &'static str {
        match &self.pair {
            PrivateKey::Rsa(_) => "RS256",
            PrivateKey::Ec(_) => "ES256",
            PrivateKey::Ed(_) => "EdDSA",
        }
    }

    /// The public key, as a JWK.
    pub fn public_jwk(&self) -> Value {
        let mut jwk = match &self.pair {
            PrivateKey::Rsa(pair) => {
                let key = pair.public_key();
                let number = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
                json!({
                    "kty": "RSA",
                    "n": number(key.modulus().big_endian_without_leading_zero()),
                    "e": number(key.exponent().big_endian_without_leading_zero()),
                })
            }
            PrivateKey::Ec(pair) => {
                // The public key is an uncompressed point: one byte 4, then x, then y.
                let (x, y) = pair.public_key().as_ref()[1..].split_at(32);
                json!({ "kty": "EC", "crv": "P-256", "x": URL_SAFE_NO_PAD.encode(x), "y": URL_SAFE_NO_PAD.encode(y) })
            }
            PrivateKey::Ed(pair) => {
                json!({ "kty": "OKP", "crv": "Ed25519", "x": URL_SAFE_NO_PAD.encode(pair.public_key().as_ref()) })
            }
        };
        jwk["kid"] = json!(self.id);
        jwk["alg"] = json!(self.algorithm());
        jwk["use"] = json!("sig");
        jwk
    }

    /// A token with these claims and the usual header.
    pub fn sign(&self, claims: &Map<String, Value>) -> String {
        self.sign_as(&json!({ "alg": self.algorithm(), "kid": self.id, "typ": "JWT" }), claims)
    }

    /// A token with these claims and this header, which may be invalid.
    pub fn sign_as(&self, header: &Value, claims: &Map<String, Value>) -> String {
        let part = |json: &dyn ToString| URL_SAFE_NO_PAD.encode(json.to_string());
        let signed = format!("{}.{}", part(header), part(&Value::Object(claims.clone())));
        let (message, random) = (signed.as_bytes(), SystemRandom::new());
        let signature = match &self.pair {
            PrivateKey::Rsa(pair) => {
                let mut signature = vec![0; pair.public_modulus_len()];
                pair.sign(&RSA_PKCS1_SHA256, &random, message, &mut signature)
                    .expect("the buffer has the length of the modulus");
                signature
            }
            PrivateKey::Ec(pair) => {
                pair.sign(&random, message).expect("there is randomness").as_ref().to_vec()
            }
            PrivateKey::Ed(pair) => pair.sign(message).as_ref().to_vec(),
        };
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
    }
}

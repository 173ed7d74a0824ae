//! One key that verifies signatures. Type and curve of a key determine the algorithms that it supports. A key with
//! `alg` is used only with this algorithm, and a key without `alg` only with the configured algorithms (`allowed`). A
//! key that could verify no signature is refused when it is read.

use aws_lc_rs::{
    rsa::PublicEncryptingKey,
    signature::{
        ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_FIXED, ED25519, ParsedPublicKey,
        RSA_PKCS1_2048_8192_SHA256, RsaPublicKeyComponents,
    },
};
use base64::{Engine, engine::general_purpose::STANDARD};
use jsonwebtoken::{
    Algorithm, DecodingKey, DecodingKeyKind, crypto,
    jwk::{AlgorithmParameters, EllipticCurve, Jwk, KeyOperations, PublicKeyUse},
};
use secrecy::{ExposeSecret, SecretString};
use serde_json::Value;

use super::token::Token;
use crate::rotation::{AcceptedSecrets, MIN_SECRET_BYTES};

/// Accepted sizes of RSA keys. RFC 7518, 3.3 requires 2048 bits, and the library does not verify with more than 8192.
const RSA_BITS: std::ops::RangeInclusive<usize> = 2048..=8192;

/// Why a key cannot be used, as a phrase that follows the words "the key".
pub(super) type UnusableReason = &'static str;

/// A key with the algorithms for which it may be used.
pub(super) struct Key {
    /// The `kid` of the key. A token with the same `kid` is verified only with keys of this id.
    pub id: Option<Box<str>>,
    decoding: DecodingKey,
    algorithms: Vec<Algorithm>,
}

impl Key {
    /// Creates an HMAC key from each line of a text: at most two, so that a secret can be replaced.
    pub fn from_lines(text: &SecretString, allowed: &[Algorithm]) -> Result<Vec<Self>, String> {
        // PEM has many lines. Its refusal must name the reason.
        if is_pem(text) {
            return Self::of_secret(text, allowed).map(|key| vec![key]).map_err(str::to_owned);
        }
        let secrets = AcceptedSecrets::split(text)?;
        secrets.iter().map(|secret| Self::of_secret(secret, allowed).map_err(str::to_owned)).collect()
    }

    /// Creates an HMAC key from a secret. Refuses PEM, and secrets of fewer than 16 bytes.
    pub fn of_secret(secret: &SecretString, allowed: &[Algorithm]) -> Result<Self, UnusableReason> {
        if is_pem(secret) {
            return Err("is PEM: with a public key as the secret, anybody could sign tokens");
        }
        let secret = secret.expose_secret();
        if secret.len() < MIN_SECRET_BYTES {
            return Err("is too short: a secret must have at least 16 bytes");
        }
        Self::new(None, DecodingKey::from_secret(secret.as_bytes()), KeyType::Secret, None, allowed)
    }

    /// Reads a public key in DER (`SubjectPublicKeyInfo`).
    pub fn of_der(der: &[u8], allowed: &[Algorithm]) -> Result<Self, UnusableReason> {
        let (decoding, key_type) = if ParsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, der).is_ok() {
            (DecodingKey::from_ec_der(der), KeyType::P256)
        } else if ParsedPublicKey::new(&ECDSA_P384_SHA384_FIXED, der).is_ok() {
            (DecodingKey::from_ec_der(der), KeyType::P384)
        } else if ParsedPublicKey::new(&ED25519, der).is_ok() {
            (DecodingKey::from_ed_der(der), KeyType::Ed25519)
        } else if let Ok(key) = PublicEncryptingKey::from_der(der) {
            check_rsa_bits(key.key_size_bits())?;
            (DecodingKey::from_rsa_der(der), KeyType::Rsa)
        } else {
            return Err("must be one of RSA (2048 to 8192 bits), P-256, P-384 and Ed25519");
        };
        Self::new(None, decoding, key_type, None, allowed)
    }

    /// Reads a key of a JWK set. Refuses a symmetric key if its source, such as a URL, is not secret.
    pub fn of_jwk(
        jwk: &Value,
        source_is_secret: bool,
        allowed: &[Algorithm],
    ) -> Result<Self, UnusableReason> {
        let jwk: Jwk = serde_json::from_value(jwk.clone()).map_err(|_| "is not a JWK")?;
        let for_signatures =
            jwk.common.public_key_use.as_ref().is_none_or(|it| *it == PublicKeyUse::Signature)
                && jwk.common.key_operations.as_ref().is_none_or(|all| all.contains(&KeyOperations::Verify));
        if !for_signatures {
            return Err("is not meant for signatures");
        }
        let own_algorithm = jwk.common.key_algorithm.map(Algorithm::try_from).transpose();
        let own_algorithm = own_algorithm.map_err(|_| "names an algorithm that is not supported")?;
        let decoding = DecodingKey::from_jwk(&jwk).map_err(|_| "is of a type that is not supported")?;
        let key_type = key_type_of(&jwk, &decoding)?;
        if key_type == KeyType::Secret && !source_is_secret {
            return Err("is symmetric, but its source is not secret");
        }
        Self::new(jwk.common.key_id.map(String::into_boxed_str), decoding, key_type, own_algorithm, allowed)
    }

    fn new(
        id: Option<Box<str>>,
        decoding: DecodingKey,
        key_type: KeyType,
        own_algorithm: Option<Algorithm>,
        allowed: &[Algorithm],
    ) -> Result<Self, UnusableReason> {
        let allowed = own_algorithm.as_ref().map_or(allowed, std::slice::from_ref);
        let algorithms: Vec<Algorithm> =
            key_type.supported_algorithms().iter().copied().filter(|it| allowed.contains(it)).collect();
        if algorithms.is_empty() {
            return Err("supports none of the allowed algorithms");
        }
        Ok(Self { id, decoding, algorithms })
    }

    /// Whether tokens with this algorithm may be verified with this key.
    pub fn accepts(&self, algorithm: Algorithm) -> bool {
        self.algorithms.contains(&algorithm)
    }

    /// Whether this key has signed the token. The caller must check before that the key accepts the token's algorithm.
    pub fn verifies(&self, token: &Token<'_>) -> bool {
        let signature = token.signature;
        crypto::verify(signature, token.signed.as_bytes(), &self.decoding, token.algorithm).unwrap_or(false)
    }
}

/// Whether a text contains PEM.
fn is_pem(text: &SecretString) -> bool {
    text.expose_secret().contains("-----BEGIN")
}

/// The type of a key, with the curve of an elliptic key. It determines which algorithms the key supports.
#[derive(Clone, Copy, PartialEq, Eq)]
enum KeyType {
    Secret,
    Rsa,
    P256,
    P384,
    Ed25519,
}

impl KeyType {
    fn supported_algorithms(self) -> &'static [Algorithm] {
        use Algorithm::{ES256, ES384, EdDSA, HS256, HS384, HS512, PS256, PS384, PS512, RS256, RS384, RS512};
        match self {
            Self::Secret => &[HS256, HS384, HS512],
            Self::Rsa => &[RS256, RS384, RS512, PS256, PS384, PS512],
            Self::P256 => &[ES256],
            Self::P384 => &[ES384],
            Self::Ed25519 => &[EdDSA],
        }
    }
}

/// Returns the type of a JWK. Fails if the numbers of the JWK are not a valid key of this type.
fn key_type_of(jwk: &Jwk, decoding: &DecodingKey) -> Result<KeyType, UnusableReason> {
    let bytes = match decoding.kind() {
        DecodingKeyKind::RsaModulusExponent { n, e } => {
            let zeros = n.iter().take_while(|byte| **byte == 0).count();
            check_rsa_bits((n.len() - zeros) * 8)?;
            let parsed = RsaPublicKeyComponents { n, e }.to_parsed_public_key(&RSA_PKCS1_2048_8192_SHA256);
            return parsed.map(|_| KeyType::Rsa).map_err(|_| "is not an RSA key");
        }
        DecodingKeyKind::SecretOrDer(bytes) => bytes,
    };
    let parsed = match &jwk.algorithm {
        AlgorithmParameters::OctetKey(_) if bytes.len() >= MIN_SECRET_BYTES => return Ok(KeyType::Secret),
        AlgorithmParameters::OctetKey(_) => return Err("is too short: a secret must have at least 16 bytes"),
        AlgorithmParameters::EllipticCurve(key) if key.curve == EllipticCurve::P256 => {
            ParsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, bytes).map(|_| KeyType::P256)
        }
        AlgorithmParameters::EllipticCurve(key) if key.curve == EllipticCurve::P384 => {
            ParsedPublicKey::new(&ECDSA_P384_SHA384_FIXED, bytes).map(|_| KeyType::P384)
        }
        AlgorithmParameters::OctetKeyPair(key) if key.curve == EllipticCurve::Ed25519 => {
            ParsedPublicKey::new(&ED25519, bytes).map(|_| KeyType::Ed25519)
        }
        _ => return Err("is on a curve that is not supported"),
    };
    parsed.map_err(|_| "is not a point on its curve")
}

fn check_rsa_bits(bits: usize) -> Result<(), UnusableReason> {
    if RSA_BITS.contains(&bits) {
        Ok(())
    } else {
        Err("is an RSA key of fewer than 2048 or more than 8192 bits")
    }
}

/// Reads the public keys in a PEM text, which must have one or more blocks of `PUBLIC KEY`.
pub(super) fn public_keys_of_pem(text: &str, allowed: &[Algorithm]) -> Result<Vec<Key>, UnusableReason> {
    let mut keys = Vec::new();
    let mut lines = text.lines().map(str::trim);
    while let Some(line) = lines.next() {
        let Some(label) = line.strip_prefix("-----BEGIN ").and_then(|rest| rest.strip_suffix("-----")) else {
            continue;
        };
        match label {
            "PUBLIC KEY" => {}
            "CERTIFICATE" => {
                return Err("is a certificate: give the public key inside it (openssl x509 -pubkey -noout)");
            }
            "RSA PUBLIC KEY" => {
                return Err("is in PKCS#1: convert it (openssl rsa -RSAPublicKey_in -pubout)");
            }
            label if label.ends_with("PRIVATE KEY") => {
                return Err("is private: give the public key, and keep the private key secret");
            }
            _ => return Err("is not a public key"),
        }
        let mut base64 = String::new();
        loop {
            match lines.next() {
                Some("-----END PUBLIC KEY-----") => break,
                Some(line) => base64.push_str(line),
                None => return Err("has no end (-----END PUBLIC KEY-----)"),
            }
        }
        keys.push(Key::of_der(&STANDARD.decode(base64).map_err(|_| "is not base64")?, allowed)?);
    }
    if keys.is_empty() { Err("is missing: expected -----BEGIN PUBLIC KEY-----") } else { Ok(keys) }
}

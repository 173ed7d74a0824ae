//! One key that checks signatures: what it can do follows from its type and curve, what it may do from its own `alg`
//! or, where it names none, from the configured (`allowed`) algorithms. Pure. A key that passes here can check a signature;
//! whatever could not is told apart at once, not with the first token.

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

/// Shortest secret that is accepted (RFC 7518, 3.2 asks for 32 bytes; development tokens get by on less).
pub(crate) const MIN_SECRET_BYTES: usize = 16;
/// RFC 7518, 3.3; longer ones than 8192 bits are not checked by the library.
const RSA_BITS: std::ops::RangeInclusive<usize> = 2048..=8192;

/// Why something is no key for us, to follow "the key".
pub(super) type Unfit = &'static str;

/// See the module.
pub(super) struct Key {
    /// `kid`: tokens that carry it are checked with this key.
    pub id: Option<Box<str>>,
    decoding: DecodingKey,
    algorithms: Vec<Algorithm>,
}

impl Key {
    pub fn of_secret(secret: &SecretString, allowed: &[Algorithm]) -> Result<Self, Unfit> {
        let secret = secret.expose_secret();
        if secret.contains("-----BEGIN") {
            return Err("is PEM: a public key as a secret would let anybody sign");
        }
        if secret.len() < MIN_SECRET_BYTES {
            return Err("is too short: a secret has at least 16 bytes");
        }
        Self::new(None, DecodingKey::from_secret(secret.as_bytes()), Kind::Secret, None, allowed)
    }

    /// From a `SubjectPublicKeyInfo`.
    pub fn of_der(der: &[u8], allowed: &[Algorithm]) -> Result<Self, Unfit> {
        let (decoding, kind) = if ParsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, der).is_ok() {
            (DecodingKey::from_ec_der(der), Kind::P256)
        } else if ParsedPublicKey::new(&ECDSA_P384_SHA384_FIXED, der).is_ok() {
            (DecodingKey::from_ec_der(der), Kind::P384)
        } else if ParsedPublicKey::new(&ED25519, der).is_ok() {
            (DecodingKey::from_ed_der(der), Kind::Ed25519)
        } else if let Ok(key) = PublicEncryptingKey::from_der(der) {
            check_rsa_bits(key.key_size_bits())?;
            (DecodingKey::from_rsa_der(der), Kind::Rsa)
        } else {
            return Err("is none of RSA (2048 to 8192 bits), P-256, P-384 and Ed25519");
        };
        Self::new(None, decoding, kind, None, allowed)
    }

    /// From a member of a JWK set. A symmetric key is taken only where it can be secret.
    pub fn of_jwk(jwk: &Value, secret_place: bool, allowed: &[Algorithm]) -> Result<Self, Unfit> {
        let jwk: Jwk = serde_json::from_value(jwk.clone()).map_err(|_| "is no JWK")?;
        let meant = jwk.common.public_key_use.as_ref().is_none_or(|it| *it == PublicKeyUse::Signature)
            && jwk.common.key_operations.as_ref().is_none_or(|all| all.contains(&KeyOperations::Verify));
        if !meant {
            return Err("is not meant for signatures");
        }
        let own = jwk
            .common
            .key_algorithm
            .map(|own| Algorithm::try_from(own).map_err(|_| "names an algorithm that is not served"));
        let own = own.transpose()?;
        let decoding = DecodingKey::from_jwk(&jwk).map_err(|_| "is of a type that is not served")?;
        let kind = kind_of(&jwk, &decoding)?;
        if kind == Kind::Secret && !secret_place {
            return Err("is symmetric, in a place that is not secret");
        }
        Self::new(jwk.common.key_id.map(String::into_boxed_str), decoding, kind, own, allowed)
    }

    fn new(
        id: Option<Box<str>>,
        decoding: DecodingKey,
        kind: Kind,
        own: Option<Algorithm>,
        allowed: &[Algorithm],
    ) -> Result<Self, Unfit> {
        let allowed = own.as_ref().map_or(allowed, std::slice::from_ref);
        let algorithms: Vec<Algorithm> =
            kind.can().iter().copied().filter(|can| allowed.contains(can)).collect();
        if algorithms.is_empty() {
            return Err("can do none of the algorithms that it may");
        }
        Ok(Self { id, decoding, algorithms })
    }

    pub fn takes(&self, algorithm: Algorithm) -> bool {
        self.algorithms.contains(&algorithm)
    }

    /// Whether the signature is this key's. To be asked only for an algorithm that it takes.
    pub fn signed(&self, token: &Token<'_>) -> bool {
        let signature = token.signature;
        crypto::verify(signature, token.signed.as_bytes(), &self.decoding, token.algorithm).unwrap_or(false)
    }
}

/// The types of keys that are served.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Secret,
    Rsa,
    P256,
    P384,
    Ed25519,
}

impl Kind {
    fn can(self) -> &'static [Algorithm] {
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

/// The type of a JWK, whose numbers are those of a key.
fn kind_of(jwk: &Jwk, decoding: &DecodingKey) -> Result<Kind, Unfit> {
    let bytes = match decoding.kind() {
        DecodingKeyKind::RsaModulusExponent { n, e } => {
            let zeros = n.iter().take_while(|byte| **byte == 0).count();
            check_rsa_bits((n.len() - zeros) * 8)?;
            let parsed = RsaPublicKeyComponents { n, e }.to_parsed_public_key(&RSA_PKCS1_2048_8192_SHA256);
            return parsed.map(|_| Kind::Rsa).map_err(|_| "is no RSA key");
        }
        DecodingKeyKind::SecretOrDer(bytes) => bytes,
    };
    let parsed = match &jwk.algorithm {
        AlgorithmParameters::OctetKey(_) if bytes.len() >= MIN_SECRET_BYTES => return Ok(Kind::Secret),
        AlgorithmParameters::OctetKey(_) => return Err("is too short: a secret has at least 16 bytes"),
        AlgorithmParameters::EllipticCurve(key) if key.curve == EllipticCurve::P256 => {
            ParsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, bytes).map(|_| Kind::P256)
        }
        AlgorithmParameters::EllipticCurve(key) if key.curve == EllipticCurve::P384 => {
            ParsedPublicKey::new(&ECDSA_P384_SHA384_FIXED, bytes).map(|_| Kind::P384)
        }
        AlgorithmParameters::OctetKeyPair(key) if key.curve == EllipticCurve::Ed25519 => {
            ParsedPublicKey::new(&ED25519, bytes).map(|_| Kind::Ed25519)
        }
        _ => return Err("is on a curve that is not served"),
    };
    parsed.map_err(|_| "is no point of its curve")
}

fn check_rsa_bits(bits: usize) -> Result<(), Unfit> {
    if RSA_BITS.contains(&bits) {
        Ok(())
    } else {
        Err("is an RSA key of fewer than 2048 or more than 8192 bits")
    }
}

/// The public keys of a PEM text, one or more blocks of `PUBLIC KEY`.
pub(super) fn public_keys_of_pem(text: &str, allowed: &[Algorithm]) -> Result<Vec<Key>, Unfit> {
    let mut keys = Vec::new();
    let mut lines = text.lines().map(str::trim);
    while let Some(line) = lines.next() {
        let Some(label) = line.strip_prefix("-----BEGIN ").and_then(|rest| rest.strip_suffix("-----")) else {
            continue;
        };
        match label {
            "PUBLIC KEY" => {}
            "CERTIFICATE" => {
                return Err("is a certificate: give the public key in it (openssl x509 -pubkey -noout)");
            }
            "RSA PUBLIC KEY" => {
                return Err("is in PKCS#1: convert it (openssl rsa -RSAPublicKey_in -pubout)");
            }
            label if label.ends_with("PRIVATE KEY") => {
                return Err("is private: give the public one, and keep that one safe");
            }
            _ => return Err("is something else than a public key"),
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

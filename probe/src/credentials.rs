//! The token of the probe: read from a file that somebody renews, or signed with a key. The file is read in each round,
//! so that a new token or key needs no restart.

use std::{
    path::{Path, PathBuf},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use jsonwebtoken::{Algorithm, EncodingKey, Header};
use rustls::pki_types::{PrivateKeyDer, pem::PemObject};
use serde_json::json;

use crate::step::{CREDENTIALS, StepFailure};

/// How long a signed token is valid: longer than a round.
const TOKEN_LIFETIME: Duration = Duration::from_secs(600);

/// Where the token comes from.
#[derive(Debug, Clone)]
pub enum Credentials {
    TokenFile(PathBuf),
    SigningKey { file: PathBuf, header: Box<Header>, claims: serde_json::Value },
}

impl Credentials {
    /// Tokens that are signed with the key in this file. `claims` are the claims beside `iat` and `exp`.
    pub fn signed(
        file: PathBuf,
        algorithm: Algorithm,
        key_id: Option<String>,
        claims: serde_json::Value,
    ) -> Self {
        let mut header = Header::new(algorithm);
        header.kid = key_id;
        Self::SigningKey { file, header: Box::new(header), claims }
    }

    /// The setting of the file.
    pub fn setting(&self) -> &'static str {
        match self {
            Self::TokenFile(_) => "token-file",
            Self::SigningKey { .. } => "signing-key-file",
        }
    }

    /// Reads the token, or signs one that is valid for ten minutes.
    pub fn token(&self) -> Result<String, StepFailure> {
        match self {
            Self::TokenFile(file) => read(file),
            Self::SigningKey { file, header, claims } => {
                let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
                let mut claims = claims.clone();
                claims["iat"] = json!(now.as_secs());
                claims["exp"] = json!((now + TOKEN_LIFETIME).as_secs());
                let key = encoding_key(header.alg, &read(file)?)
                    .map_err(|why| failure(file, &format!("is no key of {:?}: {why}", header.alg)))?;
                jsonwebtoken::encode(header, &claims, &key)
                    .map_err(|error| failure(file, &format!("cannot sign: {error}")))
            }
        }
    }
}

/// Reads a file without the line ends after its content.
fn read(file: &Path) -> Result<String, StepFailure> {
    let text =
        std::fs::read_to_string(file).map_err(|error| failure(file, &format!("cannot be read: {error}")))?;
    match text.trim_end_matches(['\n', '\r']) {
        "" => Err(failure(file, "is empty")),
        text => Ok(text.to_owned()),
    }
}

fn failure(file: &Path, why: &str) -> StepFailure {
    StepFailure::new(CREDENTIALS, format!("the file {} {why}", file.display()))
}

fn encoding_key(algorithm: Algorithm, text: &str) -> Result<EncodingKey, String> {
    let private = || PrivateKeyDer::from_pem_slice(text.as_bytes()).map_err(|error| error.to_string());
    match algorithm {
        // While a secret is replaced, the file of the services has two lines. All nodes accept the first one before the
        // second is used, so the first one signs.
        Algorithm::HS256 | Algorithm::HS384 | Algorithm::HS512 => {
            let first = text.lines().find(|line| !line.is_empty()).unwrap_or_default();
            Ok(EncodingKey::from_secret(first.as_bytes()))
        }
        Algorithm::ES256 | Algorithm::ES384 => Ok(EncodingKey::from_ec_der(private()?.secret_der())),
        Algorithm::EdDSA => Ok(EncodingKey::from_ed_der(private()?.secret_der())),
        _ => match private()? {
            PrivateKeyDer::Pkcs1(key) => Ok(EncodingKey::from_rsa_der(key.secret_pkcs1_der())),
            _ => Err("the key must be PKCS#1 (openssl rsa -traditional)".to_owned()),
        },
    }
}

//! Checks the settings of tokens when the service starts, and reads the keys from them and from the files that they
//! name. Each problem is reported with the name of its setting and never contains a secret.

use jsonwebtoken::Algorithm;
use secrecy::SecretString;

use crate::problem::Problem;

use super::{
    claims::ClaimRules,
    fetch::JwksClient,
    key::{Key, public_keys_of_pem},
    keys,
};

const MAX_FILE_BYTES: u64 = 1024 * 1024;
/// Used instead of an invalid setting of algorithms, so that the keys can still be checked.
const DEFAULT_ALGORITHMS: [Algorithm; 5] =
    [Algorithm::HS256, Algorithm::RS256, Algorithm::ES256, Algorithm::ES384, Algorithm::EdDSA];
/// Maximum number of public keys in one PEM text. These keys have no id, so each of them may be tried for a token.
const MAX_PEM_KEYS: usize = 15;

/// The settings of tokens before they are checked. A setting that is not given is `None`.
pub struct TokenSettings<'a> {
    pub secret: Option<&'a SecretString>,
    /// PEM text, or the path of a PEM file.
    pub public_key: Option<&'a str>,
    /// The path of a file with a JWK set.
    pub jwks_file: Option<&'a str>,
    pub jwks_url: Option<&'a str>,
    /// Names of the algorithms for keys without `alg`.
    pub algorithms: &'a [String],
    pub rules: ClaimRules,
}

/// The checked settings of tokens, with the configured keys and a client for the URL of further keys.
pub struct CheckedTokenSettings {
    pub(super) keys: Vec<Key>,
    pub(super) url: Option<JwksClient>,
    pub(super) algorithms: Vec<Algorithm>,
    pub(super) rules: ClaimRules,
}

impl CheckedTokenSettings {
    /// Checks the settings, and reads the keys in them and in the files that they name. Returns the checked settings,
    /// or all problems.
    pub fn check(settings: TokenSettings<'_>) -> Result<Self, Vec<Problem>> {
        let TokenSettings { secret, public_key, jwks_file, jwks_url, algorithms, rules } = settings;
        let mut problems = Vec::new();
        let algorithms = keys::parse_algorithms(algorithms).unwrap_or_else(|cause| {
            problems.push(Problem::new("jwt-algorithms", cause));
            // No token is verified with the default algorithms, because after a problem the service does not start.
            DEFAULT_ALGORITHMS.to_vec()
        });
        let sources = [
            secret.map(|secret| ("jwt-secret", Key::from_lines(secret, &algorithms))),
            public_key.map(|value| ("jwt-public-key", read_public_keys(value, &algorithms))),
            jwks_file.map(|path| ("jwks-file", read_jwks_file(path, &algorithms))),
        ];
        let has_keys = jwks_url.is_some() || sources.iter().any(Option::is_some);
        let mut configured = Vec::new();
        for (setting, keys) in sources.into_iter().flatten() {
            match keys {
                Ok(keys) => configured.extend(keys),
                Err(why) => problems.push(Problem::new(setting, why)),
            }
        }
        let url = jwks_url.map(JwksClient::new).transpose().unwrap_or_else(|cause| {
            problems.push(Problem::new("jwks-url", cause));
            None
        });
        if !has_keys {
            let all = "--jwt-secret, --jwt-public-key, --jwks-file, --jwks-url";
            let why = format!("no key to verify tokens with: give at least one of {all}");
            problems.push(Problem::new("jwt-secret", why));
        }
        if jwks_url.is_some() && rules.issuers.is_empty() && rules.audiences.is_empty() {
            // Identity providers sign the tokens of all their customers with the same keys, so a valid signature does
            // not prove that a token is meant for this service.
            let why =
                "needs --jwt-issuer or --jwt-audience, better both: its keys may also sign tokens of others";
            problems.push(Problem::new("jwks-url", why));
        }
        for (setting, claim) in [
            ("jwt-user-claim", &rules.user),
            ("jwt-name-claim", &rules.name),
            ("jwt-picture-claim", &rules.picture),
            ("jwt-scope-claim", &rules.scope),
        ] {
            if claim.is_empty() {
                problems.push(Problem::new(setting, "must name a claim"));
            }
        }
        if problems.is_empty() {
            Ok(Self { keys: configured, url, algorithms, rules })
        } else {
            Err(problems)
        }
    }
}

/// Reads public keys. `value` is a PEM text or the path of a PEM file.
fn read_public_keys(value: &str, algorithms: &[Algorithm]) -> Result<Vec<Key>, String> {
    // Environment files often cannot contain line ends, so the two characters `\n` count as a line end.
    let inline = value.contains("-----BEGIN").then(|| value.replace("\\n", "\n"));
    let pem = inline.map_or_else(|| read_file(value), Ok)?;
    let keys = public_keys_of_pem(&pem, algorithms).map_err(|unfit| format!("the key {unfit}"))?;
    if keys.len() > MAX_PEM_KEYS {
        return Err(format!("contains more than {MAX_PEM_KEYS} keys: use a JWK set, whose keys have ids"));
    }
    Ok(keys)
}

/// Reads the usable keys of a file with a JWK set. The file counts as secret, so it may contain symmetric keys.
fn read_jwks_file(path: &str, algorithms: &[Algorithm]) -> Result<Vec<Key>, String> {
    keys::parse_jwks(read_file(path)?.as_bytes(), true, algorithms).map_err(|cause| format!("{path} {cause}"))
}

/// Reads a text file of at most [`MAX_FILE_BYTES`]. The error names the file.
fn read_file(path: &str) -> Result<String, String> {
    let unreadable = |cause: &dyn std::fmt::Display| format!("the file {path} cannot be read: {cause}");
    let length = std::fs::metadata(path).map_err(|error| unreadable(&error))?.len();
    if length > MAX_FILE_BYTES {
        return Err(unreadable(&format!("it is over {MAX_FILE_BYTES} bytes")));
    }
    std::fs::read_to_string(path).map_err(|error| unreadable(&error))
}

#[cfg(test)]
mod tests;

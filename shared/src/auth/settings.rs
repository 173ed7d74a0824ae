//! From settings to keys: what is read and checked once, at the start. Reads the files that settings name. What
//! cannot work is told with the setting's name, and no secret.

use jsonwebtoken::Algorithm;
use secrecy::SecretString;

use crate::config::problem::Problem;

use super::{
    claims::Rules,
    fetch::Client,
    key::{Key, public_keys_of_pem},
    keys,
};

/// Longest file of keys.
const MAX_FILE_BYTES: u64 = 1024 * 1024;
/// Of keys that do not name their own, when nothing else is told.
const DEFAULT_ALGORITHMS: [Algorithm; 5] =
    [Algorithm::HS256, Algorithm::RS256, Algorithm::ES256, Algorithm::ES384, Algorithm::EdDSA];
/// Keys that are tried for a token without an id.
const MAX_PUBLIC_KEYS: usize = 15;

/// What the settings say, as they say it. Empty means unset.
pub struct Given<'a> {
    pub secret: Option<&'a SecretString>,
    /// PEM, or the path of a file of it.
    pub public_key: Option<&'a str>,
    /// The path of a JWK set.
    pub jwks_file: Option<&'a str>,
    pub jwks_url: Option<&'a str>,
    /// For keys that name none.
    pub algorithms: &'a [String],
    pub rules: Rules,
}

/// Checked settings: keys, and where more of them are.
pub struct Settings {
    pub(super) given: Vec<Key>,
    pub(super) url: Option<Client>,
    pub(super) algorithms: Vec<Algorithm>,
    pub(super) rules: Rules,
}

impl Settings {
    /// Reads and checks all of it.
    ///
    /// # Errors
    /// All that is wrong, each with its setting.
    pub fn read(settings: Given<'_>) -> Result<Self, Vec<Problem>> {
        let Given { secret, public_key, jwks_file, jwks_url, algorithms, rules } = settings;
        let mut problems = Vec::new();
        let algorithms = keys::algorithms(algorithms).unwrap_or_else(|cause| {
            problems.push(Problem::new("jwt-algorithms", cause));
            // So that the keys can be looked at; nothing is ever checked with these.
            DEFAULT_ALGORITHMS.to_vec()
        });
        let sources = [
            secret.map(|secret| {
                (
                    "jwt-secret",
                    Key::of_secret(secret, &algorithms).map(|key| vec![key]).map_err(|it| it.to_string()),
                )
            }),
            public_key.map(|value| ("jwt-public-key", public_keys(value, &algorithms))),
            jwks_file.map(|path| ("jwks-file", key_set(path, &algorithms))),
        ];
        let any = jwks_url.is_some() || sources.iter().any(Option::is_some);
        let mut given = Vec::new();
        for (setting, keys) in sources.into_iter().flatten() {
            match keys {
                Ok(keys) => given.extend(keys),
                Err(why) => problems.push(Problem::new(setting, why)),
            }
        }
        let url = jwks_url.map(Client::new).transpose().unwrap_or_else(|cause| {
            problems.push(Problem::new("jwks-url", cause));
            None
        });
        if !any {
            let all = "--jwt-secret, --jwt-public-key, --jwks-file, --jwks-url";
            let why = format!("no key to check tokens with: give at least one of {all}");
            problems.push(Problem::new("jwt-secret", why));
        }
        if jwks_url.is_some() && rules.issuers.is_empty() && rules.audiences.is_empty() {
            // Providers sign for all their customers with the same keys.
            let why = "needs --jwt-issuer or --jwt-audience, better both: its keys may sign for others, too";
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
        if problems.is_empty() { Ok(Self { given, url, algorithms, rules }) } else { Err(problems) }
    }
}

/// Of PEM, or of a file of it.
fn public_keys(value: &str, algorithms: &[Algorithm]) -> Result<Vec<Key>, String> {
    // Environment files often cannot hold line ends.
    let inline = value.contains("-----BEGIN").then(|| value.replace("\\n", "\n"));
    let pem = inline.map_or_else(|| read(value), Ok)?;
    let keys = public_keys_of_pem(&pem, algorithms).map_err(|unfit| format!("the key {unfit}"))?;
    if keys.len() > MAX_PUBLIC_KEYS {
        return Err(format!("holds more than {MAX_PUBLIC_KEYS} keys: use a JWK set, whose keys have ids"));
    }
    Ok(keys)
}

fn key_set(path: &str, algorithms: &[Algorithm]) -> Result<Vec<Key>, String> {
    keys::of_jwks(read(path)?.as_bytes(), true, algorithms).map_err(|cause| format!("{path} {cause}"))
}

fn read(path: &str) -> Result<String, String> {
    let told = |cause: &dyn std::fmt::Display| format!("the file {path} cannot be read: {cause}");
    let length = std::fs::metadata(path).map_err(|error| told(&error))?.len();
    if length > MAX_FILE_BYTES {
        return Err(told(&format!("it is over {MAX_FILE_BYTES} bytes")));
    }
    std::fs::read_to_string(path).map_err(|error| told(&error))
}

#[cfg(test)]
mod tests;

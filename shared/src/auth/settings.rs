//! From settings to keys: what is read and checked once, at the start. Reads the files that settings name. What
//! cannot work is told with the setting's name, and no secret.

use jsonwebtoken::Algorithm;
use secrecy::SecretString;

use super::{
    claims::Rules,
    fetch::Client,
    key::{Key, public_keys_of_pem},
    keys,
};

/// Longest file of keys.
const MAX_FILE_BYTES: u64 = 1024 * 1024;
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
    /// A sentence that names the setting.
    pub fn read(settings: Given<'_>) -> Result<Self, String> {
        let Given { secret, public_key, jwks_file, jwks_url, algorithms, rules } = settings;
        let algorithms =
            keys::algorithms(algorithms).map_err(|cause| format!("--jwt-algorithms: {cause}"))?;
        let mut given = Vec::new();
        if let Some(secret) = secret {
            let key = Key::of_secret(secret, &algorithms);
            given.push(key.map_err(|unfit| format!("--jwt-secret {unfit}"))?);
        }
        if let Some(value) = public_key {
            let setting = "--jwt-public-key";
            // Environment files often cannot hold line ends.
            let inline = value.contains("-----BEGIN").then(|| value.replace("\\n", "\n"));
            let pem = inline.map_or_else(|| read(setting, value), Ok)?;
            let keys = public_keys_of_pem(&pem, &algorithms)
                .map_err(|unfit| format!("{setting}: the key {unfit}"))?;
            if keys.len() > MAX_PUBLIC_KEYS {
                return Err(format!(
                    "{setting} holds more than {MAX_PUBLIC_KEYS} keys: use a JWK set, whose keys have ids"
                ));
            }
            given.extend(keys);
        }
        if let Some(path) = jwks_file {
            let setting = "--jwks-file";
            let keys = keys::of_jwks(read(setting, path)?.as_bytes(), true, &algorithms);
            given.extend(keys.map_err(|cause| format!("{setting} {path} {cause}"))?);
        }
        let url = jwks_url.map(Client::new).transpose().map_err(|cause| format!("--jwks-url {cause}"))?;
        if given.is_empty() && url.is_none() {
            let all = "--jwt-secret, --jwt-public-key, --jwks-file, --jwks-url";
            return Err(format!("no key to check tokens with: give at least one of {all}"));
        }
        if url.is_some() && rules.issuers.is_empty() && rules.audiences.is_empty() {
            // Providers sign for all their customers with the same keys.
            return Err("--jwks-url needs --jwt-issuer or --jwt-audience, better both: its keys may sign for others, too".into());
        }
        for (setting, claim) in [
            ("--jwt-user-claim", &rules.user),
            ("--jwt-name-claim", &rules.name),
            ("--jwt-picture-claim", &rules.picture),
            ("--jwt-scope-claim", &rules.scope),
        ] {
            if claim.is_empty() {
                return Err(format!("{setting} must name a claim"));
            }
        }
        Ok(Self { given, url, algorithms, rules })
    }
}

fn read(setting: &str, path: &str) -> Result<String, String> {
    let told = |cause: &dyn std::fmt::Display| format!("{setting}: the file {path} cannot be read: {cause}");
    let length = std::fs::metadata(path).map_err(|error| told(&error))?.len();
    if length > MAX_FILE_BYTES {
        return Err(told(&format!("it is over {MAX_FILE_BYTES} bytes")));
    }
    std::fs::read_to_string(path).map_err(|error| told(&error))
}

#[cfg(test)]
mod tests;

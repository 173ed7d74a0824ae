//! The settings by which tokens are verified, for each program that accepts tokens. Their files are read when they are
//! checked, and again when they change.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use clap::Args;
use secrecy::{ExposeSecret, SecretString};

use super::problem::{Problem, join_problems};
use super::secret_files::{fingerprints_of, read_secret};
use crate::{
    auth::{CheckedTokenSettings, ClaimRules, TokenSettings, Verifier},
    rotation::{AcceptedSecrets, LoadedFingerprints, WatchedFiles, fingerprint},
};

/// Settings of tokens.
#[derive(Debug, Clone, Args)]
pub struct TokenArgs {
    /// Secret that tokens are signed with (HMAC); at least 16 bytes, better 32. A second line is another secret that is
    /// accepted; the file is read again when it changes. This or another kind of key is required: see docs/TOKENS.md
    #[arg(long, env = "TIDINGS_JWT_SECRET", hide_env_values = true, value_name = "SECRET")]
    pub jwt_secret: Option<SecretString>,
    /// Public keys that tokens are checked with: PEM, or the path of a PEM file, which is read again when it changes
    #[arg(long, env = "TIDINGS_JWT_PUBLIC_KEY", value_name = "PEM_OR_PATH")]
    pub jwt_public_key: Option<String>,
    /// File with a JWK set, read again when it changes
    #[arg(long, env = "TIDINGS_JWKS_FILE", value_name = "PATH")]
    pub jwks_file: Option<String>,
    /// Address of a JWK set, fetched again and again; needs an issuer or an audience
    #[arg(long, env = "TIDINGS_JWKS_URL", value_name = "URL")]
    pub jwks_url: Option<String>,
    /// Algorithms of keys that do not name their own, comma separated
    #[arg(
        long,
        env = "TIDINGS_JWT_ALGORITHMS",
        default_value = "HS256,RS256,ES256,ES384,EdDSA",
        value_name = "NAMES"
    )]
    pub jwt_algorithms: String,
    /// Issuers whose tokens are accepted, comma separated. Default: not checked
    #[arg(long, env = "TIDINGS_JWT_ISSUER", value_name = "NAMES")]
    pub jwt_issuer: Option<String>,
    /// Audiences whose tokens are accepted, comma separated. Default: not checked
    #[arg(long, env = "TIDINGS_JWT_AUDIENCE", value_name = "NAMES")]
    pub jwt_audience: Option<String>,
    /// How far a token's times may be off; up to 600
    #[arg(long, env = "TIDINGS_JWT_LEEWAY_S", default_value_t = 0, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(0..=600))]
    pub jwt_leeway_s: u64,
    /// The longest life of a token, from `iat` to `exp`. Longer tokens are refused
    #[arg(long, env = "TIDINGS_JWT_MAX_LIFE_S", value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..))]
    pub jwt_max_life_s: Option<u64>,
    /// Claim with the user id, such as `user_id` or `user.id`
    #[arg(long, env = "TIDINGS_JWT_USER_CLAIM", default_value = "sub", value_name = "CLAIM")]
    pub jwt_user_claim: String,
    /// Claim with the name
    #[arg(long, env = "TIDINGS_JWT_NAME_CLAIM", default_value = "name", value_name = "CLAIM")]
    pub jwt_name_claim: String,
    /// Claim with the address of the picture
    #[arg(long, env = "TIDINGS_JWT_PICTURE_CLAIM", default_value = "picture", value_name = "CLAIM")]
    pub jwt_picture_claim: String,
    /// Claim with the scopes
    #[arg(long, env = "TIDINGS_JWT_SCOPE_CLAIM", default_value = "scope", value_name = "CLAIM")]
    pub jwt_scope_claim: String,
}

impl TokenArgs {
    /// Checks the settings by which tokens are verified, and reads the key files that the settings name. Returns the
    /// checked settings, or all problems.
    pub fn checked(&self) -> Result<CheckedTokenSettings, Vec<Problem>> {
        let list = |text: &str| -> Vec<String> {
            text.split(',').map(|item| item.trim().to_owned()).filter(|item| !item.is_empty()).collect()
        };
        CheckedTokenSettings::check(TokenSettings {
            secret: self.jwt_secret.as_ref().filter(|secret| !secret.expose_secret().is_empty()),
            public_key: self.jwt_public_key.as_deref().filter(|text| !text.is_empty()),
            jwks_file: self.jwks_file.as_deref().filter(|path| !path.is_empty()),
            jwks_url: self.jwks_url.as_deref().filter(|url| !url.is_empty()),
            algorithms: &list(&self.jwt_algorithms),
            rules: ClaimRules {
                issuers: list(self.jwt_issuer.as_deref().unwrap_or_default()),
                audiences: list(self.jwt_audience.as_deref().unwrap_or_default()),
                leeway_s: self.jwt_leeway_s,
                max_life_s: self.jwt_max_life_s,
                user: self.jwt_user_claim.clone(),
                name: self.jwt_name_claim.clone(),
                picture: self.jwt_picture_claim.clone(),
                scope: self.jwt_scope_claim.clone(),
            },
        })
    }

    /// The keys that verify tokens. Each change of their files replaces the configured keys of `verifier`. `secret_file`
    /// is the file of the secret, if it came from a file.
    pub fn watch_keys(&self, secret_file: Option<&Path>, verifier: &Arc<Verifier>) -> WatchedFiles {
        let (tokens, verifier) = (self.clone(), verifier.clone());
        let secret = secret_file.map(Path::to_owned);
        let key_files = [self.public_key_file(), self.jwks_file.as_deref().filter(|path| !path.is_empty())];
        let paths =
            secret.clone().into_iter().chain(key_files.into_iter().flatten().map(PathBuf::from)).collect();
        WatchedFiles::new("token-keys", paths, move || {
            let mut tokens = tokens.clone();
            if let Some(path) = &secret {
                tokens.jwt_secret = Some(read_secret(path)?);
            }
            let settings = tokens.checked().map_err(join_problems)?;
            let fingerprints = tokens.fingerprints()?;
            verifier.replace_configured_keys(settings);
            Ok(fingerprints)
        })
    }

    /// The path of the file with public keys; `None` if the setting is not given or contains the keys themselves.
    fn public_key_file(&self) -> Option<&str> {
        self.jwt_public_key.as_deref().filter(|value| !value.is_empty() && !value.contains("-----BEGIN"))
    }

    fn fingerprints(&self) -> Result<LoadedFingerprints, String> {
        let mut loaded = LoadedFingerprints::new();
        if let Some(secret) = self.jwt_secret.as_ref().filter(|secret| !secret.expose_secret().is_empty()) {
            loaded.extend(fingerprints_of("jwt-secret", &AcceptedSecrets::split(secret)?));
        }
        let jwks_file = self.jwks_file.as_deref().filter(|path| !path.is_empty());
        for (setting, file) in [("jwt-public-key", self.public_key_file()), ("jwks-file", jwks_file)] {
            let Some(file) = file else { continue };
            let content =
                std::fs::read(file).map_err(|error| format!("the file {file} cannot be read: {error}"))?;
            loaded.push((setting, fingerprint(&content)));
        }
        Ok(loaded)
    }
}

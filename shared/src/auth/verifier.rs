//! Verifies tokens with the loaded keys, without a lock or a wait. If the key of a token is not loaded,
//! [`Verifier::verify_or_fetch`] fetches the keys from the configured JWKS URL, for a bounded time. All threads of a
//! service share one verifier.

use std::sync::Arc;

use arc_swap::ArcSwap;
use jsonwebtoken::Algorithm;
use secrecy::SecretString;

use super::{
    Identity, Reason,
    claims::ClaimRules,
    key::Key,
    keys::{self, KeyCheckError, KeySet, UrlKeysState},
    settings::CheckedTokenSettings,
    source::{FETCH_SCHEDULE, FetchedKeys, KeySource},
    token::Token,
};
use crate::error::Refusal;

/// Verifies tokens with the configured keys, and with those of the configured URL.
pub struct Verifier {
    keys: Arc<ArcSwap<KeySet>>,
    rules: ClaimRules,
    source: Option<KeySource>,
}

/// Why [`Verifier::verify`] did not accept a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum VerifyError {
    Refused(Reason),
    /// The token's key is not loaded, but may be at the URL. The caller should use [`Verifier::verify_or_fetch`].
    KeysNeeded,
}

impl From<Reason> for VerifyError {
    fn from(reason: Reason) -> Self {
        Self::Refused(reason)
    }
}

impl Verifier {
    /// Creates a verifier for tokens that are signed with one secret. Panics if the secret has fewer than 16 bytes.
    pub fn hs256(secret: &SecretString, leeway_s: u64) -> Self {
        let rules = ClaimRules { leeway_s, ..ClaimRules::default() };
        let key =
            Key::of_secret(secret, &[Algorithm::HS256]).expect("a secret of at least 16 bytes is a key");
        Self::of_keys(KeySet::new(Arc::new([key]), Vec::new(), UrlKeysState::Unused), rules)
    }

    /// Creates a verifier with only these keys, without a URL.
    pub(super) fn of_keys(keys: KeySet, rules: ClaimRules) -> Self {
        Self { keys: Arc::new(ArcSwap::from_pointee(keys)), rules, source: None }
    }

    /// Creates a verifier with these settings. If the settings have a URL, a task on the current runtime fetches the
    /// keys of the URL. After each fetch the task calls `on_fetch_end`, and tells it whether the fetch succeeded.
    #[must_use]
    pub fn start(settings: CheckedTokenSettings, on_fetch_end: impl Fn(bool) + Send + 'static) -> Self {
        let CheckedTokenSettings { keys, url, algorithms, rules } = settings;
        let url_keys = if url.is_some() { UrlKeysState::Missing } else { UrlKeysState::Unused };
        let keys = Arc::new(ArcSwap::from_pointee(KeySet::new(keys.into(), Vec::new(), url_keys)));
        let source = url.map(|client| {
            let (client, algorithms) = (Arc::new(client), Arc::new(algorithms));
            let load = move || {
                let (client, algorithms) = (client.clone(), algorithms.clone());
                async move {
                    let with_host = |cause: &str| format!("{}: {cause}", client.host());
                    let (text, fresh_for) = client.get().await.map_err(|cause| with_host(&cause))?;
                    let keys = keys::parse_jwks(&text, false, &algorithms).map_err(with_host)?;
                    Ok(FetchedKeys { keys, fresh_for })
                }
            };
            KeySource::start(keys.clone(), FETCH_SCHEDULE, load, on_fetch_end)
        });
        Self { keys, rules, source }
    }

    /// Replaces the configured keys by those of `settings`. The keys of the URL and the rules of claims stay. Tokens that
    /// were accepted before stay accepted until they expire.
    pub fn replace_configured_keys(&self, settings: CheckedTokenSettings) {
        let configured: Arc<[Key]> = settings.keys.into();
        self.keys.rcu(|set| set.with_configured(configured.clone()));
    }

    /// Checks form, key, algorithm, signature, times and claims of a token with the loaded keys.
    pub fn verify(&self, token: &str) -> Result<Identity, VerifyError> {
        let token = Token::parse(token)?;
        match self.keys.load().check(&token) {
            Ok(()) => Ok(self.rules.identity(&token.claims()?, chrono::Utc::now().timestamp())?),
            Err(KeyCheckError::Refused(reason)) => Err(reason.into()),
            Err(KeyCheckError::FetchMayHelp) => Err(VerifyError::KeysNeeded),
        }
    }

    /// Verifies a token, and fetches the keys of the URL if the token's key is not loaded. Waits at most 5 s for the
    /// keys. Refuses the token as `unavailable` if the keys cannot be fetched.
    pub async fn verify_or_fetch(&self, token: &str) -> Result<Identity, Refusal> {
        match self.verify(token) {
            Err(VerifyError::KeysNeeded) => {}
            Err(VerifyError::Refused(reason)) => return Err(reason.into()),
            Ok(identity) => return Ok(identity),
        }
        if let Some(source) = &self.source
            && source.refresh().await.is_err()
        {
            let why = "the keys that verify your token are not available now; try again";
            return Err(Refusal::unavailable(why));
        }
        self.verify(token).map_err(|error| match error {
            VerifyError::Refused(reason) => reason.into(),
            VerifyError::KeysNeeded => Reason::UnknownKey.into(),
        })
    }

    /// Returns a message for the readiness check if there are no keys, so that no token can be verified; else `None`.
    pub fn missing(&self) -> Option<&'static str> {
        self.keys.load().is_empty().then_some("no keys to verify tokens with")
    }
}

//! Checks tokens: at once with the keys at hand, or after a bounded wait for keys of the URL. One per service, shared
//! by all threads; the usual way takes no lock and waits for nothing.

use std::{
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

use arc_swap::ArcSwap;
use jsonwebtoken::Algorithm;
use secrecy::SecretString;

use super::{
    Identity, Reason,
    claims::Rules,
    key::Key,
    keys::{self, KeySet, Remote, Unmatched},
    settings::Settings,
    source::{Loaded, PACE, Source},
    token::Token,
};
use crate::error::Refusal;

/// See the module.
pub struct Verifier {
    keys: Arc<ArcSwap<KeySet>>,
    rules: Rules,
    source: Option<Source>,
}

/// Why a token was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unverified {
    Refused(Reason),
    /// Its key may be at the URL: [`Verifier::settle`] finds out.
    KeysNeeded,
}

impl From<Reason> for Unverified {
    fn from(reason: Reason) -> Self {
        Self::Refused(reason)
    }
}

impl Verifier {
    /// One for tokens of one secret.
    ///
    /// # Panics
    /// When the secret has fewer than 16 bytes.
    #[must_use]
    pub fn hs256(secret: &SecretString, leeway_s: u64) -> Self {
        let rules = Rules { leeway_s, ..Rules::default() };
        let key =
            Key::of_secret(secret, &[Algorithm::HS256]).expect("a secret of at least 16 bytes is a key");
        Self::of_keys(KeySet::new(Arc::new([key]), Vec::new(), Remote::Unused), rules)
    }

    pub(super) fn of_keys(keys: KeySet, rules: Rules) -> Self {
        Self { keys: Arc::new(ArcSwap::from_pointee(keys)), rules, source: None }
    }

    /// One as configured. With a URL it begins to fetch, on the current runtime; `fetched` hears of each fetch
    /// whether it was good.
    #[must_use]
    pub fn start(settings: Settings, fetched: impl Fn(bool) + Send + 'static) -> Self {
        let Settings { given, url, algorithms, rules } = settings;
        let remote = if url.is_some() { Remote::Missing } else { Remote::Unused };
        let keys = Arc::new(ArcSwap::from_pointee(KeySet::new(given.into(), Vec::new(), remote)));
        let source = url.map(|client| {
            let (client, algorithms) = (Arc::new(client), Arc::new(algorithms));
            let load = move || {
                let (client, algorithms) = (client.clone(), algorithms.clone());
                async move {
                    let told = |cause: &str| format!("{}: {cause}", client.host());
                    let fetched = client.get().await.map_err(|cause| told(&cause))?;
                    let keys = keys::of_jwks(&fetched.body, false, &algorithms);
                    Ok(Loaded { keys: keys.map_err(told)?, fresh_for: fetched.fresh_for })
                }
            };
            Source::start(keys.clone(), PACE, load, fetched)
        });
        Self { keys, rules, source }
    }

    /// Checks form, key, algorithm, signature, times and claims of a token with the keys at hand.
    ///
    /// # Errors
    /// The first [`Reason`] that speaks against it, or that its key must be looked for.
    pub fn verify(&self, token: &str) -> Result<Identity, Unverified> {
        let token = Token::read(token)?;
        match self.keys.load().check(&token) {
            Ok(()) => Ok(self.rules.identity(&token.claims()?, now_s())?),
            Err(Unmatched::Refused(reason)) => Err(reason.into()),
            Err(Unmatched::NotHere) => Err(Unverified::KeysNeeded),
        }
    }

    /// The same, and looks for the key where that is needed: waits up to 5 s.
    ///
    /// # Errors
    /// `unauthorized` with the [`Reason`], or `unavailable` while the keys cannot be had.
    pub async fn settle(&self, token: &str) -> Result<Identity, Refusal> {
        match self.verify(token) {
            Err(Unverified::KeysNeeded) => {}
            Err(Unverified::Refused(reason)) => return Err(reason.into()),
            Ok(identity) => return Ok(identity),
        }
        if let Some(source) = &self.source
            && source.look().await.is_err()
        {
            let why = "the keys that your token is checked with cannot be had now; try again";
            return Err(Refusal::unavailable(why));
        }
        self.verify(token).map_err(|unverified| match unverified {
            Unverified::Refused(reason) => reason.into(),
            Unverified::KeysNeeded => Reason::UnknownKey.into(),
        })
    }

    /// What keeps every token from being checked, for those who ask whether the node would serve.
    #[must_use]
    pub fn missing(&self) -> Option<&'static str> {
        self.keys.load().is_empty().then_some("no keys to check tokens with")
    }
}

fn now_s() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}

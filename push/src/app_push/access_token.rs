//! The access token of a service account of Google (OAuth 2.0, RFC 7523): fetched with a signed token, and used until
//! shortly before it ends. One fetch runs at a time, and the other attempts wait for it.

use std::time::{Duration, Instant};

use chrono::Utc;
use reqwest::Client;
use serde::Deserialize;
use serde_json::json;
use tokio::sync::Mutex;
use url::Url;

use crate::exchange::exchange;
use crate::jwt::TokenKey;
use crate::outcome::{AttemptError, TemporaryFailure};

const SCOPE: &str = "https://www.googleapis.com/auth/firebase.messaging";
const GRANT_TYPE: &str = "urn:ietf:params:oauth:grant-type:jwt-bearer";
/// How long the signed token is valid. Google allows an hour.
const ASSERTION_LIFETIME_S: i64 = 3600;

/// A service account, as Google's file describes it.
pub struct ServiceAccount {
    pub project: String,
    email: String,
    key: TokenKey,
    key_id: String,
    token_url: Url,
}

#[derive(Deserialize)]
struct AccountFile {
    project_id: String,
    client_email: String,
    private_key: String,
    private_key_id: String,
    token_uri: String,
}

#[derive(Deserialize)]
struct TokenAnswer {
    access_token: String,
    expires_in: u64,
}

struct CachedToken {
    token: String,
    renew_at: Instant,
}

/// The access token, which is shared by all attempts.
pub struct AccessToken {
    account: ServiceAccount,
    client: Client,
    cached: Mutex<Option<CachedToken>>,
}

impl ServiceAccount {
    /// Reads the JSON file of a service account.
    ///
    /// # Errors
    /// The rule that the text breaks. The error does not repeat the text, because it is a secret.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        const RULE: &str = "must be the JSON file of a service account, with project_id, client_email, private_key, \
            private_key_id and token_uri";
        let file: AccountFile = serde_json::from_str(text).map_err(|_| RULE)?;
        let key = TokenKey::rs256(&file.private_key).ok_or("has no private_key in PEM (PKCS #8, RSA)")?;
        let is_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | ':' | '.');
        if file.project_id.is_empty() || !file.project_id.chars().all(is_name) {
            return Err("has a project_id that is no name of a project");
        }
        let token_url = Url::parse(&file.token_uri).map_err(|_| "has a token_uri that is no URL")?;
        Ok(Self {
            project: file.project_id,
            email: file.client_email,
            key,
            key_id: file.private_key_id,
            token_url,
        })
    }
}

impl AccessToken {
    pub fn new(account: ServiceAccount, client: Client) -> Self {
        Self { account, client, cached: Mutex::new(None) }
    }

    /// The project of the service account.
    pub fn project(&self) -> &str {
        &self.account.project
    }

    /// The access token; fetched if there is none, or it ends soon.
    ///
    /// # Errors
    /// When it cannot be fetched.
    pub async fn get(&self) -> Result<String, AttemptError> {
        let mut cached = self.cached.lock().await;
        if let Some(known) = cached.as_ref().filter(|known| Instant::now() < known.renew_at) {
            return Ok(known.token.clone());
        }
        let TokenAnswer { access_token, expires_in } = self.fetch().await?;
        // Renewed when a tenth of its lifetime is left, so that it does not expire during a request.
        let renew_at = Instant::now() + Duration::from_secs(expires_in.min(86_400)).mul_f64(0.9);
        *cached = Some(CachedToken { token: access_token.clone(), renew_at });
        Ok(access_token)
    }

    /// Drops a token that was refused, unless another one is in use by now.
    pub async fn forget(&self, refused: &str) {
        let mut cached = self.cached.lock().await;
        if cached.as_ref().is_some_and(|known| known.token == refused) {
            *cached = None;
        }
    }

    async fn fetch(&self) -> Result<TokenAnswer, AttemptError> {
        let ServiceAccount { email, key, key_id, token_url, .. } = &self.account;
        let now = Utc::now().timestamp();
        let claims = json!({
            "iss": email, "scope": SCOPE, "aud": token_url.as_str(), "iat": now, "exp": now + ASSERTION_LIFETIME_S,
        });
        let assertion = key.sign(Some(key_id), &claims).ok_or(AttemptError::Credentials)?;
        let form = [("grant_type", GRANT_TYPE), ("assertion", &assertion)];
        let answer = exchange(self.client.post(token_url.clone()).form(&form)).await?;
        if answer.status == 400 {
            // OAuth errors such as `invalid_grant`: Google refuses the service account.
            return Err(AttemptError::Credentials);
        }
        answer.outcome()?;
        serde_json::from_value(answer.body)
            .map_err(|_| AttemptError::Temporary(TemporaryFailure::NoAnswer, None))
    }
}

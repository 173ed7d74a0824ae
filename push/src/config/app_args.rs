//! Settings of the push services of apps. Each kind is offered when it is configured.

use clap::Args;
use reqwest::Client;
use secrecy::{ExposeSecret, SecretString};
use tidings_shared::config::problem::Problem;
use url::Url;

use crate::app_push::AppPush;
use crate::app_push::access_token::{AccessToken, ServiceAccount};
use crate::app_push::apns::{Apns, ProviderTokens};
use crate::app_push::expo::Expo;
use crate::app_push::fcm::Fcm;
use crate::jwt::TokenKey;

/// Push services of apps
#[derive(Debug, Clone, Args)]
pub struct AppArgs {
    /// Service account of the Firebase project, as JSON: apps with FCM may be registered
    #[arg(long, env = "TIDINGS_PUSH_FCM_ACCOUNT", hide_env_values = true, value_name = "JSON")]
    pub fcm_account: Option<SecretString>,
    /// Origin of FCM
    #[arg(
        long,
        env = "TIDINGS_PUSH_FCM_URL",
        default_value = "https://fcm.googleapis.com",
        value_name = "URL"
    )]
    pub fcm_url: Url,
    /// Signing key for APNs, as PEM (the file `.p8`): apps on Apple devices may be registered. Needs the id of the key,
    /// the team and the topic
    #[arg(long, env = "TIDINGS_PUSH_APNS_KEY", hide_env_values = true, value_name = "PEM")]
    pub apns_key: Option<SecretString>,
    /// Id of the signing key for APNs
    #[arg(long, env = "TIDINGS_PUSH_APNS_KEY_ID", value_name = "ID")]
    pub apns_key_id: Option<String>,
    /// Id of the team at Apple
    #[arg(long, env = "TIDINGS_PUSH_APNS_TEAM_ID", value_name = "ID")]
    pub apns_team_id: Option<String>,
    /// Topic at APNs, the id of the app
    #[arg(long, env = "TIDINGS_PUSH_APNS_TOPIC", value_name = "ID")]
    pub apns_topic: Option<String>,
    /// Origin of APNs; `https://api.sandbox.push.apple.com` for development builds of the app
    #[arg(
        long,
        env = "TIDINGS_PUSH_APNS_URL",
        default_value = "https://api.push.apple.com",
        value_name = "URL"
    )]
    pub apns_url: Url,
    /// Whether apps with the push service of Expo may be registered
    #[arg(long, env = "TIDINGS_PUSH_EXPO", default_value_t = false, action = clap::ArgAction::Set, value_name = "BOOL")]
    pub expo: bool,
    /// Access token for Expo, if the account demands one
    #[arg(long, env = "TIDINGS_PUSH_EXPO_TOKEN", hide_env_values = true, value_name = "SECRET")]
    pub expo_token: Option<SecretString>,
    /// Origin of the push service of Expo
    #[arg(long, env = "TIDINGS_PUSH_EXPO_URL", default_value = "https://exp.host", value_name = "URL")]
    pub expo_url: Url,
}

/// The clients for these services, which trust the addresses that the operator names.
pub struct AppClients {
    pub http1: Client,
    /// APNs speaks only HTTP/2.
    pub http2: Client,
}

impl AppArgs {
    /// The configured push services, or all problems of their settings.
    pub fn build(&self, clients: &AppClients) -> Result<AppPush, Vec<Problem>> {
        let (fcm, apns) = (self.account(), self.provider_tokens());
        let urls = [("fcm-url", &self.fcm_url), ("apns-url", &self.apns_url), ("expo-url", &self.expo_url)];
        let wrong = urls.into_iter().filter(|(_, url)| !is_origin(url));
        let mut problems: Vec<Problem> =
            wrong.map(|(name, _)| Problem::new(name, "must be `https://HOST[:PORT]`")).collect();
        problems.extend(fcm.as_ref().err().cloned());
        problems.extend(apns.as_ref().err().cloned());
        let (Ok(account), Ok(tokens), true) = (fcm, apns, problems.is_empty()) else { return Err(problems) };
        let client = || clients.http1.clone();
        Ok(AppPush {
            fcm: account.map(|account| Fcm {
                client: client(),
                base: self.fcm_url.clone(),
                access: AccessToken::new(account, client()),
            }),
            apns: tokens.map(|(tokens, topic)| Apns {
                client: clients.http2.clone(),
                base: self.apns_url.clone(),
                tokens,
                topic,
            }),
            expo: self.expo.then(|| Expo {
                client: client(),
                base: self.expo_url.clone(),
                access: self.expo_token.clone(),
            }),
        })
    }

    fn account(&self) -> Result<Option<ServiceAccount>, Problem> {
        let parse = |text: &SecretString| ServiceAccount::parse(text.expose_secret());
        self.fcm_account.as_ref().map(parse).transpose().map_err(|rule| Problem::new("fcm-account", rule))
    }

    fn provider_tokens(&self) -> Result<Option<(ProviderTokens, String)>, Problem> {
        let names = [
            ("apns-key-id", &self.apns_key_id),
            ("apns-team-id", &self.apns_team_id),
            ("apns-topic", &self.apns_topic),
        ];
        let Some(key) = &self.apns_key else {
            return match names.into_iter().find(|(_, value)| value.is_some()) {
                Some((name, _)) => Err(Problem::new(name, "needs --apns-key")),
                None => Ok(None),
            };
        };
        let is_name = |text: &&String| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic());
        for (name, value) in names {
            if value.as_ref().filter(is_name).is_none() {
                return Err(Problem::new(name, "is required with --apns-key, in printable ASCII characters"));
            }
        }
        let rule = || Problem::new("apns-key", "must be a private key on the curve P-256, as PEM (PKCS #8)");
        let key = TokenKey::es256(key.expose_secret()).ok_or_else(rule)?;
        let text = |value: &Option<String>| value.clone().unwrap_or_default();
        let tokens = ProviderTokens::new(key, &text(&self.apns_key_id), &text(&self.apns_team_id));
        Ok(Some((tokens, text(&self.apns_topic))))
    }
}

/// Whether a URL has no more than scheme, host and port. `http` is for push services on the same machine.
fn is_origin(url: &Url) -> bool {
    let is_bare = url.path() == "/" && url.query().is_none() && url.fragment().is_none();
    let has_no_user = url.username().is_empty() && url.password().is_none();
    url.has_host() && matches!(url.scheme(), "https" | "http") && is_bare && has_no_user
}

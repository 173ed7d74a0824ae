//! The Apple Push Notification service, over HTTP/2 and with tokens of the provider.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use chrono::Utc;
use reqwest::header::AUTHORIZATION;
use reqwest::{Client, Version};
use serde_json::json;
use url::Url;

use crate::exchange::{Answer, exchange};
use crate::jwt::TokenKey;
use crate::notification::AppMessage;
use crate::outcome::AttemptError;

/// How long a token is used. Apple wants a new one after 20 minutes at the earliest, and refuses one after 60.
const TOKEN_USE: Duration = Duration::from_secs(40 * 60);

/// Makes the tokens that identify this installation.
pub struct ProviderTokens {
    key: TokenKey,
    key_id: String,
    team_id: String,
    current: Mutex<Option<(String, Instant)>>,
}

impl ProviderTokens {
    pub fn new(key: TokenKey, key_id: &str, team_id: &str) -> Self {
        Self { key, key_id: key_id.to_owned(), team_id: team_id.to_owned(), current: Mutex::new(None) }
    }

    /// The token to use now. None if nothing can be signed.
    fn at(&self, now: Instant) -> Option<String> {
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((token, _)) =
            current.as_ref().filter(|(_, made_at)| now.duration_since(*made_at) < TOKEN_USE)
        {
            return Some(token.clone());
        }
        let claims = json!({ "iss": self.team_id, "iat": Utc::now().timestamp() });
        let token = self.key.sign(Some(&self.key_id), &claims)?;
        *current = Some((token.clone(), now));
        Some(token)
    }
}

/// Sends messages to apps on Apple devices.
pub struct Apns {
    pub client: Client,
    /// The origin of the API.
    pub base: Url,
    pub tokens: ProviderTokens,
    /// The id of the app.
    pub topic: String,
}

impl Apns {
    /// Sends a message. One of the same room is replaced, on the device and at the push service.
    ///
    /// # Errors
    /// When the push service has not accepted the message.
    pub async fn send(
        &self,
        token: &str,
        message: &AppMessage<'_>,
        ttl: Duration,
    ) -> Result<(), AttemptError> {
        let url = self.base.join(&format!("/3/device/{token}")).map_err(|_| AttemptError::Unusable)?;
        let provider = self.tokens.at(Instant::now()).ok_or(AttemptError::Credentials)?;
        let mut body = message.data();
        let (push_type, priority) = match message {
            AppMessage::Show(notification) => {
                let (title, text) = notification.alert();
                let alert = text.map_or_else(
                    || json!({ "title": title }),
                    |text| json!({ "title": title, "body": text }),
                );
                // `mutable-content` lets the app change what is shown, for instance its language.
                body["aps"] = json!({
                    "alert": alert, "sound": "default", "thread-id": message.room(), "mutable-content": 1,
                });
                ("alert", "10")
            }
            AppMessage::Clear { .. } => {
                body["aps"] = json!({ "content-available": 1 });
                ("background", "5")
            }
        };
        let request = self
            .client
            .post(url)
            .version(Version::HTTP_2)
            .header(AUTHORIZATION, format!("bearer {provider}"))
            .header("apns-topic", &self.topic)
            .header("apns-push-type", push_type)
            .header("apns-priority", priority)
            .header("apns-expiration", (Utc::now() + ttl).timestamp())
            .header("apns-collapse-id", message.room())
            .json(&body);
        classify(&exchange(request).await?)
    }
}

fn classify(answer: &Answer) -> Result<(), AttemptError> {
    match (answer.status, answer.body["reason"].as_str()) {
        (410, _) => Err(AttemptError::Gone),
        // The token is wrong, or it belongs to another topic or environment, because the settings are wrong.
        (400, Some("BadDeviceToken" | "DeviceTokenNotForTopic")) => {
            Err(AttemptError::Rejected(answer.status))
        }
        (400, Some("TopicDisallowed" | "BadTopic" | "MissingTopic")) => Err(AttemptError::Credentials),
        _ => answer.outcome(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outcome::TemporaryFailure;
    use crate::web_push::vapid::VapidKey;

    fn classified(status: u16, reason: &str) -> Result<(), AttemptError> {
        classify(&Answer { status, retry_after: None, body: json!({ "reason": reason }) })
    }

    #[test]
    fn token_is_used_for_forty_minutes() {
        let key = VapidKey::parse(&VapidKey::generate().unwrap(), "").unwrap().into_token_key();
        let (tokens, start) = (ProviderTokens::new(key, "KEY", "TEAM"), Instant::now());
        let token_after = |minutes: u64| tokens.at(start + Duration::from_secs(minutes * 60)).unwrap();
        let first = token_after(0);
        assert_eq!(token_after(20), first);
        assert_eq!(token_after(39), first);
        let second = token_after(40);
        assert_ne!(second, first);
        assert_eq!(token_after(79), second);
    }

    #[test]
    fn only_an_error_of_the_token_removes_the_device() {
        assert_eq!(classified(200, ""), Ok(()));
        for (status, reason) in [(410, "Unregistered"), (410, "ExpiredToken")] {
            assert_eq!(classified(status, reason), Err(AttemptError::Gone), "{reason}");
        }
        for (status, reason) in
            [(403, "InvalidProviderToken"), (403, "ExpiredProviderToken"), (400, "BadTopic")]
        {
            assert_eq!(classified(status, reason), Err(AttemptError::Credentials), "{reason}");
        }
        for reason in ["BadDeviceToken", "DeviceTokenNotForTopic"] {
            assert_eq!(classified(400, reason), Err(AttemptError::Rejected(400)), "{reason}");
        }
        for status in [429, 500, 503] {
            let wanted = AttemptError::Temporary(TemporaryFailure::Status(status), None);
            assert_eq!(classified(status, "Shutdown"), Err(wanted));
        }
    }
}

//! The push service of Expo, which passes messages on to FCM and APNs. Its answer is a ticket. The receipts, which come
//! later, are not fetched: a device that Expo finds gone gets an error in its next ticket.

use std::time::Duration;

use reqwest::Client;
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Value, json};
use url::Url;

use crate::exchange::{Answer, exchange};
use crate::notification::AppMessage;
use crate::outcome::{AttemptError, TemporaryFailure};

/// The path of the API that sends messages.
const SEND_PATH: &str = "/--/api/v2/push/send";

/// Sends messages to apps of Expo.
pub struct Expo {
    pub client: Client,
    /// The origin of the API.
    pub base: Url,
    /// The access token of the account, if it demands one.
    pub access: Option<SecretString>,
}

impl Expo {
    /// Sends a message.
    ///
    /// # Errors
    /// When the push service has not accepted the message.
    pub async fn send(
        &self,
        token: &str,
        message: &AppMessage<'_>,
        ttl: Duration,
    ) -> Result<(), AttemptError> {
        let url = self.base.join(SEND_PATH).map_err(|_| AttemptError::Unusable)?;
        let mut body = json!({ "to": token, "data": message.data(), "ttl": ttl.as_secs() });
        match message {
            AppMessage::Show(notification) => {
                let (title, text) = notification.alert();
                (body["title"], body["priority"]) = (title.into(), "high".into());
                body["sound"] = "default".into();
                if let Some(text) = text {
                    body["body"] = text.into();
                }
            }
            AppMessage::Clear { .. } => {
                (body["_contentAvailable"], body["priority"]) = (true.into(), "normal".into());
            }
        }
        let mut request = self.client.post(url).json(&body);
        if let Some(access) = &self.access {
            request = request.bearer_auth(access.expose_secret());
        }
        classify(&exchange(request).await?)
    }
}

fn classify(answer: &Answer) -> Result<(), AttemptError> {
    answer.outcome()?;
    // A request with one message has one ticket, or a list of one.
    let ticket: &Value = answer.body["data"].get(0).unwrap_or(&answer.body["data"]);
    let limited = AttemptError::Temporary(TemporaryFailure::Status(429), None);
    match (ticket["status"].as_str(), ticket["details"]["error"].as_str()) {
        (Some("ok"), _) => Ok(()),
        (Some("error"), Some("DeviceNotRegistered")) => Err(AttemptError::Gone),
        (Some("error"), Some("MessageRateExceeded")) => Err(limited),
        (Some("error"), Some("InvalidCredentials")) => Err(AttemptError::Credentials),
        (Some("error"), _) => Err(AttemptError::Rejected(answer.status)),
        _ => Err(AttemptError::Temporary(TemporaryFailure::NoAnswer, None)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn classified(status: u16, data: Value) -> Result<(), AttemptError> {
        classify(&Answer { status, retry_after: None, body: json!({ "data": data }) })
    }

    #[test]
    fn ticket_decides_although_the_status_is_200() {
        let error = |code: &str| json!({ "status": "error", "message": "m", "details": { "error": code } });
        assert_eq!(classified(200, json!({ "status": "ok", "id": "x" })), Ok(()));
        assert_eq!(classified(200, json!([{ "status": "ok", "id": "x" }])), Ok(()));
        assert_eq!(classified(200, error("DeviceNotRegistered")), Err(AttemptError::Gone));
        assert_eq!(classified(200, json!([error("DeviceNotRegistered")])), Err(AttemptError::Gone));
        assert_eq!(classified(200, error("InvalidCredentials")), Err(AttemptError::Credentials));
        assert_eq!(classified(200, error("MessageTooBig")), Err(AttemptError::Rejected(200)));
        assert_eq!(classified(401, json!(null)), Err(AttemptError::Credentials));
        for (status, data) in [(200, error("MessageRateExceeded")), (429, json!(null)), (200, json!({}))] {
            assert!(matches!(classified(status, data), Err(AttemptError::Temporary(..))));
        }
    }
}

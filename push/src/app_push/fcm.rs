//! Firebase Cloud Messaging, by its HTTP v1 API. It also reaches Apple devices whose app uses Firebase.

use std::time::Duration;

use chrono::Utc;
use reqwest::Client;
use serde_json::{Map, Value, json};
use url::Url;

use super::access_token::AccessToken;
use crate::exchange::{Answer, exchange};
use crate::notification::AppMessage;
use crate::outcome::AttemptError;

/// The type of the detail of an error that belongs to FCM.
const FCM_ERROR: &str = "type.googleapis.com/google.firebase.fcm.v1.FcmError";

/// Sends messages to apps with Firebase.
pub struct Fcm {
    pub client: Client,
    /// The origin of the API.
    pub base: Url,
    pub access: AccessToken,
}

impl Fcm {
    /// Sends a message. One that FCM still keeps for the same room is replaced.
    ///
    /// # Errors
    /// When FCM has not accepted the message.
    pub async fn send(
        &self,
        token: &str,
        message: &AppMessage<'_>,
        ttl: Duration,
    ) -> Result<(), AttemptError> {
        let url = self.base.join(&format!("/v1/projects/{}/messages:send", self.access.project()));
        let url = url.map_err(|_| AttemptError::Unusable)?;
        let body = body(token, message, ttl);
        let access = self.access.get().await?;
        let answer = exchange(self.client.post(url).bearer_auth(&access).json(&body)).await?;
        if answer.status == 401 {
            self.access.forget(&access).await;
        }
        classify(&answer)
    }
}

fn body(token: &str, message: &AppMessage<'_>, ttl: Duration) -> Value {
    let room = message.room();
    // FCM accepts only texts as data.
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let data = message.data();
    let data: Map<String, Value> = data
        .as_object()
        .into_iter()
        .flatten()
        .map(|(name, value)| (name.clone(), text(value).into()))
        .collect();
    let expiration = (Utc::now() + ttl).timestamp().to_string();
    let mut android =
        json!({ "collapse_key": room, "priority": "normal", "ttl": format!("{}s", ttl.as_secs()) });
    let mut headers = json!({
        "apns-push-type": "background", "apns-priority": "5", "apns-collapse-id": room,
        "apns-expiration": expiration,
    });
    let mut aps = json!({ "content-available": 1 });
    let mut alert = None;
    if let AppMessage::Show(notification) = message {
        let (title, text) = notification.alert();
        alert = Some(
            text.map_or_else(|| json!({ "title": title }), |text| json!({ "title": title, "body": text })),
        );
        android["priority"] = "high".into();
        // A notification with the same tag is replaced on the screen.
        android["notification"] = json!({ "tag": room });
        (headers["apns-push-type"], headers["apns-priority"]) = ("alert".into(), "10".into());
        aps = json!({ "thread-id": room, "sound": "default" });
    }
    let apns = json!({ "headers": headers, "payload": { "aps": aps } });
    let mut message = json!({ "token": token, "data": data, "android": android, "apns": apns });
    if let Some(alert) = alert {
        message["notification"] = alert;
    }
    json!({ "message": message })
}

/// What follows from an answer. Only an answer about the token removes the device.
fn classify(answer: &Answer) -> Result<(), AttemptError> {
    let details = answer.body["error"]["details"].as_array().map(Vec::as_slice).unwrap_or_default();
    let code = details.iter().find(|detail| detail["@type"] == FCM_ERROR);
    let code = code.and_then(|detail| detail["errorCode"].as_str()).unwrap_or_default();
    let fields = details.iter().filter_map(|detail| detail["fieldViolations"].as_array()).flatten();
    let is_of_token = |violation: &Value| violation["field"] == "message.token";
    match (answer.status, code) {
        (404, "UNREGISTERED") => Err(AttemptError::Gone),
        // The token is surely wrong only if it is the only field that is reported.
        (400, "INVALID_ARGUMENT") if fields.clone().count() > 0 && fields.clone().all(is_of_token) => {
            Err(AttemptError::Gone)
        }
        // The token belongs to another project.
        (403, "SENDER_ID_MISMATCH") => Err(AttemptError::Rejected(answer.status)),
        _ => answer.outcome(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outcome::TemporaryFailure;

    fn classified(status: u16, details: Value) -> Result<(), AttemptError> {
        let body = json!({ "error": { "code": status, "details": details } });
        classify(&Answer { status, retry_after: Some(Duration::from_secs(7)), body })
    }

    #[test]
    fn only_an_error_of_the_token_removes_the_device() {
        let error = |code: &str| json!({ "@type": FCM_ERROR, "errorCode": code });
        let field = |name: &str| json!({ "@type": "type.googleapis.com/google.rpc.BadRequest", "fieldViolations": [{ "field": name }] });
        assert_eq!(classified(404, json!([error("UNREGISTERED")])), Err(AttemptError::Gone));
        let no_field = json!([error("INVALID_ARGUMENT")]);
        assert_eq!(classified(400, no_field), Err(AttemptError::Rejected(400)));
        let wrong_token = json!([error("INVALID_ARGUMENT"), field("message.token")]);
        assert_eq!(classified(400, wrong_token), Err(AttemptError::Gone));
        let wrong_field = json!([error("INVALID_ARGUMENT"), field("message.android.ttl")]);
        assert_eq!(classified(400, wrong_field), Err(AttemptError::Rejected(400)));
        assert_eq!(classified(400, json!([field("message.token")])), Err(AttemptError::Rejected(400)));
        assert_eq!(classified(403, json!([error("SENDER_ID_MISMATCH")])), Err(AttemptError::Rejected(403)));
        for status in [401, 403, 404] {
            assert_eq!(classified(status, json!([])), Err(AttemptError::Credentials), "{status}");
        }
        for (status, code) in [(429, "QUOTA_EXCEEDED"), (503, "UNAVAILABLE"), (500, "INTERNAL")] {
            let pause = Some(Duration::from_secs(7));
            let wanted = AttemptError::Temporary(TemporaryFailure::Status(status), pause);
            assert_eq!(classified(status, json!([error(code)])), Err(wanted));
        }
    }
}

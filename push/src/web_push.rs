//! Web Push: one attempt sends one encrypted message to the endpoint of a browser (RFC 8030, RFC 8291, RFC 8292).

pub mod encryption;
pub mod vapid;

use std::time::Duration;

use aws_lc_rs::hmac;
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use chrono::Utc;
use reqwest::Client;
use reqwest::header::{AUTHORIZATION, CONTENT_ENCODING, CONTENT_TYPE};
use tidings_shared::outbound;

use crate::endpoints::EndpointRules;
use crate::exchange::failure;
use crate::outcome::{AttemptError, classify_status};
use encryption::Recipient;
use vapid::VapidKey;

/// Length of the header `Topic`, the longest that RFC 8030 allows.
const TOPIC_CHARS: usize = 32;

/// How soon the user should see a message (RFC 8030).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Urgency {
    Normal,
    High,
}

impl Urgency {
    fn as_str(self) -> &'static str {
        match self {
            Self::Normal => "normal",
            Self::High => "high",
        }
    }
}

/// Sends messages to browsers.
pub struct WebPush {
    pub client: Client,
    pub vapid: VapidKey,
    pub endpoints: EndpointRules,
    /// How long a push service keeps a message for a browser that is offline.
    pub ttl: Duration,
}

impl WebPush {
    /// Sends a message. A message that the push service still keeps for the same room is replaced.
    ///
    /// # Errors
    /// When the push service has not accepted the message.
    pub async fn send(
        &self,
        endpoint: &str,
        recipient: &Recipient,
        room: &str,
        payload: &str,
        urgency: Urgency,
    ) -> Result<(), AttemptError> {
        // The endpoint was checked when it was stored. The settings may have changed since.
        let url = self.endpoints.parse_endpoint(endpoint).map_err(|_| AttemptError::RefusedAddress)?;
        let authorization = self.vapid.authorization(&url, Utc::now()).ok_or(AttemptError::Unusable)?;
        let body = encryption::encrypt(payload.as_bytes(), recipient).ok_or(AttemptError::Unusable)?;
        let request = self
            .client
            .post(url)
            .header(AUTHORIZATION, authorization)
            .header(CONTENT_TYPE, "application/octet-stream")
            .header(CONTENT_ENCODING, "aes128gcm")
            .header("ttl", self.ttl.as_secs())
            .header("urgency", urgency.as_str())
            .header("topic", topic(recipient, room))
            .body(body);
        let answer = request.send().await.map_err(failure)?;
        let status = answer.status().as_u16();
        let retry_after = outbound::retry_after(&answer, Utc::now());
        outbound::discard_body(answer).await;
        classify_status(status, retry_after)
    }
}

/// The header `Topic`: the same for each message of a room to this device. The key hides from the push service that two
/// devices are in the same room.
fn topic(recipient: &Recipient, room: &str) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA256, recipient.auth());
    let mut topic = URL_SAFE_NO_PAD.encode(hmac::sign(&key, room.as_bytes()));
    topic.truncate(TOPIC_CHARS);
    topic
}

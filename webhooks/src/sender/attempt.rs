//! One attempt: signs a message and sends it. Uses only the network.

use std::error::Error as StdError;

use chrono::Utc;
use reqwest::Client;
use reqwest::header::CONTENT_TYPE;
use standardwebhooks::{HEADER_WEBHOOK_ID, HEADER_WEBHOOK_SIGNATURE, HEADER_WEBHOOK_TIMESTAMP};
use tidings_shared::http_client::innermost_cause;
use tidings_shared::outbound::{self, is_refused_address, parse_url};

use super::message::Message;
use crate::endpoint::Endpoint;
use crate::outcome::Failure;
use crate::signing::signatures;

/// Sends a message to an endpoint. The time limit is that of the client.
pub async fn send(
    client: &Client,
    allow_private: bool,
    endpoint: &Endpoint,
    message: &Message,
) -> Result<(), Failure> {
    // The URL was checked when it was stored. The setting may have changed since.
    let url = parse_url(&endpoint.url, allow_private).map_err(|_| Failure::RefusedAddress)?;
    let now = Utc::now();
    let timestamp_s = now.timestamp();
    let signature = signatures(&endpoint.secrets(now), &message.id, timestamp_s, &message.body)
        .map_err(|error| Failure::NoAnswer(format!("{error:#}")))?;
    let request = client
        .post(url)
        .header(CONTENT_TYPE, "application/json")
        .header(HEADER_WEBHOOK_ID, &message.id)
        .header(HEADER_WEBHOOK_TIMESTAMP, timestamp_s)
        .header(HEADER_WEBHOOK_SIGNATURE, signature)
        .body(message.body.clone());
    let answer = request.send().await.map_err(failure)?;
    let status = answer.status().as_u16();
    let retry_after = outbound::retry_after(&answer, now);
    let is_success = answer.status().is_success();
    // The status has decided already. The body is read only so that the connection can be used again.
    outbound::discard_body(answer).await;
    if is_success { Ok(()) } else { Err(Failure::Status { status, retry_after }) }
}

fn failure(error: reqwest::Error) -> Failure {
    let as_error: &(dyn StdError + 'static) = &error;
    if is_refused_address(as_error) {
        return Failure::RefusedAddress;
    }
    if error.is_timeout() {
        return Failure::Timeout;
    }
    Failure::NoAnswer(innermost_cause(error))
}

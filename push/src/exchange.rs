//! Requests to the push services that the operator names, and their answers.

use std::error::Error as StdError;
use std::time::Duration;

use chrono::Utc;
use reqwest::RequestBuilder;
use serde_json::Value;
use tidings_shared::http_client::read_body;
use tidings_shared::outbound::{is_refused_address, retry_after};

use crate::outcome::{AttemptError, TemporaryFailure, classify_status};

/// Longest answer to a message that is read, in bytes.
const MAX_ANSWER_BYTES: usize = 64 * 1024;

/// An answer of a push service.
pub struct Answer {
    pub status: u16,
    pub retry_after: Option<Duration>,
    /// The body; null if it is not JSON.
    pub body: Value,
}

impl Answer {
    /// The outcome by the status alone. An answer that refuses our own credentials says nothing about the device.
    ///
    /// # Errors
    /// For every status but 2xx.
    pub fn outcome(&self) -> Result<(), AttemptError> {
        match self.status {
            401 | 403 | 404 => Err(AttemptError::Credentials),
            status => classify_status(status, self.retry_after),
        }
    }
}

/// Sends a request, and reads its short answer.
///
/// # Errors
/// When there is no answer, or it is too long.
pub async fn exchange(request: RequestBuilder) -> Result<Answer, AttemptError> {
    exchange_up_to(request, MAX_ANSWER_BYTES).await
}

/// Sends a request, and reads its answer of at most this length.
///
/// # Errors
/// When there is no answer, or it is too long.
pub async fn exchange_up_to(request: RequestBuilder, max_bytes: usize) -> Result<Answer, AttemptError> {
    let answer = request.send().await.map_err(failure)?;
    let (status, retry_after) = (answer.status().as_u16(), retry_after(&answer, Utc::now()));
    let body = read_body(answer, max_bytes).await;
    let body = body.map_err(|_| AttemptError::Temporary(TemporaryFailure::NoAnswer, None))?;
    Ok(Answer { status, retry_after, body: serde_json::from_slice(&body).unwrap_or_default() })
}

/// Why a request got no answer.
pub fn failure(error: reqwest::Error) -> AttemptError {
    let as_error: &(dyn StdError + 'static) = &error;
    if is_refused_address(as_error) {
        AttemptError::RefusedAddress
    } else if error.is_timeout() {
        AttemptError::Temporary(TemporaryFailure::Timeout, None)
    } else {
        AttemptError::Temporary(TemporaryFailure::NoAnswer, None)
    }
}

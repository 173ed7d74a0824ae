//! What the answer of a registered URL tells: when to try again. Its body is not trusted, and read only to its end.

use std::time::Duration;

use chrono::{DateTime, Utc};
use reqwest::Response;
use reqwest::header::RETRY_AFTER;

/// How much of a body is read, so that its connection can be used again.
const MAX_BODY_BYTES: usize = 16 * 1024;
/// How long the rest of a body may take after the status.
const BODY_TIMEOUT: Duration = Duration::from_secs(1);
const STATUS_TOO_MANY_REQUESTS: u16 = 429;
const STATUS_UNAVAILABLE: u16 = 503;

/// The pause that an answer with the status 429 or 503 asks for, by the header `Retry-After`.
#[must_use]
pub fn retry_after(answer: &Response, now: DateTime<Utc>) -> Option<Duration> {
    let status = answer.status().as_u16();
    let header = answer.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok());
    header
        .filter(|_| matches!(status, STATUS_TOO_MANY_REQUESTS | STATUS_UNAVAILABLE))
        .and_then(|text| parse_retry_after(text, now))
}

/// Parses the header `Retry-After`: seconds, or a date.
#[must_use]
pub fn parse_retry_after(text: &str, now: DateTime<Utc>) -> Option<Duration> {
    if let Ok(seconds) = text.trim().parse() {
        return Some(Duration::from_secs(seconds));
    }
    let until = DateTime::parse_from_rfc2822(text.trim()).ok()?;
    Some((until.to_utc() - now).to_std().unwrap_or_default())
}

/// Reads the beginning of a body, so that its connection can be used again. A longer or slower body is dropped with its
/// connection.
pub async fn discard_body(mut answer: Response) {
    let reading = async {
        let mut read = 0;
        while read <= MAX_BODY_BYTES
            && let Ok(Some(chunk)) = answer.chunk().await
        {
            read += chunk.len();
        }
    };
    let _ = tokio::time::timeout(BODY_TIMEOUT, reading).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retry_after_is_seconds_or_date() {
        let now = DateTime::parse_from_rfc3339("2015-10-21T07:27:30Z").unwrap().to_utc();
        assert_eq!(parse_retry_after("120", now), Some(Duration::from_secs(120)));
        let date = "Wed, 21 Oct 2015 07:28:00 GMT";
        assert_eq!(parse_retry_after(date, now), Some(Duration::from_secs(30)));
        assert_eq!(parse_retry_after("Wed, 21 Oct 2015 07:00:00 GMT", now), Some(Duration::ZERO));
        assert_eq!(parse_retry_after("soon", now), None);
        assert_eq!(parse_retry_after("-5", now), None);
    }
}

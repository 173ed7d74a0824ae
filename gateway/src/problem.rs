//! Problem documents (RFC 9457) for the gateway's HTTP answers.

use actix_http::StatusCode;
use serde::Serialize;
use tidings_shared::error::Refusal;

/// The body of a refused request.
#[must_use]
pub fn document(refusal: &Refusal) -> Vec<u8> {
    let status = StatusCode::from_u16(refusal.code.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    document_with(refusal, status)
}

/// As [`document`], with a status other than the one of the code.
#[must_use]
pub fn document_with(refusal: &Refusal, status: StatusCode) -> Vec<u8> {
    #[derive(Serialize)]
    struct Problem<'a> {
        r#type: String,
        title: &'a str,
        status: u16,
        detail: &'a str,
        code: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        reason: Option<&'a str>,
        #[serde(skip_serializing_if = "Option::is_none")]
        field: Option<&'a str>,
        #[serde(skip_serializing_if = "Option::is_none")]
        retry_after_ms: Option<u64>,
    }
    let problem = Problem {
        r#type: format!("urn:tidings:error:{}", refusal.code.as_str()),
        title: status.canonical_reason().unwrap_or("Refused"),
        status: status.as_u16(),
        detail: &refusal.message,
        code: refusal.code.as_str(),
        reason: refusal.reason.as_deref(),
        field: refusal.field.as_deref(),
        retry_after_ms: refusal.retry_after_ms,
    };
    serde_json::to_vec(&problem).expect("strings and numbers always serialise")
}

//! Problem documents (RFC 9457) for the gateway's HTTP answers.

use actix_http::{
    StatusCode,
    header::{self, HeaderName, HeaderValue},
};
use actix_web::HttpResponse;
use serde::Serialize;
use tidings_shared::error::{ErrorCode, RETRY_AFTER_MS, Refusal};

pub const CONTENT_TYPE: &str = "application/problem+json";

/// The HTTP status of a refusal.
pub fn status(refusal: &Refusal) -> StatusCode {
    StatusCode::from_u16(refusal.code.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
}

/// The header that says how a client can repeat a refused request; `None` if the client should not repeat it.
pub fn repeat_header(refusal: &Refusal) -> Option<(HeaderName, HeaderValue)> {
    match refusal.code {
        ErrorCode::Unauthorized => Some((header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"))),
        ErrorCode::Unavailable | ErrorCode::Overloaded | ErrorCode::RateLimited => {
            let seconds = refusal.retry_after_ms.unwrap_or(RETRY_AFTER_MS).div_ceil(1000);
            Some((header::RETRY_AFTER, HeaderValue::from(seconds)))
        }
        _ => None,
    }
}

/// The HTTP answer to a refused request: a problem document, with the header that says how to repeat the request.
pub fn response(refusal: &Refusal) -> HttpResponse {
    let mut response = HttpResponse::build(status(refusal));
    if let Some(header) = repeat_header(refusal) {
        response.insert_header(header);
    }
    response.content_type(CONTENT_TYPE).body(document(refusal, status(refusal)))
}

/// The problem document of a refusal, as JSON.
pub fn document(refusal: &Refusal, status: StatusCode) -> Vec<u8> {
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

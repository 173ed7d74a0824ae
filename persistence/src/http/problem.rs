//! Refusals of all handlers as problem documents (RFC 9457).
//! Every failure is answered in this form, with an error code of docs/PROTOCOL.md. The cause is logged, never answered.

use actix_web::http::{StatusCode, header};
use actix_web::{HttpResponse, HttpResponseBuilder, ResponseError};
use sea_orm::DbErr;
use serde::Serialize;
use tidings_shared::error::{ErrorCode, Refusal};
use tidings_shared::log::AppendError;
use utoipa::ToSchema;

use crate::request_error::RequestError;
use crate::writer::failure;

/// Media type of a problem document.
pub const PROBLEM_JSON: &str = "application/problem+json";

/// Why a request was refused.
#[derive(Debug, thiserror::Error)]
#[error("{refusal}")]
pub struct Problem {
    status: StatusCode,
    /// Boxed, so that a `Result` with this error type is small.
    refusal: Box<Refusal>,
    /// Only if the epoch of the request is not valid: the client must read everything above this seq again.
    after: Option<i64>,
    /// Only for a wrong method: the methods that the resource supports.
    allow: Option<&'static str>,
}

/// The JSON of a refusal (RFC 9457).
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Problem)]
pub struct ProblemDocument<'a> {
    /// The error code as a URI.
    #[schema(example = "urn:tidings:error:not_found")]
    r#type: String,
    /// The HTTP status in words.
    title: &'a str,
    status: u16,
    /// What failed and what the client can do.
    detail: &'a str,
    code: ErrorCode,
    /// The cause in more detail than `code`, such as `expired`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    reason: Option<&'a str>,
    /// The name of the wrong field or parameter.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    field: Option<&'a str>,
    /// The time after which a retry makes sense, in milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    retry_after_ms: Option<u64>,
    /// Only if the epoch of the request is not valid: everything above this seq must be read again.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, minimum = 0)]
    after: Option<i64>,
}

impl Problem {
    /// Refuses a parameter or a field of the body that breaks `rule`.
    pub fn bad_field(field: &str, rule: impl Into<String>) -> Self {
        Refusal::bad_field(field, rule).into()
    }

    /// A refusal that names no field. `detail` is the text for the caller.
    pub fn new(code: ErrorCode, detail: impl Into<String>) -> Self {
        Refusal::new(code, detail).into()
    }

    /// The error code of the answer.
    pub fn code(&self) -> ErrorCode {
        self.refusal.code
    }

    /// The refusal without the HTTP status.
    pub fn into_refusal(self) -> Refusal {
        *self.refusal
    }

    /// The refusal for a room that does not exist, and also for a room that the caller may not see.
    pub fn no_such_room() -> Self {
        Refusal::not_found("room").into()
    }

    /// The refusal for a message that does not exist, and also for one that the caller may not see.
    pub fn no_such_message() -> Self {
        Refusal::not_found("message").into()
    }

    /// The refusal for a cursor whose epoch is not valid above the seq `after`.
    pub fn epoch_ended(after: i64) -> Self {
        let detail = format!(
            "the epoch is no longer valid at this position: drop everything above seq {after} and read it anew"
        );
        Self { after: Some(after), ..Self::new(ErrorCode::Conflict, detail) }
    }

    /// The refusal with status 405. `allow` lists the methods that the resource has, as in the header `Allow`.
    pub fn method_not_allowed(allow: &'static str) -> Self {
        let problem = Self::new(ErrorCode::BadRequest, format!("this resource supports {allow}"));
        Self { status: StatusCode::METHOD_NOT_ALLOWED, allow: Some(allow), ..problem }
    }
}

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Self {
        let status = StatusCode::from_u16(refusal.code.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        Self { status, refusal: Box::new(refusal), after: None, allow: None }
    }
}

impl From<AppendError> for Problem {
    fn from(error: AppendError) -> Self {
        Refusal::from(error).into()
    }
}

impl From<RequestError> for Problem {
    fn from(error: RequestError) -> Self {
        match error {
            RequestError::Refused(refusal) => refusal.into(),
            RequestError::Database(error) => error.into(),
        }
    }
}

impl From<DbErr> for Problem {
    fn from(error: DbErr) -> Self {
        if is_unavailable(&error) {
            failure::log_failure(&error, "the database is unavailable");
            return Refusal::unavailable("the database is unavailable; retry").into();
        }
        tracing::error!(cause = failure::redacted_cause(&error), "the database refused a statement");
        Self::new(ErrorCode::Internal, "internal error; it was logged")
    }
}

/// Whether the database could not answer or write at all, in contrast to an error of the statement. Includes a lack of
/// resources (SQLSTATE class 53), and interventions by an operator or a time limit (class 57).
fn is_unavailable(error: &DbErr) -> bool {
    let state = failure::sqlstate(error).unwrap_or_default();
    failure::is_connection_error(error) || state.starts_with("53") || state.starts_with("57")
}

impl ResponseError for Problem {
    fn status_code(&self) -> StatusCode {
        self.status
    }

    fn error_response(&self) -> HttpResponse {
        let refusal = &self.refusal;
        let mut response = HttpResponseBuilder::new(self.status);
        if refusal.code == ErrorCode::Unauthorized {
            let challenge = match refusal.reason.as_deref() {
                // RFC 6750, 3.1: a request without a token gets no error code.
                Some("missing") => "Bearer".to_owned(),
                _ => "Bearer error=\"invalid_token\"".to_owned(),
            };
            response.insert_header((header::WWW_AUTHENTICATE, challenge));
        }
        if let Some(ms) = refusal.retry_after_ms {
            response.insert_header((header::RETRY_AFTER, ms.div_ceil(1000).to_string()));
        }
        if let Some(allow) = self.allow {
            response.insert_header((header::ALLOW, allow));
        }
        let document = ProblemDocument {
            r#type: format!("urn:tidings:error:{}", refusal.code.as_str()),
            title: self.status.canonical_reason().unwrap_or("Error"),
            status: self.status.as_u16(),
            detail: &refusal.message,
            code: refusal.code,
            reason: refusal.reason.as_deref(),
            field: refusal.field.as_deref(),
            retry_after_ms: refusal.retry_after_ms,
            after: self.after,
        };
        response.insert_header((header::CONTENT_TYPE, PROBLEM_JSON));
        response.body(serde_json::to_vec(&document).unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use actix_web::body::to_bytes;
    use sea_orm::RuntimeErr;

    use super::*;

    async fn document(problem: Problem) -> (HttpResponse<()>, serde_json::Value) {
        let (head, body) = problem.error_response().into_parts();
        let body = to_bytes(body).await.unwrap();
        (head.map_into_boxed_body().drop_body(), serde_json::from_slice(&body).unwrap())
    }

    #[actix_web::test]
    async fn problem_document_has_the_fields_of_the_contract() {
        let (head, body) = document(Problem::bad_field("limit", "must be a number")).await;
        assert_eq!(head.status(), 400);
        assert_eq!(head.headers().get("content-type").unwrap(), PROBLEM_JSON);
        assert_eq!(
            body,
            serde_json::json!({
                "type": "urn:tidings:error:bad_request", "title": "Bad Request", "status": 400,
                "detail": "must be a number", "code": "bad_request", "field": "limit"
            })
        );
    }

    #[actix_web::test]
    async fn ended_epoch_names_where_to_read_anew() {
        let (head, body) = document(Problem::epoch_ended(7)).await;
        assert_eq!(
            (head.status().as_u16(), &body["code"], &body["after"]),
            (409, &"conflict".into(), &7.into())
        );
    }

    #[actix_web::test]
    async fn retryable_refusal_has_retry_after() {
        let (head, body) = document(Refusal::unavailable("later").into()).await;
        assert_eq!(head.status(), 503);
        assert_eq!(head.headers().get("retry-after").unwrap(), "1");
        assert_eq!(body["retry_after_ms"], 1000);
    }

    #[actix_web::test]
    async fn bad_token_is_challenged_with_reason() {
        let expired = Refusal::new(ErrorCode::Unauthorized, "expired").with_reason("expired");
        let (head, body) = document(expired.into()).await;
        assert_eq!(head.headers().get("www-authenticate").unwrap(), "Bearer error=\"invalid_token\"");
        assert_eq!(body["reason"], "expired");
        let missing = Refusal::new(ErrorCode::Unauthorized, "no token").with_reason("missing");
        assert_eq!(document(missing.into()).await.0.headers().get("www-authenticate").unwrap(), "Bearer");
    }

    #[actix_web::test]
    async fn wrong_method_names_allowed_ones() {
        let (head, body) = document(Problem::method_not_allowed("GET, POST")).await;
        assert_eq!((head.status().as_u16(), &body["code"]), (405, &"bad_request".into()));
        assert_eq!(head.headers().get("allow").unwrap(), "GET, POST");
    }

    #[actix_web::test]
    async fn internal_failure_reveals_no_cause() {
        let (head, body) = document(DbErr::Custom("password of the database is hunter2".into()).into()).await;
        assert_eq!(head.status(), 500);
        assert!(!body.to_string().contains("hunter2"));
        assert_eq!(
            document(DbErr::Conn(RuntimeErr::Internal("refused".into())).into()).await.0.status(),
            503
        );
    }
}

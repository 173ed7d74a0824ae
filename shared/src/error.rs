//! The error codes of frames and HTTP. Both services answer every refused command or request with a [`Refusal`], whose
//! code determines the HTTP status.

use serde::{Deserialize, Serialize};

use crate::named_enum::named_enum;

named_enum! {
    /// The error codes of docs/PROTOCOL.md, "Errors". The names are used on the wire and in the metric label `code`.
    #[derive(Serialize, Deserialize)]
    #[serde(rename_all = "snake_case")]
    pub enum ErrorCode {
        BadRequest = "bad_request",
        Unauthorized = "unauthorized",
        Forbidden = "forbidden",
        NotFound = "not_found",
        Conflict = "conflict",
        TooLarge = "too_large",
        RateLimited = "rate_limited",
        Internal = "internal",
        Overloaded = "overloaded",
        Unavailable = "unavailable",
    }
}

impl ErrorCode {
    /// The HTTP status of an answer with this code.
    pub fn status(self) -> u16 {
        match self {
            Self::BadRequest => 400,
            Self::Unauthorized => 401,
            Self::Forbidden => 403,
            Self::NotFound => 404,
            Self::Conflict => 409,
            Self::TooLarge => 413,
            Self::RateLimited => 429,
            Self::Internal => 500,
            Self::Overloaded | Self::Unavailable => 503,
        }
    }
}

/// The answer to a refused command or request. `message` says what failed and what to do.
#[must_use]
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{}: {message}", .code.as_str())]
pub struct Refusal {
    pub code: ErrorCode,
    pub message: String,
    /// A more precise cause than the code, such as `expired` or `rejected`.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub reason: Option<String>,
    /// The field of the command that is wrong.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub field: Option<String>,
    /// How long the client should wait before it retries.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub retry_after_ms: Option<u64>,
}

impl Refusal {
    /// A refusal without reason, field and time of retry.
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), reason: None, field: None, retry_after_ms: None }
    }

    /// Refuses an invalid field of a command.
    pub fn bad_field(field: impl Into<String>, message: impl Into<String>) -> Self {
        Self { field: Some(field.into()), ..Self::new(ErrorCode::BadRequest, message) }
    }

    /// Refuses a field of a command that is too long or has too many entries.
    pub fn too_large(field: impl Into<String>, message: impl Into<String>) -> Self {
        Self { field: Some(field.into()), ..Self::new(ErrorCode::TooLarge, message) }
    }

    /// Refuses a command whose object, such as `room`, does not exist or is hidden from the user.
    pub fn not_found(what: &str) -> Self {
        Self::new(ErrorCode::NotFound, format!("no such {what}, or you may not see it"))
    }

    /// Refuses a command because a dependency is unavailable. The client may repeat the same command after 1 s.
    pub fn unavailable(message: impl Into<String>) -> Self {
        Self { retry_after_ms: Some(RETRY_AFTER_MS), ..Self::new(ErrorCode::Unavailable, message) }
    }

    /// Refuses a command because a queue or backlog is full. The client may repeat the same command after 1 s.
    pub fn overloaded(message: impl Into<String>) -> Self {
        Self { retry_after_ms: Some(RETRY_AFTER_MS), ..Self::new(ErrorCode::Overloaded, message) }
    }

    /// Refuses a command above a rate limit. The client may repeat the same command after `retry_after_ms`.
    pub fn rate_limited(message: impl Into<String>, retry_after_ms: u64) -> Self {
        Self { retry_after_ms: Some(retry_after_ms), ..Self::new(ErrorCode::RateLimited, message) }
    }

    /// Adds a more precise cause than the code, such as `rejected`.
    pub fn with_reason(mut self, reason: impl Into<String>) -> Self {
        self.reason = Some(reason.into());
        self
    }

    /// Adds the name of the wrong field of the command or request.
    pub fn with_field(mut self, field: impl Into<String>) -> Self {
        self.field = Some(field.into());
        self
    }
}

/// How long a client should wait before a retry when a dependency is unavailable or a backlog is full. Many outages end
/// within this time, and users accept such a wait.
pub const RETRY_AFTER_MS: u64 = 1_000;

#[cfg(test)]
mod tests {
    use super::*;

    // Covers: internal.
    #[test]
    fn error_codes_have_names_and_statuses_of_protocol() {
        let table = [
            ("bad_request", 400),
            ("unauthorized", 401),
            ("forbidden", 403),
            ("not_found", 404),
            ("conflict", 409),
            ("too_large", 413),
            ("rate_limited", 429),
            ("internal", 500),
            ("overloaded", 503),
            ("unavailable", 503),
        ];
        let mut named = ErrorCode::ALL.map(|code| (code.as_str(), code.status()));
        named.sort_by_key(|(_, status)| *status);
        assert_eq!(named, table);
        for code in ErrorCode::ALL {
            assert_eq!(serde_json::to_value(code).unwrap(), code.as_str());
        }
    }
}

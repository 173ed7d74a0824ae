//! The outcome of an attempt, and what follows from it. Pure.

use std::time::Duration;

/// Why an attempt failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AttemptError {
    /// The push service does not know the device any more (404, 410).
    Gone,
    /// The push service is busy or broken, or gave no answer; with its `Retry-After`, if any.
    Temporary(TemporaryFailure, Option<Duration>),
    /// The push service refuses the request with this status. Another attempt will most likely fail too.
    Rejected(u16),
    /// The push service refuses our own credentials, or the operator has configured none for this kind. The device
    /// stays registered.
    Credentials,
    /// The host has no public address, or the endpoint breaks the rules of the operator.
    RefusedAddress,
    /// The stored keys of the device, or our own key, cannot be used.
    Unusable,
}

/// A failure that may end by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TemporaryFailure {
    /// 408, 429 or 5xx.
    Status(u16),
    Timeout,
    NoAnswer,
}

const STATUS_REQUEST_TIMEOUT: u16 = 408;
const STATUS_TOO_MANY_REQUESTS: u16 = 429;

/// Classifies the status of an answer. `retry_after` is what its header asks for.
///
/// # Errors
/// For every status but 2xx.
pub fn classify_status(status: u16, retry_after: Option<Duration>) -> Result<(), AttemptError> {
    match status {
        200..300 => Ok(()),
        404 | 410 => Err(AttemptError::Gone),
        STATUS_REQUEST_TIMEOUT | STATUS_TOO_MANY_REQUESTS | 500..600 => {
            Err(AttemptError::Temporary(TemporaryFailure::Status(status), retry_after))
        }
        _ => Err(AttemptError::Rejected(status)),
    }
}

const SENT: &str = "sent";
const SKIPPED: &str = "skipped";
const ONLINE: &str = "online";
const GONE: &str = "gone";
const STATUS: &str = "status";
const TIMEOUT: &str = "timeout";
const FAILED: &str = "failed";
const REJECTED: &str = "rejected";
const CREDENTIALS: &str = "credentials";
const REFUSED_ADDRESS: &str = "refused_address";
const CLEARED: &str = "cleared";

/// The labels of all outcomes.
pub const OUTCOMES: [&str; 11] =
    [SENT, CLEARED, SKIPPED, ONLINE, GONE, STATUS, TIMEOUT, FAILED, REJECTED, CREDENTIALS, REFUSED_ADDRESS];

/// What a replica has done with a due notification.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    Sent,
    /// The device was told to remove the notification of the room.
    Cleared,
    /// No message is left that the user may be notified of.
    Skipped,
    /// The user is online.
    Online,
    Failed(AttemptError),
}

impl AttemptError {
    /// Whether a later attempt will most likely fail too.
    pub fn is_refusal(&self) -> bool {
        matches!(self, Self::Rejected(_) | Self::RefusedAddress | Self::Unusable)
    }

    /// The `Retry-After` of the push service.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Temporary(_, retry_after) => *retry_after,
            _ => None,
        }
    }
}

impl Outcome {
    /// The label in the metrics.
    pub fn label(&self) -> &'static str {
        match self {
            Self::Sent => SENT,
            Self::Cleared => CLEARED,
            Self::Skipped => SKIPPED,
            Self::Online => ONLINE,
            Self::Failed(AttemptError::Gone) => GONE,
            Self::Failed(AttemptError::Temporary(TemporaryFailure::Status(_), _)) => STATUS,
            Self::Failed(AttemptError::Temporary(TemporaryFailure::Timeout, _)) => TIMEOUT,
            Self::Failed(AttemptError::Temporary(TemporaryFailure::NoAnswer, _)) => FAILED,
            Self::Failed(AttemptError::Rejected(_) | AttemptError::Unusable) => REJECTED,
            Self::Failed(AttemptError::Credentials) => CREDENTIALS,
            Self::Failed(AttemptError::RefusedAddress) => REFUSED_ADDRESS,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn status_408_429_and_5xx_are_temporary() {
        assert_eq!(classify_status(201, None), Ok(()));
        for status in [404, 410] {
            assert_eq!(classify_status(status, None), Err(AttemptError::Gone));
        }
        let pause = Some(Duration::from_secs(9));
        for status in [408, 429, 500, 502, 503, 507, 599] {
            let wanted = AttemptError::Temporary(TemporaryFailure::Status(status), pause);
            assert_eq!(classify_status(status, pause), Err(wanted));
        }
        for status in [301, 400, 401, 403, 413, 600] {
            assert_eq!(classify_status(status, pause), Err(AttemptError::Rejected(status)));
        }
    }
}

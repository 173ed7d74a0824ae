//! The outcome of an attempt. Pure.

use std::time::Duration;

/// Why an attempt failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Failure {
    /// The endpoint answered with another status than 2xx.
    Status {
        status: u16,
        retry_after: Option<Duration>,
    },
    Timeout,
    /// The host has no public address.
    RefusedAddress,
    /// There is no answer; with the cause.
    NoAnswer(String),
}

const DELIVERED: &str = "delivered";
const GONE: &str = "gone";
const SKIPPED: &str = "skipped";
const STATUS: &str = "status";
const TIMEOUT: &str = "timeout";
const REFUSED_ADDRESS: &str = "refused_address";
const FAILED: &str = "failed";

/// The labels of all outcomes.
pub const OUTCOMES: [&str; 7] = [DELIVERED, GONE, SKIPPED, STATUS, TIMEOUT, REFUSED_ADDRESS, FAILED];

/// The status by which an endpoint says that it wants no more deliveries.
const STATUS_GONE: u16 = 410;
/// Longest cause of a failure that is stored, in characters.
const MAX_CAUSE_CHARS: usize = 200;

impl Failure {
    /// Whether the endpoint wants no more deliveries.
    pub fn is_gone(&self) -> bool {
        matches!(self, Self::Status { status: STATUS_GONE, .. })
    }

    pub fn status(&self) -> Option<u16> {
        if let Self::Status { status, .. } = self { Some(*status) } else { None }
    }

    pub fn retry_after(&self) -> Option<Duration> {
        if let Self::Status { retry_after, .. } = self { *retry_after } else { None }
    }

    /// The failure in words, for the API. It contains nothing that the endpoint has sent, apart from the status: an
    /// endpoint must not become a way to read answers of other servers.
    pub fn message(&self) -> String {
        match self {
            Self::Status { status, .. } if (300..400).contains(status) => {
                format!("the endpoint answered {status}; redirects are not followed")
            }
            Self::Status { status, .. } => format!("the endpoint answered {status}"),
            Self::Timeout => "the endpoint did not answer in time".to_owned(),
            Self::RefusedAddress => "the host has no public address".to_owned(),
            Self::NoAnswer(cause) => cause.chars().take(MAX_CAUSE_CHARS).collect(),
        }
    }

    fn label(&self) -> &'static str {
        match self {
            Self::Status { .. } if self.is_gone() => GONE,
            Self::Status { .. } => STATUS,
            Self::Timeout => TIMEOUT,
            Self::RefusedAddress => REFUSED_ADDRESS,
            Self::NoAnswer(_) => FAILED,
        }
    }
}

/// The label of an attempt. `sent` is false if there was nothing to send.
pub fn label(outcome: &Result<(), Failure>, sent: bool) -> &'static str {
    match outcome {
        Ok(()) if sent => DELIVERED,
        Ok(()) => SKIPPED,
        Err(failure) => failure.label(),
    }
}

//! The outcome of a command, read from a frame, a poll answer or an HTTP answer. Outcomes of all three can be compared.

use reqwest::Method;
use serde_json::Value;
use tidings_harness::http::Answer;

use super::Transport;

#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// The event was appended at this seq, and stored.
    Stored(u64),
    /// The sender had used the client id before, for the stored event at this seq.
    Repeated(u64),
    /// A read or delivered mark was accepted. Holds the present seq of the mark, which only HTTP returns.
    Marked(Option<u64>),
    /// The command was refused with this code, because of this field.
    Refused(String, Option<String>),
    /// An answer that the protocol does not define.
    Unknown(String),
}

impl Outcome {
    /// Whether the outcome is the expected one. The seq of a mark is compared only for HTTP.
    pub fn matches(&self, expected: &Self, transport: Transport) -> bool {
        match expected {
            Self::Marked(_) if transport != Transport::Http => *self == Self::Marked(None),
            expected => self == expected,
        }
    }

    /// The outcome in a frame: `ack`, `ok` or `error`.
    pub fn of_frame(frame: &Value) -> Self {
        match frame["type"].as_str() {
            Some("ack") => ack_outcome(frame),
            Some("ok") => Self::Marked(None),
            Some("error") => refusal_outcome(frame),
            _ => Self::Unknown(frame.to_string()),
        }
    }

    /// The outcome in an HTTP answer. Its status must match its body.
    pub fn of_answer(method: &Method, path: &str, answer: &Answer) -> Self {
        let body = &answer.body;
        let outcome = match answer.status {
            400.. if answer.content_type == "application/problem+json" && body["status"] == answer.status => {
                refusal_outcome(body)
            }
            200 if path.ends_with("/read") || path.ends_with("/delivered") => body["seq"]
                .as_u64()
                .map_or_else(|| Self::Unknown(body.to_string()), |seq| Self::Marked(Some(seq))),
            200..300 => ack_outcome(body),
            _ => Self::Unknown(body.to_string()),
        };
        let is_send = *method == Method::POST && path.ends_with("/messages");
        let status = match &outcome {
            Self::Stored(_) if is_send => 201,
            Self::Refused(code, _) => http_status(code),
            _ => 200,
        };
        if status == answer.status { outcome } else { Self::Unknown(format!("{answer:?}")) }
    }
}

/// The outcome in an ack frame or in the body of an HTTP answer. Each step waits until it is stored.
fn ack_outcome(ack: &Value) -> Outcome {
    let named = ["room", "epoch", "at", "client_id"].iter().all(|field| ack[field].is_string());
    match (ack["stage"].as_str(), ack["duplicate"].as_bool(), ack["seq"].as_u64()) {
        (Some("stored"), Some(false), Some(seq)) if named => Outcome::Stored(seq),
        (Some("stored"), Some(true), Some(seq)) if named => Outcome::Repeated(seq),
        _ => Outcome::Unknown(ack.to_string()),
    }
}

/// The outcome in an `error` frame or in a problem document. No step expects a `reason`.
fn refusal_outcome(refusal: &Value) -> Outcome {
    match refusal["code"].as_str() {
        Some(code) if refusal["reason"].is_null() => {
            Outcome::Refused(code.to_owned(), refusal["field"].as_str().map(ToOwned::to_owned))
        }
        _ => Outcome::Unknown(refusal.to_string()),
    }
}

fn http_status(code: &str) -> u16 {
    match code {
        "bad_request" => 400,
        "forbidden" => 403,
        "not_found" => 404,
        "conflict" => 409,
        "too_large" => 413,
        _ => 0,
    }
}

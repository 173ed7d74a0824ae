//! What became of a command: read from a frame, from an answer of a poll, or from an HTTP answer, held against each other.

use reqwest::Method;
use serde_json::Value;
use tidings_harness::http::Answer;

use super::Way;

#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// Appended at this seq, and stored.
    Stored(u64),
    /// Its client id was taken: what stands at this seq, stored, is what it was.
    Repeated(u64),
    /// A mark was moved, or not: over HTTP it is told where it is now, and `ok` tells nothing.
    Marked(Option<u64>),
    /// Refused with this code, for this field of it.
    Refused(String, Option<String>),
    /// Nothing that the protocol knows.
    Unknown(String),
}

impl Outcome {
    /// Whether this is what was expected: only HTTP tells where a mark is.
    pub fn is(&self, expected: &Self, way: Way) -> bool {
        match expected {
            Self::Marked(_) if way != Way::Http => *self == Self::Marked(None),
            expected => self == expected,
        }
    }

    /// Of a frame: `ack`, `ok` or `error`.
    pub fn of_frame(frame: &Value) -> Self {
        match frame["type"].as_str() {
            Some("ack") => acked(frame),
            Some("ok") => Self::Marked(None),
            Some("error") => refused(frame),
            _ => Self::Unknown(frame.to_string()),
        }
    }

    /// Of an HTTP answer: its status must say what its body does.
    pub fn of_answer(method: &Method, path: &str, answer: &Answer) -> Self {
        let body = &answer.body;
        let told = match answer.status {
            400.. if answer.content_type == "application/problem+json" && body["status"] == answer.status => {
                refused(body)
            }
            200 if path.ends_with("/read") || path.ends_with("/delivered") => body["seq"]
                .as_u64()
                .map_or_else(|| Self::Unknown(body.to_string()), |seq| Self::Marked(Some(seq))),
            200..300 => acked(body),
            _ => Self::Unknown(body.to_string()),
        };
        let is_send = *method == Method::POST && path.ends_with("/messages");
        let status = match &told {
            Self::Stored(_) if is_send => 201,
            Self::Refused(code, _) => status_of(code),
            _ => 200,
        };
        if status == answer.status { told } else { Self::Unknown(format!("{answer:?}")) }
    }
}

/// Of an ack, or of the object that HTTP answers with: each step waits until it is stored.
fn acked(ack: &Value) -> Outcome {
    let named = ["room", "epoch", "at", "client_id"].iter().all(|field| ack[field].is_string());
    match (ack["stage"].as_str(), ack["duplicate"].as_bool(), ack["seq"].as_u64()) {
        (Some("stored"), Some(false), Some(seq)) if named => Outcome::Stored(seq),
        (Some("stored"), Some(true), Some(seq)) if named => Outcome::Repeated(seq),
        _ => Outcome::Unknown(ack.to_string()),
    }
}

/// Of an `error` frame, or of a problem document; no step has a finer reason.
fn refused(refusal: &Value) -> Outcome {
    match refusal["code"].as_str() {
        Some(code) if refusal["reason"].is_null() => {
            Outcome::Refused(code.to_owned(), refusal["field"].as_str().map(ToOwned::to_owned))
        }
        _ => Outcome::Unknown(refusal.to_string()),
    }
}

/// The status that stands for a code.
fn status_of(code: &str) -> u16 {
    match code {
        "bad_request" => 400,
        "forbidden" => 403,
        "not_found" => 404,
        "conflict" => 409,
        "too_large" => 413,
        _ => 0,
    }
}

//! Noisy neighbours: clients that load the system as much as they can. Some follow the protocol, others violate it.
//! Each client runs until its future is dropped, reconnects after a close, and counts the answers.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::json;
use tokio::time::{MissedTickBehavior, interval, sleep};

use crate::frames::ServerFrame;
use crate::http::{Answer, encode};
use crate::listener::lock;
use crate::{Client, Http, clock};

mod engine_misuse;
mod flood;

pub use engine_misuse::{EngineMisuse, EngineTarget, misuse_engine_io};
pub use flood::{FloodKind, flood_over_http, flood_over_websocket};

/// Pause after a refusal or a lost connection: the round trip of a distant client.
const RETRY_PAUSE: Duration = Duration::from_millis(100);
/// Pause between a refusal and the next poll, as the protocol requires for a failed room.
const POLL_RETRY_PAUSE: Duration = Duration::from_secs(1);
const POLL_TIMEOUT_MS: u64 = 25_000;
/// A timeout that is longer than any run.
const NO_TIMEOUT: Duration = Duration::from_secs(3600);

/// The answers of the server, with their counts.
#[derive(Debug, Clone, Default)]
pub struct Answers(Arc<Mutex<AnswerCounts>>);

#[derive(Debug, Default)]
struct AnswerCounts {
    counts: BTreeMap<String, u64>,
    internal_errors: Vec<String>,
}

impl Answers {
    /// Counts an answer.
    pub fn count(&self, what: impl Into<String>) {
        *lock(&self.0).counts.entry(what.into()).or_default() += 1;
    }

    /// Records an answer that reports an internal error.
    pub fn record_internal_error(&self, what: String) {
        lock(&self.0).internal_errors.push(what);
    }

    /// The kinds of answers, with their counts.
    #[must_use]
    pub fn counts(&self) -> BTreeMap<String, u64> {
        lock(&self.0).counts.clone()
    }

    /// Descriptions of the answers that report an internal error.
    #[must_use]
    pub fn internal_errors(&self) -> Vec<String> {
        lock(&self.0).internal_errors.clone()
    }

    /// Counts an answer over HTTP, and records an internal error. Returns whether the status is 200.
    fn count_http(&self, what: &str, answer: Option<&Answer>) -> bool {
        let Some(answer) = answer else {
            self.count(format!("{what} without an answer"));
            return false;
        };
        self.count(format!("{what} {}", answer.status));
        if answer.is_internal_error() {
            self.record_internal_error(format!("a {what} was answered {}: {}", answer.status, answer.body));
        }
        answer.status == 200
    }
}

/// Polls these rooms at a gateway repeatedly. On average, one of `polls_per_message` polls sends a message to the first
/// room. The first poll sends one if the poller's `number` is a multiple of `polls_per_message`; later polls are
/// random.
pub async fn poll_repeatedly(
    http: Http,
    rooms: Vec<String>,
    number: u32,
    polls_per_message: u32,
    answers: Answers,
) {
    let mut must_send = number.is_multiple_of(polls_per_message);
    let mut cursors = json!(rooms.iter().map(|room| (room.as_str(), ())).collect::<BTreeMap<_, _>>());
    loop {
        let mut body = json!({ "cursors": cursors, "timeout_ms": POLL_TIMEOUT_MS });
        if must_send {
            let send = json!({ "type": "message:send", "room": rooms[0], "client_id": clock::client_id(),
                "attempt": 1, "ack": "accepted", "content": "from a poll" });
            body["commands"] = json!([send]);
        }
        must_send = rand::random_ratio(1, polls_per_message);
        let answer = http.post("/poll", body).await;
        if answers.count_http("poll", answer.as_ref().ok())
            && let Ok(answer) = answer
        {
            cursors = answer.body["cursors"].clone();
            if answer.body["failed"].as_array().is_none_or(Vec::is_empty) {
                continue;
            }
            answers.count("poll with a failed room");
        }
        sleep(POLL_RETRY_PAUSE).await;
    }
}

/// Searches repeatedly in all rooms of the user. Half of the searches contain a word that is in no message.
pub async fn search_repeatedly(http: Http, word: String, answers: Answers) {
    for number in 0_u64.. {
        let unknown_word = if number.is_multiple_of(2) { "" } else { " nowhere" };
        let answer = http.get(&format!("/search?q={}", encode(&format!("{word}{unknown_word}")))).await;
        if !answers.count_http("search", answer.as_ref().ok()) {
            sleep(RETRY_PAUSE).await;
        }
    }
}

/// Listens in a room over a WebSocket, and counts the received messages as `heard`.
pub async fn listen_repeatedly(ws: String, token: String, room: String, answers: Answers) {
    loop {
        if let Ok(client) = Client::connect(&ws, &token).await
            && client.join(&room).await.is_ok()
        {
            while let Ok(frame) = client.next_event(NO_TIMEOUT).await {
                if matches!(frame, ServerFrame::Message(_)) {
                    answers.count("heard");
                }
            }
        }
        sleep(RETRY_PAUSE).await;
    }
}

/// Sends a message to a room in each interval, and counts the sent messages as `given`.
pub async fn send_regularly(
    ws: String,
    token: String,
    room: String,
    message_interval: Duration,
    answers: Answers,
) {
    let mut tick = interval(message_interval);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tick.tick().await;
        let Ok(client) = Client::connect(&ws, &token).await else { continue };
        while client.closed().is_none() {
            let send = json!({ "type": "message:send", "room": room, "client_id": clock::client_id(),
                "attempt": 1, "ack": "accepted", "content": "to a hot room" });
            if client.send_json(&send).await.is_err() {
                break;
            }
            answers.count("given");
            tick.tick().await;
        }
    }
}

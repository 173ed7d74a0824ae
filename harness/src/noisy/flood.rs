//! A flooding member: each connection sends one kind of frame repeatedly and counts the answers. Frames are valid,
//! malformed, or violate the WebSocket protocol.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::task::JoinSet;
use tokio::time::sleep;
use tokio_tungstenite::tungstenite::Message;

use super::{Answers, NO_TIMEOUT};
use crate::frames::ServerFrame;
use crate::http::Http;
use crate::{Client, clock};

/// Pause between two connections of a client.
const CONNECTION_PAUSE: Duration = Duration::from_millis(50);
/// Size of a message that is larger than the limit.
const TOO_LARGE_BYTES: usize = 70 * 1024;
/// Number of attachments of a large message. Such a message has about 55 KB, because each character of the attachments'
/// URLs has two bytes.
const ATTACHMENTS: usize = 10;
const URL_CHARS: usize = 2040;
const NAME_CHARS: usize = 255;
const METADATA_CHARS: usize = 4000;
/// Size of a signal: a little below the limit.
const SIGNAL_BYTES: usize = 15 * 1024;
/// Intervals that keep a user's default rate limits. A faster flood would be refused, or would fill the disk of a
/// system with higher limits.
const LARGE_MESSAGE_INTERVAL: Duration = Duration::from_millis(100);
const SIGNAL_INTERVAL: Duration = Duration::from_millis(50);
/// The close code for an internal error.
const INTERNAL_ERROR_CODE: u16 = 1011;

/// The kind of frames that a connection sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FloodKind {
    /// Typing and presence.
    Live,
    /// Pings, which get answers.
    Pings,
    /// Malformed commands.
    Nonsense,
    /// Valid messages.
    Sends,
    /// Binary or too large frames: each ends the connection.
    Breaches,
    /// The largest messages, at the default rate of a user.
    Large,
    /// The largest signals, at the default rate of a user.
    Signals,
}

impl FloodKind {
    /// The kinds of a flood of small frames.
    pub const SMALL_FRAME_KINDS: [FloodKind; 5] =
        [FloodKind::Live, FloodKind::Pings, FloodKind::Nonsense, FloodKind::Sends, FloodKind::Breaches];
    /// The kinds that load the server most within the limits of a member.
    pub const MEMBER: [FloodKind; 4] =
        [FloodKind::Live, FloodKind::Pings, FloodKind::Large, FloodKind::Signals];

    fn frame(self, room: &str, number: usize) -> Message {
        let text = |value: Value| Message::text(value.to_string());
        match self {
            FloodKind::Live if number.is_multiple_of(3) => {
                text(json!({ "type": "presence:set", "status": "away" }))
            }
            FloodKind::Live => text(json!({ "type": "typing:start", "room": room })),
            FloodKind::Pings if number.is_multiple_of(2) => Message::Ping(Vec::new().into()),
            FloodKind::Pings => text(json!({ "type": "ping", "ref": number.to_string() })),
            FloodKind::Nonsense => match number % 4 {
                0 => text(json!({ "type": 7 })),
                1 => Message::text("{"),
                2 => text(json!({ "type": "message:send", "room": room, "content": 5 })),
                _ => Message::text("[".repeat(1000)),
            },
            FloodKind::Sends => text(message_send(room, number)),
            FloodKind::Breaches if rand::random() => Message::binary(vec![0_u8; 10]),
            FloodKind::Breaches => Message::text("x".repeat(TOO_LARGE_BYTES)),
            FloodKind::Large => {
                let attachment = json!({ "url": format!("https://{}", "é".repeat(URL_CHARS)), "size": 1,
                    "name": "n".repeat(NAME_CHARS), "media_type": "m".repeat(NAME_CHARS) });
                let mut send = message_send(room, number);
                send["attachments"] = vec![attachment; ATTACHMENTS].into();
                send["metadata"] = json!({ "a": "m".repeat(METADATA_CHARS) });
                // Each of these characters has four bytes.
                send["content"] = "🙂".repeat(1000).into();
                text(send)
            }
            FloodKind::Signals => {
                text(json!({ "type": "signal", "room": room, "data": "x".repeat(SIGNAL_BYTES) }))
            }
        }
    }

    fn send_interval(self) -> Option<Duration> {
        match self {
            FloodKind::Large => Some(LARGE_MESSAGE_INTERVAL),
            FloodKind::Signals => Some(SIGNAL_INTERVAL),
            _ => None,
        }
    }
}

fn message_send(room: &str, number: usize) -> Value {
    json!({ "type": "message:send", "room": room, "content": "flood", "client_id": clock::client_id(),
        "attempt": 1, "ack": "accepted", "ref": number.to_string() })
}

/// Floods a room at a gateway with frames of this kind.
pub async fn flood_over_websocket(
    ws: String,
    token: String,
    room: String,
    kind: FloodKind,
    answers: Answers,
) {
    loop {
        sleep(CONNECTION_PAUSE).await;
        let Ok(client) = Client::connect(&ws, &token).await else {
            answers.count("not let in");
            continue;
        };
        let client = Arc::new(client);
        // Sends on a separate task, because in one task the sends would leave no time for reading.
        let sending =
            JoinSet::from_iter([send_frames(Arc::clone(&client), kind, room.clone(), answers.clone())]);
        while let Ok(frame) = client.next_event(NO_TIMEOUT).await {
            count_answer(&answers, kind, &frame);
        }
        drop(sending);
        if let Some(closed) = client.closed() {
            let code = closed.code.map_or("without a code".to_owned(), |code| code.to_string());
            answers.count(format!("{kind:?} closed {code}"));
            if closed.code == Some(INTERNAL_ERROR_CODE) {
                answers.record_internal_error(format!("a flood of {kind:?} was closed with {closed}"));
            }
        }
    }
}

async fn send_frames(client: Arc<Client>, kind: FloodKind, room: String, answers: Answers) {
    let mut number = 0;
    while client.closed().is_none() {
        number += 1;
        if client.send_message(kind.frame(&room, number)).await.is_err() {
            break;
        }
        if let Some(interval) = kind.send_interval() {
            answers.count(format!("{kind:?}"));
            sleep(interval).await;
        }
    }
}

fn count_answer(answers: &Answers, kind: FloodKind, frame: &ServerFrame) {
    match frame {
        ServerFrame::Error(error) => {
            answers.count(error.code.clone());
            if error.code == "internal" {
                answers.record_internal_error(format!("a flood of {kind:?} got {error:?}"));
            }
        }
        ServerFrame::Ack(ack) => answers.count(ack.stage.clone()),
        _ => {}
    }
}

/// Sends valid and malformed messages to a room over HTTP.
pub async fn flood_over_http(http: Http, room: String, answers: Answers) {
    let path = format!("/rooms/{room}/messages");
    for number in 1_u64.. {
        let body = match number % 3 {
            0 => json!({ "content": 5 }),
            1 => json!(null),
            _ => json!({ "client_id": clock::client_id(), "content": "flood" }),
        };
        match http.post(&path, body).await {
            Ok(answer) => {
                answers.count(format!("HTTP {}", answer.status));
                if answer.is_internal_error() {
                    answers.record_internal_error(format!("a flood over HTTP got {}", answer.body));
                }
            }
            Err(_) => sleep(CONNECTION_PAUSE).await,
        }
    }
}

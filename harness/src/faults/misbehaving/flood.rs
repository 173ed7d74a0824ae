//! Clients that send as fast as they can, each one kind of frame: valid but too many, malformed, or violating the
//! WebSocket protocol. They read their answers, and reconnect at once after a close.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use serde_json::{Value, json};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout_at};
use tokio_tungstenite::tungstenite::Message;

use super::{FLOODER, MisbehavingClients};
use crate::faults::World;
use crate::frames::ServerFrame;
use crate::http::Http;
use crate::{Client, clock};

/// Pause between two connections of a client.
const PAUSE: Duration = Duration::from_millis(50);
/// More than the size limit of a message.
const HUGE_BYTES: usize = 70 * 1024;
/// Longer than any flood.
const LONG: Duration = Duration::from_secs(600);
/// The close code for an internal error.
const INTERNAL: u16 = 1011;
/// Concurrent HTTP requests.
const REQUESTS: usize = 4;

#[derive(Debug, Clone, Copy)]
enum Kind {
    /// Typing and presence, which have rate limits.
    Live,
    /// Pings, which get answers.
    Pings,
    /// Frames that are not commands.
    Nonsense,
    /// Valid messages in the room of these clients.
    Sends,
    /// Binary or too large frames: each ends the connection.
    Breaches,
}

const KINDS: [Kind; 5] = [Kind::Live, Kind::Pings, Kind::Nonsense, Kind::Sends, Kind::Breaches];

impl Kind {
    fn message(self, misbehaving: &MisbehavingClients, number: usize) -> Message {
        let text = |value: Value| Message::text(value.to_string());
        match self {
            Kind::Live if number.is_multiple_of(3) => {
                text(json!({ "type": "presence:set", "status": "away" }))
            }
            Kind::Live => text(json!({ "type": "typing:start", "room": misbehaving.own })),
            Kind::Pings if number.is_multiple_of(2) => Message::Ping(Vec::new().into()),
            Kind::Pings => text(json!({ "type": "ping", "ref": number.to_string() })),
            Kind::Nonsense => match number % 4 {
                0 => text(json!({ "type": 7 })),
                1 => Message::text("{"),
                2 => text(json!({ "type": "message:send", "room": misbehaving.own, "content": 5 })),
                _ => Message::text("[".repeat(1000)),
            },
            Kind::Sends => text(json!({ "type": "message:send", "room": misbehaving.own, "content": "flood",
                "client_id": clock::client_id(), "attempt": 1, "ack": "accepted", "ref": number.to_string() })),
            Kind::Breaches if rand::random() => Message::binary(vec![0_u8; 10]),
            Kind::Breaches => Message::text("x".repeat(HUGE_BYTES)),
        }
    }
}

pub(in crate::faults) async fn flood(
    world: &World,
    misbehaving: &Arc<MisbehavingClients>,
    time: Duration,
) -> Result<()> {
    let (end, nodes) = (Instant::now() + time, world.nodes());
    // Each kind has its own task, because in one task the fastest sender would starve the others.
    let mut flooding = JoinSet::new();
    for (number, kind) in KINDS.into_iter().enumerate() {
        let ws = nodes.gateways[number % nodes.gateways.len()].clone();
        flooding.spawn(over_websocket(Arc::clone(misbehaving), ws, kind, end));
    }
    for number in 0..REQUESTS {
        let base = &nodes.persistence[number % nodes.persistence.len()];
        let http = Http::sharing(nodes.http.clone(), base, &misbehaving.token(FLOODER));
        flooding.spawn(over_http(Arc::clone(misbehaving), http, end));
    }
    flooding.join_all().await;
    Ok(())
}

async fn over_websocket(misbehaving: Arc<MisbehavingClients>, ws: String, kind: Kind, end: Instant) {
    while Instant::now() < end {
        sleep(PAUSE).await;
        let Ok(Ok(client)) = timeout_at(end, Client::connect(&ws, &misbehaving.token(FLOODER))).await else {
            misbehaving.note("not let in");
            continue;
        };
        let client = Arc::new(client);
        let saying = JoinSet::from_iter([say(Arc::clone(&misbehaving), Arc::clone(&client), kind)]);
        let hear = async {
            while let Ok(frame) = client.next_event(LONG).await {
                told(&misbehaving, kind, &frame);
            }
        };
        // The end may interrupt this.
        let _ = timeout_at(end, hear).await;
        drop(saying);
        if let Some(closed) = client.closed() {
            let code = closed.code.map_or("without a code".to_owned(), |code| code.to_string());
            misbehaving.note(format!("{kind:?} closed {code}"));
            if closed.code == Some(INTERNAL) {
                misbehaving.break_rule(format!("a flood of {kind:?} was closed with {closed}"));
            }
        }
    }
}

async fn say(misbehaving: Arc<MisbehavingClients>, client: Arc<Client>, kind: Kind) {
    let mut number = 0;
    while client.closed().is_none() {
        number += 1;
        if client.send_message(kind.message(&misbehaving, number)).await.is_err() {
            break;
        }
    }
}

fn told(misbehaving: &MisbehavingClients, kind: Kind, frame: &ServerFrame) {
    match frame {
        ServerFrame::Error(error) => {
            misbehaving.note(error.code.clone());
            if error.code == "internal" {
                misbehaving.break_rule(format!("a flood of {kind:?} was told {error:?}"));
            }
        }
        ServerFrame::Ack(ack) => misbehaving.note(ack.stage.clone()),
        _ => {}
    }
}

async fn over_http(misbehaving: Arc<MisbehavingClients>, http: Http, end: Instant) {
    let path = format!("/rooms/{}/messages", misbehaving.own);
    let mut number = 0_u64;
    while Instant::now() < end {
        number += 1;
        let body = match number % 3 {
            0 => json!({ "content": 5 }),
            1 => json!(null),
            _ => json!({ "client_id": clock::client_id(), "content": "flood" }),
        };
        match timeout_at(end, http.post(&path, body)).await {
            Ok(Ok(answer)) => {
                misbehaving.note(format!("HTTP {}", answer.status));
                if answer.is_unsound() {
                    misbehaving.break_rule(format!("a flood over HTTP was told {}", answer.body));
                }
            }
            Ok(Err(_)) => sleep(PAUSE).await,
            Err(_) => return,
        }
    }
}

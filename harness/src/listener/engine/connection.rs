//! The engine's connection: opens it, handles its end, and decides when the next one is opened.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, timeout};

use super::Engine;
use crate::client::socket::Incoming;
use crate::client::{ClientError, Closed};
use crate::frames::ServerFrame;
use crate::history::EntryKind;
use crate::listener::frame_socket::FrameSocket;
use crate::listener::{TOKEN_TTL_S, lock};
use crate::token::Token;

const CONNECTED_TIMEOUT: Duration = Duration::from_secs(15);
/// The close code for an internal error.
const INTERNAL_ERROR_CODE: u16 = 1011;
/// The pause that close code 4429 requires.
const PAUSE_AFTER_CODE_4429: Duration = Duration::from_secs(30);

/// One open connection.
pub(super) struct Connection {
    pub(super) socket: FrameSocket,
    pub(super) heartbeat: Duration,
    pub(super) last_heard: Instant,
    pub(super) pinged: bool,
    pub(super) unanswered: HashSet<String>,
    pub(super) pings: u64,
}

impl Engine {
    pub(super) async fn connect(&mut self) {
        let nodes = Arc::clone(&self.nodes);
        let ws = nodes.gateway(self.gateway);
        let token = Token::of(&self.user).ttl_s(TOKEN_TTL_S).sign(&self.nodes.jwt_secret);
        match self.open(&token).await {
            Ok(connection) => {
                self.connection = Some(connection);
                self.draining = None;
                self.backoff.reset();
                {
                    let mut state = lock(&self.shared.state);
                    state.connected = true;
                    state.connections.push(std::time::Instant::now());
                }
                self.add_entry("", EntryKind::Connected);
                let rooms: Vec<String> = self.rooms.keys().cloned().collect();
                for room in rooms {
                    self.join(&room).await;
                }
                self.outboxes.schedule_resend();
            }
            Err(ClientError::Refused { status: status @ (400..=404 | 410), body, .. }) => {
                self.give_up(format!("{ws} refused the handshake: {status} {body}"));
            }
            Err(error) => {
                if is_internal_error(&error) {
                    self.report_internal_error(format!("{ws}: {error}"));
                }
                lock(&self.shared.state).connect_errors.push(error.to_string());
                let retry_after = match error {
                    ClientError::Refused { retry_after_s, .. } => retry_after_s.map(Duration::from_secs),
                    _ => None,
                };
                self.gateway += 1;
                self.connect_at = Instant::now() + retry_after.unwrap_or_else(|| self.backoff.next_pause());
            }
        }
    }

    async fn open(&self, token: &str) -> Result<Connection, ClientError> {
        let mut socket = FrameSocket::open(&self.nodes, self.gateway, token).await?;
        let first = timeout(CONNECTED_TIMEOUT, socket.next_message()).await;
        let frame = match first {
            Ok(Incoming::Text(text)) => ServerFrame::parse(&text),
            Ok(Incoming::Closed(closed)) => return Err(ClientError::Closed(closed)),
            _ => return Err(ClientError::Silent("connected".to_owned())),
        };
        let Ok(ServerFrame::Connected(connected)) = frame else {
            return Err(ClientError::Broken(format!("{frame:?} before connected")));
        };
        Ok(Connection {
            socket,
            heartbeat: Duration::from_millis(connected.heartbeat_ms),
            last_heard: Instant::now(),
            pinged: false,
            unanswered: HashSet::new(),
            pings: 0,
        })
    }

    pub(super) fn mark_alive(&mut self) {
        if let Some(connection) = self.connection.as_mut() {
            connection.last_heard = Instant::now();
            connection.pinged = false;
        }
    }

    /// Handles a close by the server: reconnects as the close code requires, or stops.
    pub(super) fn handle_close(&mut self, closed: &Closed) {
        if closed.code == Some(INTERNAL_ERROR_CODE) {
            self.report_internal_error(format!("a connection was closed with {closed}"));
        }
        match closed.code {
            Some(1002 | 1003 | 1007 | 1009 | 4403 | 4409 | 4410) => {
                self.give_up(format!("closed with {closed}"));
            }
            Some(4429) => self.reconnect_after(PAUSE_AFTER_CODE_4429),
            _ => {
                let remaining = self.draining.map(|at| at.saturating_duration_since(Instant::now()));
                let pause = remaining.unwrap_or_else(|| self.backoff.next_pause());
                self.reconnect_after(pause);
            }
        }
    }

    /// Drops the connection, and plans to connect to the next node after a pause.
    pub(super) fn reconnect_after(&mut self, pause: Duration) {
        self.disconnect();
        self.draining = None;
        self.gateway += 1;
        self.connect_at = Instant::now() + pause;
    }

    pub(super) fn disconnect(&mut self) -> Option<Connection> {
        if self.connection.is_some() {
            self.add_entry("", EntryKind::Lost);
        }
        lock(&self.shared.state).connected = false;
        for room in self.rooms.values_mut() {
            room.rejoin_at = None;
            lock(&room.recorder).disconnected();
        }
        self.connection.take()
    }

    pub(super) fn give_up(&mut self, why: String) {
        self.disconnect();
        self.outboxes.abandon(&why);
        lock(&self.shared.state).failed = Some(why);
        self.given_up = true;
    }
}

/// Whether a connection was refused because of an internal error. An unavailable dependency is not one.
fn is_internal_error(error: &ClientError) -> bool {
    match error {
        ClientError::Refused { status, .. } => (500..600).contains(status) && *status != 503,
        ClientError::Closed(closed) => closed.code == Some(INTERNAL_ERROR_CODE),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use serde_json::{Value, json};

    use super::super::Room;
    use super::*;
    use crate::clock;
    use crate::frames::Cursor;
    use crate::listener::{Nodes, Observers, SharedState};
    use crate::recorder::Recorder;

    fn engine() -> Engine {
        let (gateways, persistence) = (vec![String::new()], vec![String::new()]);
        let (jwt_secret, http) = (String::new(), crate::http::client());
        let nodes = Arc::new(Nodes { gateways, socket_io: None, persistence, jwt_secret, http });
        Engine::new("alice", nodes, 0, Observers::default(), Arc::new(SharedState::default()))
    }

    /// If only `room:caught_up` began the reports, such a listener would report no latency until it connects again.
    #[tokio::test]
    async fn latency_is_reported_after_a_first_join_with_a_gap() {
        let (mut engine, reported) = (engine(), Arc::new(Mutex::new(0)));
        let count = Arc::clone(&reported);
        engine.observers.on_latency = Some(Arc::new(move |_: Duration| *lock(&count) += 1));
        let mut recorder = Recorder::new("r", Arc::default());
        recorder.begin(Cursor { epoch: "1".to_owned(), seq: 0 });
        let recorder = Arc::new(Mutex::new(recorder));
        engine.rooms.insert("r".to_owned(), Room { recorder, load: false, rejoin_at: None });
        let head = json!({ "epoch": "2", "seq": 0 });
        let joined = json!({ "room": "r", "kind": "private", "role": "member", "head": head,
            "read_seq": 0, "members": 2 });
        engine.handle_text(&json!({ "type": "room:joined", "rooms": [joined] }).to_string()).await;
        engine
            .handle_text(&json!({ "type": "room:gap", "room": "r", "after": 0, "head": head }).to_string())
            .await;
        let message = json!({ "type": "message:new", "room": "r", "seq": 1, "at": "2026-01-01T00:00:00Z",
            "id": "m", "client_id": clock::client_id(), "sender": { "id": "bob" }, "kind": "text", "content": "x" });
        engine.handle_text(&message.to_string()).await;
        assert_eq!(*lock(&reported), 1);
        assert_eq!(lock(&engine.shared.state).violations, [""; 0]);
    }

    #[tokio::test]
    async fn internal_error_is_distinguished_from_unavailability() {
        let mut engine = engine();
        let error = |code: &str| format!(r#"{{"type":"error","ref":"j:r","code":"{code}","message":"m"}}"#);
        let closed = |code| Closed { code: Some(code), reason: String::new() };
        for code in ["unavailable", "overloaded", "internal"] {
            engine.handle_text(&error(code)).await;
        }
        for code in [1012, 1013, 1011] {
            engine.handle_close(&closed(code));
        }
        let internal_errors = lock(&engine.shared.state).internal_errors.clone();
        assert_eq!(internal_errors.len(), 2, "{internal_errors:?}");
        assert!(
            internal_errors[0].contains("internal") && internal_errors[1].contains("1011"),
            "{internal_errors:?}"
        );

        let refused = |status| ClientError::Refused { status, body: Value::Null, retry_after_s: None };
        assert!(
            is_internal_error(&refused(500))
                && !is_internal_error(&refused(503))
                && !is_internal_error(&refused(429))
        );
        assert!(
            is_internal_error(&ClientError::Closed(closed(1011)))
                && !is_internal_error(&ClientError::Closed(closed(1013)))
        );
    }
}

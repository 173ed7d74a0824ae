//! The engine's connection: how it is opened, how it ends, and when the next one is opened.

use std::collections::HashSet;
use std::time::Duration;

use tokio::time::{Instant, timeout};

use super::Engine;
use crate::client::socket::{self, Incoming, TokenBy, WebSocket};
use crate::client::{ClientError, Closed};
use crate::frames::ServerFrame;
use crate::history::What;
use crate::listener::{TOKEN_TTL_S, lock};
use crate::token::Token;

const CONNECTED_PATIENCE: Duration = Duration::from_secs(15);
/// The close code for an internal error.
const INTERNAL: u16 = 1011;
/// The pause that close code 4429 requires.
const ABUSE_PAUSE: Duration = Duration::from_secs(30);

/// One open connection.
pub(super) struct ClientLine {
    pub(super) socket: WebSocket,
    pub(super) heartbeat: Duration,
    pub(super) heard: Instant,
    pub(super) pinged: bool,
    pub(super) unanswered: HashSet<String>,
    pub(super) pings: u64,
}

impl Engine {
    pub(super) async fn connect(&mut self) {
        let ws = self.nodes.gateways[self.gateway % self.nodes.gateways.len()].clone();
        let token = Token::of(&self.user).ttl_s(TOKEN_TTL_S).sign(&self.nodes.jwt_secret);
        match self.open(&ws, &token).await {
            Ok(line) => {
                self.line = Some(line);
                self.draining = None;
                self.backoff.reset();
                {
                    let mut state = lock(&self.shared.state);
                    state.connected = true;
                    state.connections.push(std::time::Instant::now());
                }
                self.note("", What::Connected);
                let rooms: Vec<String> = self.rooms.keys().cloned().collect();
                for room in rooms {
                    self.join(&room).await;
                }
                self.outboxes.repeat();
            }
            Err(ClientError::Refused { status: status @ (400..=404 | 410), body, .. }) => {
                self.give_up(format!("{ws} refused the handshake: {status} {body}"));
            }
            Err(error) => {
                if is_unsound(&error) {
                    self.unsound(format!("{ws}: {error}"));
                }
                lock(&self.shared.state).turned_away.push(error.to_string());
                let told = match error {
                    ClientError::Refused { retry_after_s, .. } => retry_after_s.map(Duration::from_secs),
                    _ => None,
                };
                self.gateway += 1;
                self.connect_at = Instant::now() + told.unwrap_or_else(|| self.backoff.next());
            }
        }
    }

    async fn open(&self, ws: &str, token: &str) -> Result<ClientLine, ClientError> {
        let mut socket = socket::open(ws, token, TokenBy::Header, &[]).await?;
        let first = timeout(CONNECTED_PATIENCE, socket::next(&mut socket)).await;
        let frame = match first {
            Ok(Incoming::Text(text)) => ServerFrame::parse(&text),
            Ok(Incoming::Closed(closed)) => return Err(ClientError::Closed(closed)),
            _ => return Err(ClientError::Silent("connected".to_owned())),
        };
        let Ok(ServerFrame::Connected(connected)) = frame else {
            return Err(ClientError::Broken(format!("{frame:?} before connected")));
        };
        Ok(ClientLine {
            socket,
            heartbeat: Duration::from_millis(connected.heartbeat_ms),
            heard: Instant::now(),
            pinged: false,
            unanswered: HashSet::new(),
            pings: 0,
        })
    }

    pub(super) fn alive(&mut self) {
        if let Some(line) = self.line.as_mut() {
            line.heard = Instant::now();
            line.pinged = false;
        }
    }

    /// The server closed the connection: reconnects as the code requires, or stops.
    pub(super) fn closed(&mut self, closed: &Closed) {
        if closed.code == Some(INTERNAL) {
            self.unsound(format!("a connection was closed with {closed}"));
        }
        match closed.code {
            Some(1002 | 1003 | 1007 | 1009 | 4403 | 4409 | 4410) => {
                self.give_up(format!("closed with {closed}"));
            }
            Some(4429) => self.lost(ABUSE_PAUSE),
            _ => {
                let told = self.draining.map(|at| at.saturating_duration_since(Instant::now()));
                let pause = told.unwrap_or_else(|| self.backoff.next());
                self.lost(pause);
            }
        }
    }

    /// The connection is unusable: connects to another node after a pause.
    pub(super) fn lost(&mut self, pause: Duration) {
        self.hang_up();
        self.draining = None;
        self.gateway += 1;
        self.connect_at = Instant::now() + pause;
    }

    pub(super) fn hang_up(&mut self) -> Option<ClientLine> {
        if self.line.is_some() {
            self.note("", What::Lost);
        }
        lock(&self.shared.state).connected = false;
        for room in self.rooms.values_mut() {
            room.rejoin_at = None;
            lock(&room.recorder).disconnected();
        }
        self.line.take()
    }

    pub(super) fn give_up(&mut self, why: String) {
        self.hang_up();
        self.outboxes.abandon(&why);
        lock(&self.shared.state).failed = Some(why);
        self.given_up = true;
    }
}

/// Whether a connection was refused because of an internal error, and not because a dependency is unavailable.
fn is_unsound(error: &ClientError) -> bool {
    match error {
        ClientError::Refused { status, .. } => (500..600).contains(status) && *status != 503,
        ClientError::Closed(closed) => closed.code == Some(INTERNAL),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::Value;

    use super::*;
    use crate::listener::{Nodes, Observers, Shared};

    fn engine() -> Engine {
        let (gateways, persistence) = (vec![String::new()], vec![String::new()]);
        let (jwt_secret, http) = (String::new(), crate::http::client());
        let nodes = Arc::new(Nodes { gateways, persistence, jwt_secret, http });
        Engine::new("alice", nodes, 0, Observers::default(), Arc::new(Shared::default()))
    }

    #[tokio::test]
    async fn internal_error_is_distinguished_from_unavailability() {
        let mut engine = engine();
        let error = |code: &str| format!(r#"{{"type":"error","ref":"j:r","code":"{code}","message":"m"}}"#);
        let closed = |code| Closed { code: Some(code), reason: String::new() };
        for code in ["unavailable", "overloaded", "internal"] {
            engine.hear(&error(code)).await;
        }
        for code in [1012, 1013, 1011] {
            engine.closed(&closed(code));
        }
        let unsound = lock(&engine.shared.state).unsound.clone();
        assert_eq!(unsound.len(), 2, "{unsound:?}");
        assert!(unsound[0].contains("internal") && unsound[1].contains("1011"), "{unsound:?}");

        let refused = |status| ClientError::Refused { status, body: Value::Null, retry_after_s: None };
        assert!(is_unsound(&refused(500)) && !is_unsound(&refused(503)) && !is_unsound(&refused(429)));
        assert!(
            is_unsound(&ClientError::Closed(closed(1011))) && !is_unsound(&ClientError::Closed(closed(1013)))
        );
    }
}

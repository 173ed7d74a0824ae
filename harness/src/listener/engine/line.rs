//! The engine's connection: how it is made, how it ends, and what each end means for the next.

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
/// What 4429 asks for.
const ABUSE_PAUSE: Duration = Duration::from_secs(30);

/// One connection while it stands.
pub(super) struct Line {
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

    async fn open(&self, ws: &str, token: &str) -> Result<Line, ClientError> {
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
        Ok(Line {
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

    /// The server closed: come back as its code says, or never.
    pub(super) fn closed(&mut self, closed: &Closed) {
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

    /// The connection is of no use any more; another one, elsewhere, after a pause.
    pub(super) fn lost(&mut self, pause: Duration) {
        self.hang_up();
        self.draining = None;
        self.gateway += 1;
        self.connect_at = Instant::now() + pause;
    }

    pub(super) fn hang_up(&mut self) -> Option<Line> {
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

//! The shared code of the servers without tokens and storage, and of `ws.mjs` the frames.

use std::borrow::Cow;
use std::net::{SocketAddr, TcpListener};

use anyhow::{Context, Result};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use serde::{Deserialize, Serialize};
use socket2::{Domain, Protocol, Socket, Type};

/// Limit of connections that wait to be accepted. It is high because thousands connect at once. The kernel may lower
/// it.
const MAX_BACKLOG: i32 = 4096;

/// The answer to a malformed frame; the connection stays open.
pub const BAD_REQUEST: &str = r#"{"type":"error","code":"bad_request"}"#;

/// The command line of a measured server.
#[derive(clap::Parser)]
pub struct Arguments {
    /// The address to listen on; port 0 means any free port.
    #[arg(long, default_value = "127.0.0.1:0")]
    listen: SocketAddr,
}

impl Arguments {
    /// Listens, prints the address for the parent process, and raises the limit of open files.
    ///
    /// # Errors
    /// When listening fails.
    pub fn listen(&self) -> Result<TcpListener> {
        let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
        setrlimit(Resource::RLIMIT_NOFILE, hard, hard)?;
        let socket = Socket::new(Domain::for_address(self.listen), Type::STREAM, Some(Protocol::TCP))?;
        socket.set_nonblocking(true)?;
        socket.bind(&self.listen.into()).with_context(|| format!("bind {}", self.listen))?;
        socket.listen(MAX_BACKLOG)?;
        let listener = TcpListener::from(socket);
        println!("listening {}", listener.local_addr()?);
        Ok(listener)
    }
}

/// A message of a client.
#[derive(Debug, Deserialize)]
pub struct ClientMessage<'a> {
    #[serde(borrow)]
    pub client_id: Cow<'a, str>,
    #[serde(borrow)]
    pub content: Cow<'a, str>,
    #[serde(borrow, rename = "ref")]
    pub reference: Cow<'a, str>,
}

impl ClientMessage<'_> {
    /// The event for everybody in the room, as JSON. It has the fields of Tidings' `message:new`, in the same order.
    #[must_use]
    pub fn event(&self, room: &str, user: &str, seq: u64) -> String {
        #[derive(Serialize)]
        struct Event<'a> {
            r#type: &'a str,
            room: &'a str,
            seq: u64,
            at: String,
            id: uuid::Uuid,
            client_id: &'a str,
            sender: Sender<'a>,
            kind: &'a str,
            content: &'a str,
        }
        #[derive(Serialize)]
        struct Sender<'a> {
            id: &'a str,
        }
        let event = Event {
            r#type: "message:new",
            room,
            seq,
            at: chrono::Utc::now().to_rfc3339_opts(chrono::SecondsFormat::Millis, true),
            id: uuid::Uuid::now_v7(),
            client_id: &self.client_id,
            sender: Sender { id: user },
            kind: "text",
            content: &self.content,
        };
        serde_json::to_string(&event).expect("strings and numbers always serialise")
    }

    /// The ack for the sender, as JSON.
    #[must_use]
    pub fn ack(&self) -> String {
        #[derive(Serialize)]
        struct Ack<'a> {
            r#type: &'a str,
            r#ref: &'a str,
        }
        let ack = Ack { r#type: "ack", r#ref: &self.reference };
        serde_json::to_string(&ack).expect("strings always serialise")
    }
}

/// User and room of a connection, from the query of the path: `/?room=R&user=U`.
#[derive(Debug, Clone, Deserialize, PartialEq, Eq)]
pub struct ConnectQuery {
    pub room: String,
    pub user: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn event_has_the_fields_of_our_events_in_their_order() {
        let sent = r#"{"ref":"7","client_id":"c","content":"a \"word\"\n"}"#;
        let message: ClientMessage = serde_json::from_str(sent).unwrap();
        let event = message.event("r", "ann", 3);
        let keys = ["type", "room", "seq", "at", "id", "client_id", "sender", "kind", "content"]
            .map(|key| format!("\"{key}\":"));
        let places: Vec<usize> = keys.iter().map(|key| event.find(key).expect(key)).collect();
        assert!(places.is_sorted(), "{event}");
        let value: serde_json::Value = serde_json::from_str(&event).unwrap();
        assert_eq!(value["content"], "a \"word\"\n");
        assert_eq!(value["at"].as_str().unwrap().len(), "2026-01-01T00:00:00.000Z".len());
        assert_eq!(message.ack(), r#"{"type":"ack","ref":"7"}"#);
    }
}

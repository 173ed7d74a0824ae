//! An Engine.IO client that sends each request on an HTTP connection of its own, so that requests reach different
//! workers.

use std::{net::SocketAddr, time::Duration};

use tidings_gateway::transport::{EngineConfig, SessionIdKeys, TransportConfig};

use crate::{
    client::{Client, handshake},
    server::Fixture,
};

pub const POLLING: &str = "EIO=4&transport=polling";
pub const WEBSOCKET: &str = "EIO=4&transport=websocket";
pub const MAX_PAYLOAD: usize = 10_000;

/// Serves Engine.IO with a heartbeat that is longer than any test, on several workers.
pub fn with_engine(config: &mut TransportConfig) {
    config.workers = 3;
    config.engine = Some(EngineConfig {
        path: "/engine.io/".to_owned(),
        ping_interval: Duration::from_secs(25),
        ping_timeout: Duration::from_secs(20),
        max_payload: MAX_PAYLOAD,
        keys: SessionIdKeys::new(&[[7; 32]]),
        nodes: None,
    });
}

/// The answer to a request. The head is in lower case.
#[derive(Debug)]
pub struct Answer {
    pub head: String,
    pub body: String,
}

impl Answer {
    pub async fn read(mut client: Client) -> Answer {
        let head = client.read_head().await.to_lowercase();
        Answer { head, body: client.read_rest().await }
    }

    pub fn status(&self) -> u16 {
        self.head.split(' ').nth(1).unwrap().parse().unwrap()
    }

    /// Status and body.
    pub fn parts(&self) -> (u16, &str) {
        (self.status(), &self.body)
    }
}

/// Sends a request, and does not wait for its answer. `headers` ends with a line break if it is not empty.
pub async fn begin(address: SocketAddr, method: &str, query: &str, headers: &str, body: &str) -> Client {
    let length = body.len();
    let request = format!(
        "{method} /engine.io/?{query} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n{headers}\
         Content-Length: {length}\r\n\r\n{body}"
    );
    Client::connect_and_send(address, request.as_bytes()).await
}

pub async fn request(address: SocketAddr, method: &str, query: &str, body: &str) -> Answer {
    Answer::read(begin(address, method, query, "", body).await).await
}

/// A polling session.
pub struct PollingClient {
    pub address: SocketAddr,
    pub query: String,
}

impl PollingClient {
    pub async fn open(fixture: &Fixture) -> PollingClient {
        let answer = request(fixture.address(), "GET", POLLING, "").await;
        assert_eq!(answer.status(), 200, "{answer:?}");
        let sid = sid_of(&answer.body);
        PollingClient { address: fixture.address(), query: format!("{POLLING}&sid={sid}") }
    }

    pub async fn poll(&self) -> Answer {
        request(self.address, "GET", &self.query, "").await
    }

    /// A request with this value of the parameter `t`.
    pub async fn request_at(&self, time: &str, method: &str, body: &str) -> Answer {
        request(self.address, method, &format!("{}&t={time}", self.query), body).await
    }

    /// Sends a poll, and does not wait for its answer.
    pub async fn begin_poll(&self) -> Client {
        begin(self.address, "GET", &self.query, "", "").await
    }

    pub async fn post(&self, body: &str) -> Answer {
        request(self.address, "POST", &self.query, body).await
    }

    /// Posts packets that must be taken.
    pub async fn send(&self, body: &str) {
        assert_eq!(self.post(body).await.parts(), (200, "ok"));
    }

    /// The packets of the next poll, which must succeed.
    pub async fn receive(&self) -> String {
        let answer = self.poll().await;
        assert_eq!(answer.status(), 200, "{answer:?}");
        answer.body
    }

    /// Polls and posts until the server does not know the session any more.
    pub async fn expect_gone(&self) {
        let unknown = (400, r#"{"code":1,"message":"Session ID unknown"}"#);
        assert_eq!(self.poll().await.parts(), unknown);
        assert_eq!(self.post("4hello").await.parts(), unknown);
    }

    /// Opens a WebSocket for the session, and completes the upgrade.
    pub async fn upgrade(&self) -> Client {
        let mut socket = self.websocket().await;
        socket.send_text("2probe").await;
        assert_eq!(socket.next_text().await, "3probe");
        socket.send_text("5").await;
        socket.send_text("4over WebSocket").await;
        assert_eq!(socket.next_text().await, "4over WebSocket");
        socket
    }

    /// Opens a WebSocket for the session.
    pub async fn websocket(&self) -> Client {
        open_websocket(self.address, &self.query.replace("polling", "websocket")).await
    }
}

/// The session id in an open packet.
pub fn sid_of(open_packet: &str) -> String {
    let (_, rest) = open_packet.split_once(r#""sid":""#).unwrap();
    rest.split('"').next().unwrap().to_owned()
}

pub async fn begin_websocket(address: SocketAddr, query: &str) -> Client {
    let request = handshake(&format!("/engine.io/?{query}"));
    Client::connect_and_send(address, request.as_bytes()).await
}

pub async fn open_websocket(address: SocketAddr, query: &str) -> Client {
    let mut client = begin_websocket(address, query).await;
    let head = client.read_head().await;
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
    client
}

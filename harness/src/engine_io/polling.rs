//! Single requests of Engine.IO's long polling.

use anyhow::{Context, Result, ensure};
use reqwest::{Method, RequestBuilder};
use serde_json::Value;

/// Separates the packets of a payload.
pub const PACKET_SEPARATOR: char = '\x1e';

/// An answer to one request.
#[derive(Debug, Clone)]
pub struct EngineAnswer {
    pub status: u16,
    pub content_type: String,
    /// The `access-control-allow-origin` of the answer.
    pub allowed_origin: Option<String>,
    pub body: String,
}

impl EngineAnswer {
    /// The protocol's code in the body of a refusal.
    pub fn code(&self) -> Option<u64> {
        serde_json::from_str::<Value>(&self.body).ok()?["code"].as_u64()
    }

    /// The packets of a payload.
    pub fn packets(&self) -> impl Iterator<Item = &str> {
        self.body.split(PACKET_SEPARATOR)
    }
}

/// A session of long polling.
#[derive(Debug, Clone)]
pub struct EnginePolling {
    http: reqwest::Client,
    /// The address with the path, such as `http://127.0.0.1:3000/engine.io/`.
    base: String,
    /// The id of the session.
    pub sid: String,
    /// The content of the open packet.
    pub handshake: Value,
    /// The packets that followed the open packet in the same answer.
    pub first_packets: Vec<String>,
}

impl EnginePolling {
    /// Opens a session.
    ///
    /// # Errors
    /// When the answer is not an open packet.
    pub async fn open(base: &str) -> Result<EnginePolling> {
        let http = crate::http::client();
        let answer = request(&http, Method::GET, &format!("{base}?EIO=4&transport=polling"), None).await?;
        ensure!(answer.status == 200, "{answer:?}");
        let mut packets = answer.packets().map(ToOwned::to_owned);
        let open = packets.next().unwrap_or_default();
        let content = open.strip_prefix('0').with_context(|| format!("not an open packet: {answer:?}"))?;
        let handshake: Value = serde_json::from_str(content)?;
        let sid = handshake["sid"].as_str().context("the handshake has no sid")?.to_owned();
        Ok(EnginePolling { http, base: base.to_owned(), sid, handshake, first_packets: packets.collect() })
    }

    /// The same client with another session id.
    #[must_use]
    pub fn with_sid(&self, sid: String) -> EnginePolling {
        EnginePolling { sid, ..self.clone() }
    }

    /// The same session at another address with a path.
    #[must_use]
    pub fn at(&self, base: &str) -> EnginePolling {
        EnginePolling { base: base.to_owned(), ..self.clone() }
    }

    /// The same session with a connection pool of its own, so that its next request opens a connection.
    #[must_use]
    pub fn on_own_connection(&self) -> EnginePolling {
        EnginePolling { http: crate::http::client(), ..self.clone() }
    }

    /// The address of this session's requests.
    pub fn url(&self) -> String {
        format!("{}?EIO=4&transport=polling&sid={}", self.base, self.sid)
    }

    /// The address of this session's WebSocket.
    pub fn socket_url(&self) -> String {
        let base = self.base.replacen("http", "ws", 1);
        format!("{base}?EIO=4&transport=websocket&sid={}", self.sid)
    }

    /// Waits for packets.
    pub async fn get(&self) -> Result<EngineAnswer> {
        request(&self.http, Method::GET, &self.url(), None).await
    }

    /// Sends a payload.
    pub async fn post(&self, payload: &str) -> Result<EngineAnswer> {
        request(&self.http, Method::POST, &self.url(), Some(payload)).await
    }
}

impl EngineAnswer {
    /// Sends a request with a client of its own, and returns the answer.
    pub async fn fetch(method: Method, url: &str, headers: &[(&str, &str)]) -> Result<EngineAnswer> {
        let request = crate::http::client().request(method, url);
        send(headers.iter().fold(request, |request, (name, value)| request.header(*name, *value))).await
    }
}

async fn request(
    http: &reqwest::Client,
    method: Method,
    url: &str,
    body: Option<&str>,
) -> Result<EngineAnswer> {
    let request = http.request(method, url);
    send(match body {
        Some(body) => request.header("content-type", "text/plain; charset=UTF-8").body(body.to_owned()),
        None => request,
    })
    .await
}

async fn send(request: RequestBuilder) -> Result<EngineAnswer> {
    let answer = request.send().await?;
    let header = |name: &str| answer.headers().get(name)?.to_str().ok().map(ToOwned::to_owned);
    Ok(EngineAnswer {
        status: answer.status().as_u16(),
        content_type: header("content-type").unwrap_or_default(),
        allowed_origin: header("access-control-allow-origin"),
        body: answer.text().await?,
    })
}

//! One user of the HTTP API: every call is one request and returns its status and JSON.
//! Touches only the network, and never retries, so that a test sees every answer of the server.

use std::time::Duration;

use reqwest::Method;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::frames::{Cursor, ServerFrame};

const TIMEOUT: Duration = Duration::from_secs(40);

/// An answer: the status and the body (`null` if it is not JSON).
#[derive(Debug, Clone)]
pub struct Answer {
    /// HTTP status.
    pub status: u16,
    /// The body.
    pub body: Value,
    /// The `Content-Type`.
    pub content_type: String,
    /// Whether the server closes the connection after it.
    pub closes: bool,
}

impl Answer {
    /// Whether the node reports an internal error, and not an unavailable dependency.
    pub fn is_unsound(&self) -> bool {
        (500..600).contains(&self.status) && self.status != 503
    }

    /// The `code` of a problem document.
    pub fn code(&self) -> &str {
        self.body["code"].as_str().unwrap_or_default()
    }

    /// The body as a type.
    ///
    /// # Errors
    /// When the status is not 2xx or the body has another shape; with both.
    pub fn parse<T: DeserializeOwned>(&self) -> anyhow::Result<T> {
        anyhow::ensure!((200..300).contains(&self.status), "status {}: {}", self.status, self.body);
        T::deserialize(&self.body).map_err(|error| anyhow::anyhow!("{error} in {}", self.body))
    }

    /// Asserts the status.
    ///
    /// # Panics
    /// When it is another; shows the body.
    #[track_caller]
    pub fn expect(self, status: u16) -> Answer {
        assert_eq!(self.status, status, "{}", self.body);
        self
    }
}

/// A page of the log.
#[derive(Debug, Clone, Deserialize)]
pub struct EventsPage {
    /// Log events as on the wire.
    pub events: Vec<Value>,
    /// Complete up to here.
    pub next: Cursor,
    /// The stored head.
    pub head: Cursor,
    /// Whether there is more.
    pub more: bool,
}

impl EventsPage {
    /// The events as frames.
    pub fn frames(&self) -> Vec<ServerFrame> {
        self.events.iter().cloned().map(ServerFrame::from_value).collect()
    }
}

/// A page of the history.
#[derive(Debug, Clone, Deserialize)]
pub struct MessagesPage {
    /// Message objects, ascending.
    pub messages: Vec<MessageObject>,
    /// The stored head.
    pub head: Cursor,
    /// Whether older ones exist.
    pub has_before: bool,
    /// Whether newer ones exist.
    pub has_after: bool,
}

/// A message as history shows it.
#[derive(Debug, Clone, Deserialize)]
pub struct MessageObject {
    /// Message id.
    pub id: String,
    /// Its place in the log.
    pub seq: u64,
    /// The room.
    pub room: String,
    /// The sender's own id of it.
    pub client_id: String,
    /// Who sent it.
    pub sender: crate::frames::Person,
    /// What was said.
    pub content: String,
    /// Deleted.
    pub deleted: bool,
    /// When.
    pub at: String,
    /// Seq of the event that last changed it.
    pub last_seq: u64,
}

/// One user over HTTP.
#[derive(Debug, Clone)]
pub struct Http {
    client: reqwest::Client,
    base: String,
    token: String,
}

impl Http {
    /// A user with this token at this node (a URL without a path).
    pub fn new(base: &str, token: &str) -> Http {
        Http::sharing(client(), base, token)
    }

    /// Like [`Http::new`], with a shared connection pool.
    pub fn sharing(client: reqwest::Client, base: &str, token: &str) -> Http {
        Http { client, base: base.trim_end_matches('/').to_owned(), token: token.to_owned() }
    }

    /// The node.
    pub fn base(&self) -> &str {
        &self.base
    }

    /// The same user with another token; an empty one sends none.
    #[must_use]
    pub fn with_token(&self, token: &str) -> Http {
        Http { token: token.to_owned(), ..self.clone() }
    }

    /// Any request; `path` from `/v1` on is `/rooms…` (already percent-encoded).
    ///
    /// # Errors
    /// When there was no HTTP answer.
    pub async fn request(
        &self,
        method: Method,
        path: &str,
        body: Option<Value>,
    ) -> Result<Answer, reqwest::Error> {
        let mut request = self.client.request(method, format!("{}/v1{path}", self.base));
        if !self.token.is_empty() {
            request = request.bearer_auth(&self.token);
        }
        if let Some(body) = body {
            request = request.json(&body);
        }
        let answer = request.send().await?;
        let status = answer.status().as_u16();
        let content_type = answer.headers().get("content-type").and_then(|value| value.to_str().ok());
        let content_type = content_type.unwrap_or_default().to_owned();
        let closes = answer.headers().get("connection").is_some_and(|value| value == "close");
        let body = serde_json::from_slice(&answer.bytes().await?).unwrap_or(Value::Null);
        Ok(Answer { status, body, content_type, closes })
    }

    /// `GET`.
    ///
    /// # Errors
    /// When there was no HTTP answer.
    pub async fn get(&self, path: &str) -> Result<Answer, reqwest::Error> {
        self.request(Method::GET, path, None).await
    }

    /// `POST` of JSON.
    ///
    /// # Errors
    /// When there was no HTTP answer.
    pub async fn post(&self, path: &str, body: Value) -> Result<Answer, reqwest::Error> {
        self.request(Method::POST, path, Some(body)).await
    }

    /// Creates a room of `kind` with these members; answers the room object.
    ///
    /// # Errors
    /// When there was no HTTP answer.
    pub async fn create_room(&self, kind: &str, members: &[&str]) -> Result<Answer, reqwest::Error> {
        let members: Vec<Value> = members.iter().map(|user| json!({ "user": user })).collect();
        self.post("/rooms", json!({ "kind": kind, "members": members })).await
    }

    /// Creates a private room and returns its id.
    ///
    /// # Errors
    /// When it was not created.
    pub async fn new_room(&self, members: &[&str]) -> anyhow::Result<String> {
        let answer = self.create_room("private", members).await?;
        anyhow::ensure!(answer.status == 201, "create a room: {} {}", answer.status, answer.body);
        Ok(answer.body["room"].as_str().unwrap_or_default().to_owned())
    }

    /// The room object.
    ///
    /// # Errors
    /// When there was no HTTP answer.
    pub async fn room(&self, room: &str) -> Result<Answer, reqwest::Error> {
        self.get(&format!("/rooms/{}", encode(room))).await
    }

    /// A page of history; `query` such as `before=10&limit=5`, may be empty.
    ///
    /// # Errors
    /// When there was no HTTP answer.
    pub async fn messages(&self, room: &str, query: &str) -> Result<Answer, reqwest::Error> {
        self.get(&format!("/rooms/{}/messages?{query}", encode(room))).await
    }

    /// A page of the log; `query` such as `after=10&upto=20&epoch=1`, may be empty.
    ///
    /// # Errors
    /// When there was no HTTP answer.
    pub async fn events(&self, room: &str, query: &str) -> Result<Answer, reqwest::Error> {
        self.get(&format!("/rooms/{}/events?{query}", encode(room))).await
    }

    /// My rooms; `query` such as `limit=5`, may be empty.
    ///
    /// # Errors
    /// When there was no HTTP answer.
    pub async fn my_rooms(&self, query: &str) -> Result<Answer, reqwest::Error> {
        self.get(&format!("/me/rooms?{query}")).await
    }

    /// A page of members.
    ///
    /// # Errors
    /// When there was no HTTP answer.
    pub async fn members(&self, room: &str, query: &str) -> Result<Answer, reqwest::Error> {
        self.get(&format!("/rooms/{}/members?{query}", encode(room))).await
    }

    /// Marks read up to `seq`.
    ///
    /// # Errors
    /// When there was no HTTP answer.
    pub async fn read(&self, room: &str, seq: u64) -> Result<Answer, reqwest::Error> {
        self.post(&format!("/rooms/{}/read", encode(room)), json!({ "seq": seq })).await
    }

    /// Sends a message; answers the ack object.
    ///
    /// # Errors
    /// When there was no HTTP answer.
    pub async fn send(&self, room: &str, client_id: &str, content: &str) -> Result<Answer, reqwest::Error> {
        let body = json!({ "client_id": client_id, "content": content });
        self.post(&format!("/rooms/{}/messages", encode(room)), body).await
    }

    /// Adds somebody to a room, or changes their role; answers `{user, role, seq}`.
    ///
    /// # Errors
    /// When there was no HTTP answer.
    pub async fn put_member(&self, room: &str, user: &str, role: &str) -> Result<Answer, reqwest::Error> {
        let path = format!("/rooms/{}/members/{}", encode(room), encode(user));
        self.request(Method::PUT, &path, Some(json!({ "role": role }))).await
    }

    /// Joins a public room; `user` must be the user of the token.
    ///
    /// # Errors
    /// When there was no HTTP answer.
    pub async fn join_room(&self, room: &str, user: &str) -> Result<Answer, reqwest::Error> {
        let path = format!("/rooms/{}/members/{}", encode(room), encode(user));
        self.request(Method::PUT, &path, None).await
    }

    /// Removes somebody from a room, or leaves it; answers `{seq}`.
    ///
    /// # Errors
    /// When there was no HTTP answer.
    pub async fn remove_member(&self, room: &str, user: &str) -> Result<Answer, reqwest::Error> {
        let path = format!("/rooms/{}/members/{}", encode(room), encode(user));
        self.request(Method::DELETE, &path, None).await
    }

    /// Changes `name`, `metadata` or `archived` of a room; answers the room object.
    ///
    /// # Errors
    /// When there was no HTTP answer.
    pub async fn change_room(&self, room: &str, change: Value) -> Result<Answer, reqwest::Error> {
        self.request(Method::PATCH, &format!("/rooms/{}", encode(room)), Some(change)).await
    }

    /// Archives a room.
    ///
    /// # Errors
    /// When there was no HTTP answer.
    pub async fn archive_room(&self, room: &str) -> Result<Answer, reqwest::Error> {
        self.request(Method::DELETE, &format!("/rooms/{}", encode(room)), None).await
    }

    /// Sets `name`, `picture` or `blocked` of a user. Needs the admin scope.
    ///
    /// # Errors
    /// When there was no HTTP answer.
    pub async fn put_user(&self, user: &str, change: Value) -> Result<Answer, reqwest::Error> {
        self.request(Method::PUT, &format!("/users/{}", encode(user)), Some(change)).await
    }
}

/// A connection pool that ignores proxies, because the nodes are on this machine. Use it instead of reqwest's default
/// client, which panics if no TLS provider is installed.
pub fn client() -> reqwest::Client {
    client_within(TIMEOUT)
}

/// Like [`client`], with another timeout.
pub(crate) fn client_within(timeout: Duration) -> reqwest::Client {
    let builder = reqwest::Client::builder().no_proxy().timeout(timeout);
    let builder = builder.use_preconfigured_tls((*crate::tls::client()).clone());
    builder.build().expect("TLS is configured, and the system is asked for nothing")
}

/// `GET` of any address.
///
/// # Errors
/// When there was no HTTP answer.
pub async fn get(url: &str) -> Result<reqwest::Response, reqwest::Error> {
    client().get(url).send().await
}

/// Percent-encodes a part of a path.
pub fn encode(part: &str) -> String {
    let mut encoded = String::with_capacity(part.len());
    for byte in part.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~:".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    encoded
}

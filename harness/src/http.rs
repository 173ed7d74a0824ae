//! One user of the HTTP API: every call is one request and returns its status and JSON.
//! Touches only the network. It never retries, because a test must see every answer of the server. A call returns an
//! error only if there was no HTTP answer, unless its comment says more.

use std::net::IpAddr;
use std::time::Duration;

use reqwest::Method;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::frames::{Cursor, ServerFrame};
use crate::names::UserNames;

const REQUEST_TIMEOUT: Duration = Duration::from_secs(40);
/// Shorter than the shortest keep-alive of a service, 5 s of actix-web: a request on a connection that is being closed
/// fails, and the clients of tests never retry.
const POOL_IDLE_TIMEOUT: Duration = Duration::from_secs(1);

/// An answer: the status and the body (`null` if it is not JSON).
#[derive(Debug, Clone)]
pub struct Answer {
    /// HTTP status.
    pub status: u16,
    pub body: Value,
    pub content_type: String,
    /// Whether the server closes the connection after this answer.
    pub closes: bool,
}

impl Answer {
    /// Whether the answer reports an internal error. An unavailable dependency is not one.
    pub fn is_internal_error(&self) -> bool {
        (500..600).contains(&self.status) && self.status != 503
    }

    /// The `code` of a problem document; empty for other answers.
    pub fn code(&self) -> &str {
        self.body["code"].as_str().unwrap_or_default()
    }

    /// Parses the body as this type.
    ///
    /// # Errors
    /// When the status is not 2xx or the body has another shape. The error contains status and body.
    pub fn parse<T: DeserializeOwned>(&self) -> anyhow::Result<T> {
        anyhow::ensure!((200..300).contains(&self.status), "status {}: {}", self.status, self.body);
        T::deserialize(&self.body).map_err(|error| anyhow::anyhow!("{error} in {}", self.body))
    }

    /// Asserts the status.
    ///
    /// # Panics
    /// When the status is another one. The panic message contains the body.
    #[track_caller]
    pub fn expect(self, status: u16) -> Answer {
        assert_eq!(self.status, status, "{}", self.body);
        self
    }
}

/// A page of the log.
#[derive(Debug, Clone, Deserialize)]
pub struct EventsPage {
    /// The events as JSON, with the fields of the WebSocket frames.
    pub events: Vec<Value>,
    /// The page is complete up to this cursor.
    pub next: Cursor,
    /// The stored head.
    pub head: Cursor,
    /// Whether there are more events after this page.
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
    /// The messages, in ascending order of seq.
    pub messages: Vec<MessageObject>,
    /// The stored head.
    pub head: Cursor,
    /// Whether older messages exist.
    pub has_before: bool,
    /// Whether newer messages exist.
    pub has_after: bool,
}

/// A message as history shows it.
#[derive(Debug, Clone, Deserialize)]
pub struct MessageObject {
    /// Message id.
    pub id: String,
    /// Seq of the message in the room's log.
    pub seq: u64,
    pub room: String,
    /// The client id, which the sender has chosen.
    pub client_id: String,
    pub sender: crate::frames::Person,
    /// The text of the message.
    pub content: String,
    /// Whether the message is deleted.
    pub deleted: bool,
    /// When the message was sent.
    pub at: String,
    /// Seq of the event that last changed the message.
    pub last_seq: u64,
}

/// One user over HTTP.
#[derive(Debug, Clone)]
pub struct Http {
    client: reqwest::Client,
    base: String,
    token: String,
    names: UserNames,
}

impl Http {
    /// A user with this token at the node with this URL, which has no path.
    pub fn new(base: &str, token: &str) -> Http {
        Http::sharing(client(), base, token)
    }

    /// Like [`Http::new`], with a shared connection pool.
    pub fn sharing(client: reqwest::Client, base: &str, token: &str) -> Http {
        let (base, names) = (base.trim_end_matches('/').to_owned(), UserNames::of_token(token));
        Http { client, base, token: token.to_owned(), names }
    }

    /// The URL of the node.
    pub fn base(&self) -> &str {
        &self.base
    }

    /// A copy that uses another token. With an empty token, requests have no `Authorization`. If this user has
    /// the names of a test, the copy keeps them, because a token that is refused may have none.
    #[must_use]
    pub fn with_token(&self, token: &str) -> Http {
        let names = if self.names.is_identity() { UserNames::of_token(token) } else { self.names.clone() };
        Http { token: token.to_owned(), names, ..self.clone() }
    }

    /// Sends any request. `path` follows `/v1` and is already percent-encoded, such as `/rooms/…`.
    pub async fn request(
        &self,
        method: Method,
        path: &str,
        body: Option<Value>,
    ) -> Result<Answer, reqwest::Error> {
        let path = self.names.path_to_wire(path);
        let mut request = self.client.request(method, format!("{}/v1{path}", self.base));
        if !self.token.is_empty() {
            request = request.bearer_auth(&self.token);
        }
        if let Some(mut body) = body {
            self.names.value_to_wire(&mut body);
            request = request.json(&body);
        }
        let answer = request.send().await?;
        let status = answer.status().as_u16();
        let content_type = answer.headers().get("content-type").and_then(|value| value.to_str().ok());
        let content_type = content_type.unwrap_or_default().to_owned();
        let closes = answer.headers().get("connection").is_some_and(|value| value == "close");
        let bytes = answer.bytes().await?;
        let body = serde_json::from_slice(&self.names.bytes_from_wire(&bytes)).unwrap_or(Value::Null);
        Ok(Answer { status, body, content_type, closes })
    }

    /// `GET`.
    pub async fn get(&self, path: &str) -> Result<Answer, reqwest::Error> {
        self.request(Method::GET, path, None).await
    }

    /// `POST` of JSON.
    pub async fn post(&self, path: &str, body: Value) -> Result<Answer, reqwest::Error> {
        self.request(Method::POST, path, Some(body)).await
    }

    /// Creates a room of `kind` with these members. The answer is the room object.
    pub async fn create_room(&self, kind: &str, members: &[&str]) -> Result<Answer, reqwest::Error> {
        let members: Vec<Value> = members.iter().map(|user| json!({ "user": user })).collect();
        self.post("/rooms", json!({ "kind": kind, "members": members })).await
    }

    /// Creates a private room and returns its id.
    ///
    /// # Errors
    /// When the room was not created.
    pub async fn new_room(&self, members: &[&str]) -> anyhow::Result<String> {
        let answer = self.create_room("private", members).await?;
        anyhow::ensure!(answer.status == 201, "create a room: {} {}", answer.status, answer.body);
        Ok(answer.body["room"].as_str().unwrap_or_default().to_owned())
    }

    /// Reads the room object.
    pub async fn room(&self, room: &str) -> Result<Answer, reqwest::Error> {
        self.get(&format!("/rooms/{}", encode(room))).await
    }

    /// Reads a page of history. `query` may be empty, or such as `before=10&limit=5`.
    pub async fn messages(&self, room: &str, query: &str) -> Result<Answer, reqwest::Error> {
        self.get(&format!("/rooms/{}/messages?{query}", encode(room))).await
    }

    /// Reads a page of the log. `query` may be empty, or such as `after=10&upto=20&epoch=1`.
    pub async fn events(&self, room: &str, query: &str) -> Result<Answer, reqwest::Error> {
        self.get(&format!("/rooms/{}/events?{query}", encode(room))).await
    }

    /// Reads a page of the user's rooms. `query` may be empty, or such as `limit=5`.
    pub async fn my_rooms(&self, query: &str) -> Result<Answer, reqwest::Error> {
        self.get(&format!("/me/rooms?{query}")).await
    }

    /// Reads a page of a room's members.
    pub async fn members(&self, room: &str, query: &str) -> Result<Answer, reqwest::Error> {
        self.get(&format!("/rooms/{}/members?{query}", encode(room))).await
    }

    /// Marks the messages of a room as read up to `seq`.
    pub async fn read(&self, room: &str, seq: u64) -> Result<Answer, reqwest::Error> {
        self.post(&format!("/rooms/{}/read", encode(room)), json!({ "seq": seq })).await
    }

    /// Sends a message. The answer is the ack object.
    pub async fn send(&self, room: &str, client_id: &str, content: &str) -> Result<Answer, reqwest::Error> {
        let body = json!({ "client_id": client_id, "content": content });
        self.post(&format!("/rooms/{}/messages", encode(room)), body).await
    }

    /// Adds a user to a room, or changes the user's role. The answer is `{user, role, seq}`.
    pub async fn put_member(&self, room: &str, user: &str, role: &str) -> Result<Answer, reqwest::Error> {
        let path = format!("/rooms/{}/members/{}", encode(room), encode(user));
        self.request(Method::PUT, &path, Some(json!({ "role": role }))).await
    }

    /// Joins a public room; `user` must be the user of the token.
    pub async fn join_room(&self, room: &str, user: &str) -> Result<Answer, reqwest::Error> {
        let path = format!("/rooms/{}/members/{}", encode(room), encode(user));
        self.request(Method::PUT, &path, None).await
    }

    /// Removes a user from a room; users may also remove themselves. The answer is `{seq}`.
    pub async fn remove_member(&self, room: &str, user: &str) -> Result<Answer, reqwest::Error> {
        let path = format!("/rooms/{}/members/{}", encode(room), encode(user));
        self.request(Method::DELETE, &path, None).await
    }

    /// Changes `name`, `metadata` or `archived` of a room. The answer is the room object.
    pub async fn change_room(&self, room: &str, change: Value) -> Result<Answer, reqwest::Error> {
        self.request(Method::PATCH, &format!("/rooms/{}", encode(room)), Some(change)).await
    }

    /// Archives a room.
    pub async fn archive_room(&self, room: &str) -> Result<Answer, reqwest::Error> {
        self.request(Method::DELETE, &format!("/rooms/{}", encode(room)), None).await
    }

    /// Sets `name`, `picture` or `blocked` of a user. Needs the admin scope.
    pub async fn put_user(&self, user: &str, change: Value) -> Result<Answer, reqwest::Error> {
        self.request(Method::PUT, &format!("/users/{}", encode(user)), Some(change)).await
    }
}

/// A client with its own connection pool. It ignores proxies, because the nodes are on this machine. Use this function
/// instead of reqwest's default client, which panics if no TLS provider is installed.
pub fn client() -> reqwest::Client {
    client_within(REQUEST_TIMEOUT)
}

/// Like [`client`], with another timeout of requests.
pub(crate) fn client_within(timeout: Duration) -> reqwest::Client {
    built(reqwest::Client::builder().timeout(timeout))
}

/// Like [`client`], with connections from this address of the machine. It follows no redirects.
pub fn client_from(address: IpAddr) -> reqwest::Client {
    let builder = reqwest::Client::builder().timeout(REQUEST_TIMEOUT).local_address(address);
    built(builder.redirect(reqwest::redirect::Policy::none()))
}

fn built(builder: reqwest::ClientBuilder) -> reqwest::Client {
    let builder = builder.no_proxy().pool_idle_timeout(POOL_IDLE_TIMEOUT);
    let builder = builder.use_preconfigured_tls((*crate::tls::client()).clone());
    builder.build().expect("TLS is configured, and the system is asked for nothing")
}

/// `GET` of any address.
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

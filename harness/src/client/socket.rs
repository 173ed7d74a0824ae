//! A WebSocket to a gateway: the handshake with a token, then text frames in and out. The test client and the listener
//! use this module. [`next_message`] reports every end of a connection as [`Incoming::Closed`].

use std::fmt;
use std::time::Duration;

use futures_util::{Sink, SinkExt, Stream, StreamExt};
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::http::HeaderValue;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{WebSocketStream, client_async_with_config};

use super::ClientError;
use super::wire::{DeflateStream, Stream as ByteStream};
use crate::deflate::OFFER;
use crate::http::encode;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(15);

/// The buffer is small, because a test has thousands of connections.
const READ_BUFFER_BYTES: usize = 8 * 1024;

/// Where the token is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TokenBy {
    /// `Authorization: Bearer …`
    Header,
    /// `?token=…`
    Query,
    /// The first frame.
    FirstFrame,
    /// No token is sent: the caller sends its own frames.
    Nothing,
}

/// How a connection ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Closed {
    /// The close code, when the server sent a close frame.
    pub code: Option<u16>,
    /// The reason of the close frame, or the error.
    pub reason: String,
}

impl fmt::Display for Closed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.code {
            Some(code) => write!(f, "{code} {}", self.reason),
            None => write!(f, "without a close frame: {}", self.reason),
        }
    }
}

/// An incoming message.
#[derive(Debug)]
pub(crate) enum Incoming {
    Text(String),
    /// A ping or pong of the WebSocket itself, which shows that the connection works.
    Alive,
    Closed(Closed),
}

pub(crate) type WebSocket = WebSocketStream<DeflateStream>;

/// The header in which compression is offered.
pub(super) const EXTENSIONS_HEADER: &str = "sec-websocket-extensions";
/// If this environment variable is 1, every client offers compression.
const DEFLATE_ALL_VARIABLE: &str = "TIDINGS_TEST_DEFLATE";

/// Opens a connection. With [`TokenBy::FirstFrame`], sends the first frame and does not wait for its answer.
pub(crate) async fn open(
    ws: &str,
    token: &str,
    by: TokenBy,
    headers: &[(&'static str, String)],
) -> Result<WebSocket, ClientError> {
    let url = if by == TokenBy::Query { format!("{ws}?token={}", encode(token)) } else { ws.to_owned() };
    let broken = |error: &dyn fmt::Display| ClientError::Broken(format!("{ws}: {error}"));
    let mut request = url.into_client_request().map_err(|error| broken(&error))?;
    let bearer = (by == TokenBy::Header).then(|| ("authorization", format!("Bearer {token}")));
    for (name, value) in headers.iter().cloned().chain(bearer) {
        let value = HeaderValue::from_str(&value).map_err(|error| broken(&error))?;
        request.headers_mut().insert(name, value);
    }
    if std::env::var_os(DEFLATE_ALL_VARIABLE).is_some_and(|value| value == "1") {
        request.headers_mut().entry(EXTENSIONS_HEADER).or_insert(HeaderValue::from_static(OFFER));
    }
    let config = WebSocketConfig::default().read_buffer_size(READ_BUFFER_BYTES).write_buffer_size(0);
    let connecting = async {
        let uri = request.uri();
        let host = uri.host().unwrap_or_default();
        let stream = ByteStream::connect(uri.scheme_str(), host, uri.port_u16()).await?;
        let offers = request.headers().contains_key(EXTENSIONS_HEADER);
        let wire = if offers {
            DeflateStream::offering_compression(stream)
        } else {
            DeflateStream::without_compression(stream)
        };
        client_async_with_config(request, wire, Some(config)).await
    };
    let opened = tokio::time::timeout(CONNECT_TIMEOUT, connecting).await;
    let (mut socket, _) = match opened {
        Err(_) => return Err(ClientError::Silent(format!("handshake with {ws}"))),
        Ok(Err(Error::Http(answer))) => return Err(parse_refusal(*answer)),
        Ok(Err(error)) => return Err(broken(&error)),
        Ok(Ok(opened)) => opened,
    };
    if by == TokenBy::FirstFrame {
        let frame = serde_json::json!({ "type": "auth", "token": token }).to_string();
        send(&mut socket, Message::text(frame)).await?;
    }
    Ok(socket)
}

fn parse_refusal(answer: tokio_tungstenite::tungstenite::http::Response<Option<Vec<u8>>>) -> ClientError {
    let header = |name: &str| answer.headers().get(name).and_then(|value| value.to_str().ok());
    let retry_after_s = header("retry-after").and_then(|value| value.parse().ok());
    let body = answer.body().as_deref().unwrap_or_default();
    ClientError::Refused {
        status: answer.status().as_u16(),
        body: serde_json::from_slice(body).unwrap_or_default(),
        retry_after_s,
    }
}

/// Sends one message.
pub(crate) async fn send<S>(sink: &mut S, message: Message) -> Result<(), ClientError>
where
    S: Sink<Message, Error = Error> + Unpin,
{
    sink.send(message).await.map_err(|error| ClientError::Broken(error.to_string()))
}

/// Waits for the next message. After `Closed` no more messages come.
pub(crate) async fn next_message<S>(stream: &mut S) -> Incoming
where
    S: Stream<Item = Result<Message, Error>> + Unpin,
{
    match stream.next().await {
        Some(Ok(Message::Text(text))) => Incoming::Text(text.as_str().to_owned()),
        Some(Ok(Message::Close(frame))) => Incoming::Closed(match frame {
            Some(frame) => Closed { code: Some(frame.code.into()), reason: frame.reason.as_str().to_owned() },
            None => Closed { code: None, reason: "empty close frame".to_owned() },
        }),
        Some(Ok(Message::Binary(_))) => {
            Incoming::Closed(Closed { code: None, reason: "the server sent a binary frame".to_owned() })
        }
        Some(Ok(_)) => Incoming::Alive,
        Some(Err(error)) => Incoming::Closed(Closed { code: None, reason: error.to_string() }),
        None => Incoming::Closed(Closed { code: None, reason: "end of stream".to_owned() }),
    }
}

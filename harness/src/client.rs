//! The WebSocket client of tests: sends frames, matches answers by ref, keeps events in order. Touches one connection.
//! The client never retries, reconnects or remembers a cursor: the test does.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex as StdMutex, PoisonError};
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::SplitSink;
use serde_json::{Value, json};
use tokio::sync::{Mutex, mpsc, oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::Message;

use crate::deflate::OFFER;
use crate::frames::{
    Ack, CaughtUp, Connected, Cursor, ErrorFrame, FrameHead, Joined, JoinedRoom, ServerFrame,
};
use crate::names::UserNames;
use socket::{Incoming, WebSocket};

mod commands;
pub(crate) mod socket;
mod wire;

pub use socket::{Closed, TokenBy};

/// How long an answer may take. The server answers with an error after 30 s at the latest.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(40);

/// Why a call of the client failed.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ClientError {
    /// The server answered with an `error` frame.
    #[error("answered with {}: {} (reason {:?}, field {:?})", .0.code, .0.message, .0.reason, .0.field)]
    Answered(Box<ErrorFrame>),
    /// The handshake was refused over HTTP.
    #[error("handshake refused with {status}: {body}")]
    Refused {
        status: u16,
        /// The problem document.
        body: Value,
        retry_after_s: Option<u64>,
    },
    /// The connection ended.
    #[error("closed: {0}")]
    Closed(Closed),
    /// The expected frame did not come in time.
    #[error("nothing came in time: {0}")]
    Silent(String),
    /// The connection broke, or the server violated the protocol.
    #[error("{0}")]
    Broken(String),
}

impl ClientError {
    /// The code of an `error` frame or problem document; empty for other errors.
    pub fn code(&self) -> &str {
        match self {
            ClientError::Answered(error) => &error.code,
            ClientError::Refused { body, .. } => body["code"].as_str().unwrap_or_default(),
            _ => "",
        }
    }

    /// The finer reason of an `error` frame or problem document; empty for other errors.
    pub fn reason(&self) -> &str {
        match self {
            ClientError::Answered(error) => error.reason.as_deref().unwrap_or_default(),
            ClientError::Refused { body, .. } => body["reason"].as_str().unwrap_or_default(),
            _ => "",
        }
    }
}

/// An answer: the parsed frame and its text.
type RawAnswer = (ServerFrame, String);

struct SharedState {
    pending: StdMutex<HashMap<String, oneshot::Sender<RawAnswer>>>,
    closed: watch::Sender<Option<Closed>>,
}

/// One connection of one user.
pub struct Client {
    connected: Option<Connected>,
    outgoing: Mutex<SplitSink<WebSocket, Message>>,
    inbox: Mutex<Inbox>,
    shared: Arc<SharedState>,
    reader: JoinHandle<()>,
    names: UserNames,
    next_ref: AtomicU64,
}

/// Frames that are not answers, in the order of arrival.
struct Inbox {
    held: VecDeque<ServerFrame>,
    incoming: mpsc::UnboundedReceiver<ServerFrame>,
}

impl Client {
    /// Connects with the token in the header and waits for `connected`.
    pub async fn connect(ws: &str, token: &str) -> Result<Client, ClientError> {
        Self::connect_by(TokenBy::Header, ws, token).await
    }

    /// Like [`Client::connect`], but offers compression (permessage-deflate). With `TIDINGS_TEST_DEFLATE=1` in the
    /// environment every client offers it.
    pub async fn connect_deflating(ws: &str, token: &str) -> Result<Client, ClientError> {
        Self::connect_with(TokenBy::Header, ws, token, &[(socket::EXTENSIONS_HEADER, OFFER.to_owned())]).await
    }

    /// Connects and sends the token in this way. Waits for `connected`, except with [`TokenBy::Nothing`].
    pub async fn connect_by(by: TokenBy, ws: &str, token: &str) -> Result<Client, ClientError> {
        Self::connect_with(by, ws, token, &[]).await
    }

    /// Like [`Client::connect_by`], with further headers (`origin`, `sec-websocket-protocol`, …).
    pub async fn connect_with(
        by: TokenBy,
        ws: &str,
        token: &str,
        headers: &[(&'static str, String)],
    ) -> Result<Client, ClientError> {
        let names = UserNames::of_token(token);
        let (outgoing, mut stream) = socket::open(ws, token, by, headers).await?.split();
        let (events, incoming) = mpsc::unbounded_channel();
        let (closed, _) = watch::channel(None);
        let shared = Arc::new(SharedState { pending: StdMutex::default(), closed });
        let reader = tokio::spawn({
            let (shared, names) = (Arc::clone(&shared), names.clone());
            async move {
                let closed = loop {
                    match socket::next_message(&mut stream).await {
                        Incoming::Text(text) => shared.dispatch(names.text_from_wire(text), &events),
                        Incoming::Alive => {}
                        Incoming::Closed(closed) => break closed,
                    }
                };
                // The library answers the server's close frame only while the stream is read.
                while stream.next().await.is_some_and(|message| message.is_ok()) {}
                shared.closed.send_replace(Some(closed));
                shared.pending_answers().clear();
            }
        });
        let inbox = Mutex::new(Inbox { held: VecDeque::new(), incoming });
        let mut client = Client {
            connected: None,
            outgoing: Mutex::new(outgoing),
            inbox,
            shared,
            reader,
            names,
            next_ref: AtomicU64::new(1),
        };
        if by != TokenBy::Nothing {
            client.connected = Some(client.wait_for_connected().await?);
        }
        Ok(client)
    }

    async fn wait_for_connected(&self) -> Result<Connected, ClientError> {
        match self.next_event(ANSWER_TIMEOUT).await? {
            ServerFrame::Connected(connected) => Ok(connected),
            ServerFrame::Error(error) => Err(ClientError::Answered(Box::new(error))),
            other => Err(ClientError::Broken(format!("{other:?} before connected"))),
        }
    }

    /// The `connected` frame of this connection.
    ///
    /// # Panics
    /// When connected by [`TokenBy::Nothing`].
    pub fn connected(&self) -> &Connected {
        self.connected.as_ref().expect("connected with a token")
    }

    /// Sends a frame with a fresh ref and returns its answer, typed and as JSON.
    ///
    /// # Errors
    /// When the answer is `error`, or no answer comes.
    pub async fn ask(&self, mut frame: Value) -> Result<(ServerFrame, Value), ClientError> {
        let reference = self.next_ref.fetch_add(1, Ordering::Relaxed).to_string();
        let kind = frame["type"].as_str().unwrap_or_default().to_owned();
        frame["ref"] = json!(reference);
        let (sender, answer) = oneshot::channel();
        self.shared.pending_answers().insert(reference, sender);
        self.send_text(&frame.to_string()).await?;
        match timeout(ANSWER_TIMEOUT, answer).await {
            Err(_) => Err(ClientError::Silent(format!("answer to {kind}"))),
            Ok(Err(_)) => Err(self.closed_error()),
            Ok(Ok((ServerFrame::Error(error), _))) => Err(ClientError::Answered(Box::new(error))),
            Ok(Ok((frame, text))) => Ok((frame, serde_json::from_str(&text).unwrap_or_default())),
        }
    }

    /// Sends text unchanged, except for the names of users in a shared system.
    pub async fn send_text(&self, text: &str) -> Result<(), ClientError> {
        self.send_message(Message::text(&*self.names.text_to_wire(text))).await
    }

    /// Sends JSON unchanged, without adding a ref.
    pub async fn send_json(&self, frame: &Value) -> Result<(), ClientError> {
        self.send_text(&frame.to_string()).await
    }

    /// Sends any WebSocket message: binary, ping, close, a fragment.
    pub async fn send_message(&self, message: Message) -> Result<(), ClientError> {
        match socket::send(&mut *self.outgoing.lock().await, message).await {
            Ok(()) => Ok(()),
            Err(_) if self.shared.closed.borrow().is_some() => Err(self.closed_error()),
            Err(error) => Err(error),
        }
    }

    /// The next frame that is not an answer.
    ///
    /// # Errors
    /// When no frame comes within `time_limit`, or the connection has ended and all frames were taken.
    pub async fn next_event(&self, time_limit: Duration) -> Result<ServerFrame, ClientError> {
        let mut inbox = self.inbox.lock().await;
        if let Some(frame) = inbox.held.pop_front() {
            return Ok(frame);
        }
        match timeout(time_limit, inbox.incoming.recv()).await {
            Err(_) => Err(ClientError::Silent(format!("no event within {time_limit:?}"))),
            Ok(Some(frame)) => Ok(frame),
            Ok(None) => Err(self.until_closed().await.map_or_else(|error| error, ClientError::Closed)),
        }
    }

    /// The next frame about a room's log: an event, `room:caught_up` or `room:gap`. Live-only frames and notices for
    /// all connections of a user are skipped.
    pub async fn next_of_log(&self, time_limit: Duration) -> Result<ServerFrame, ClientError> {
        let deadline = tokio::time::Instant::now() + time_limit;
        loop {
            let left = deadline.saturating_duration_since(tokio::time::Instant::now());
            let frame = self.next_event(left).await?;
            let aside = [
                "presence",
                "receipt:",
                "typing:",
                "signal",
                "rooms:",
                "room:activity",
                "room:added",
                "room:removed",
            ];
            if !aside.iter().any(|kind| frame.kind().starts_with(kind)) {
                return Ok(frame);
            }
        }
    }

    /// The next frame of this type. Other frames before it stay in the queue, in order.
    pub async fn wait_for(&self, kind: &str, time_limit: Duration) -> Result<ServerFrame, ClientError> {
        let mut inbox = self.inbox.lock().await;
        if let Some(position) = inbox.held.iter().position(|frame| frame.kind() == kind) {
            return inbox.held.remove(position).ok_or_else(|| ClientError::Broken("just found".to_owned()));
        }
        let deadline = tokio::time::Instant::now() + time_limit;
        loop {
            match tokio::time::timeout_at(deadline, inbox.incoming.recv()).await {
                Err(_) => return Err(ClientError::Silent(format!("no {kind} within {time_limit:?}"))),
                Ok(None) => {
                    return Err(self.until_closed().await.map_or_else(|error| error, ClientError::Closed));
                }
                Ok(Some(frame)) if frame.kind() == kind => return Ok(frame),
                Ok(Some(frame)) => inbox.held.push_back(frame),
            }
        }
    }

    /// How the connection ended; `None` while it is open.
    pub fn closed(&self) -> Option<Closed> {
        self.shared.closed.borrow().clone()
    }

    /// Waits until the connection has ended, and returns how.
    ///
    /// # Errors
    /// When the server does not close within 40 s.
    pub async fn until_closed(&self) -> Result<Closed, ClientError> {
        let mut closed = self.shared.closed.subscribe();
        let waiting = closed.wait_for(Option::is_some);
        let found = timeout(ANSWER_TIMEOUT, waiting).await;
        match found {
            Ok(Ok(closed)) => closed.clone().ok_or_else(|| ClientError::Broken("just closed".to_owned())),
            _ => Err(ClientError::Silent("close".to_owned())),
        }
    }

    /// Closes with 1000 and waits for the end.
    ///
    /// # Errors
    /// When the server does not answer the close within 40 s.
    pub async fn close(self) -> Result<(), ClientError> {
        self.send_message(Message::Close(None)).await?;
        self.until_closed().await.map(|_| ())
    }

    fn closed_error(&self) -> ClientError {
        match self.closed() {
            Some(closed) => ClientError::Closed(closed),
            None => ClientError::Broken("the connection is gone".to_owned()),
        }
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        self.reader.abort();
    }
}

impl SharedState {
    fn pending_answers(&self) -> std::sync::MutexGuard<'_, HashMap<String, oneshot::Sender<RawAnswer>>> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Passes an answer to the caller that waits for its ref. Any other frame goes to the queue, also a second answer
    /// to the same ref.
    fn dispatch(&self, text: String, events: &mpsc::UnboundedSender<ServerFrame>) {
        let frame = ServerFrame::parse(&text).unwrap_or_else(|error| {
            ServerFrame::Other(json!({ "not json": text, "error": error.to_string() }))
        });
        let reference = serde_json::from_str::<FrameHead>(&text).ok().and_then(|head| head.reference);
        let waiting = reference.and_then(|reference| self.pending_answers().remove(reference.as_ref()));
        match waiting {
            // The receiver is gone if the test has stopped waiting for the answer.
            Some(waiting) => drop(waiting.send((frame, text))),
            None => drop(events.send(frame)),
        }
    }
}

//! Moves messages between a Socket.IO client and one Engine.IO session, and answers pings.

use std::time::Duration;

use anyhow::ensure;
use tokio::sync::mpsc::{self, UnboundedReceiver, UnboundedSender};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::client::{ClientError, Closed};
use crate::engine_io::{EngineAnswer, EngineMessage, EnginePolling, EngineSocket, PACKET_SEPARATOR};

/// The close code for an internal error.
const INTERNAL_ERROR_CODE: u16 = 1011;
/// Timeout for the answer to a POST. Without it, a POST on a broken connection would hold back all later ones, although
/// polls on other connections still work.
const POST_TIMEOUT: Duration = Duration::from_secs(15);

/// The transport of a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SocketIoTransport {
    WebSocket,
    Polling,
    /// Polling first, then a WebSocket of the same session.
    Upgrade,
}

impl SocketIoTransport {
    pub const ALL: [SocketIoTransport; 3] =
        [SocketIoTransport::WebSocket, SocketIoTransport::Polling, SocketIoTransport::Upgrade];
}

type MessageReceiver = UnboundedReceiver<EngineMessage>;
type MessageSender = UnboundedSender<EngineMessage>;

/// A session of Engine.IO. A task moves its messages until the session ends or the connection is dropped.
pub(super) struct EngineConnection {
    outgoing: MessageSender,
    incoming: MessageReceiver,
    task: JoinHandle<()>,
}

impl EngineConnection {
    /// Opens a session. `bases` are the addresses of the nodes with the path, such as
    /// `http://127.0.0.1:3000/socket.io/`. The handshake goes to the first node. Each later request goes to the next
    /// node, as a balancer without sticky sessions does.
    pub(super) async fn open(
        bases: &[String],
        transport: SocketIoTransport,
    ) -> Result<EngineConnection, ClientError> {
        let base = bases.first().ok_or_else(|| ClientError::Broken("there is no node".to_owned()))?;
        let (outgoing, from_client) = mpsc::unbounded_channel();
        let (to_client, incoming) = mpsc::unbounded_channel();
        if transport == SocketIoTransport::WebSocket {
            let url = base.replacen("http", "ws", 1);
            let mut socket = EngineSocket::open(&format!("{url}?EIO=4&transport=websocket")).await?;
            let open = socket.next().await;
            if !open.text().starts_with('0') {
                return Err(ClientError::Broken(format!("{open:?} in place of an open packet")));
            }
            let task = tokio::spawn(over_socket(socket, from_client, to_client));
            return Ok(EngineConnection { outgoing, incoming, task });
        }
        let broken = |error: anyhow::Error| ClientError::Broken(format!("{base}: {error:#}"));
        let polling = EnginePolling::open(base).await?;
        let sessions: Vec<EnginePolling> = bases.iter().map(|base| polling.at(base)).collect();
        let task = if transport == SocketIoTransport::Upgrade {
            let socket = upgrade(&polling, &sessions[1 % sessions.len()]).await.map_err(broken)?;
            tokio::spawn(over_socket(socket, from_client, to_client))
        } else {
            tokio::spawn(over_polling(sessions, outgoing.clone(), from_client, to_client))
        };
        Ok(EngineConnection { outgoing, incoming, task })
    }

    /// Sends a message. A text begins with its type. [`EngineMessage::Closed`] closes the session.
    pub(super) fn send(&self, message: EngineMessage) {
        // This fails if the connection has ended. Then the next call that waits reports the end.
        let _ = self.outgoing.send(message);
    }

    /// Waits for the next message, or the end. The call may be cancelled.
    pub(super) async fn next(&mut self) -> EngineMessage {
        self.incoming.recv().await.unwrap_or_else(|| EngineMessage::Closed(closed("ended".to_owned())))
    }
}

impl Drop for EngineConnection {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn closed(reason: String) -> Closed {
    Closed { code: None, reason }
}

/// The end of a session that a node refused to continue. An internal error is reported as the close code for it.
fn refused(answer: &EngineAnswer) -> Closed {
    let code = answer.is_internal_error().then_some(INTERNAL_ERROR_CODE);
    Closed { code, reason: format!("{} {}", answer.status, answer.body) }
}

/// Upgrades a session while one of its polls waits, as stock clients do. `at_socket` is the same session at the node
/// that gets the WebSocket.
async fn upgrade(polling: &EnginePolling, at_socket: &EnginePolling) -> anyhow::Result<EngineSocket> {
    let waiting = tokio::spawn({
        let polling = polling.clone();
        async move { polling.get().await }
    });
    let mut socket = EngineSocket::open(&at_socket.socket_url()).await?;
    socket.send("2probe").await?;
    let probe = socket.next().await;
    ensure!(probe.text() == "3probe", "{probe:?}");
    let ended = waiting.await??;
    ensure!(ended.status == 200 && ended.body == "6", "{ended:?}");
    socket.send("5").await?;
    Ok(socket)
}

async fn over_socket(mut socket: EngineSocket, mut outgoing: MessageReceiver, incoming: MessageSender) {
    loop {
        let received = tokio::select! {
            received = socket.next_answering_pings() => received,
            message = outgoing.recv() => {
                let sent = match message {
                    None | Some(EngineMessage::Closed(_)) => return socket.close().await,
                    Some(EngineMessage::Text(packet)) => socket.send(&packet).await,
                    Some(EngineMessage::Binary(bytes)) => socket.send_binary(&bytes).await,
                };
                // Reading reports the end of the connection, with the reason.
                drop(sent);
                continue;
            }
        };
        let ended = matches!(received, EngineMessage::Closed(_));
        let is_message = ended || matches!(received, EngineMessage::Binary(_));
        if (is_message || received.text().starts_with('4')) && incoming.send(received).is_err() || ended {
            return;
        }
    }
}

async fn over_polling(
    sessions: Vec<EnginePolling>,
    to_server: MessageSender,
    outgoing: MessageReceiver,
    incoming: MessageSender,
) {
    let closed = tokio::select! {
        closed = receive_by_polling(&sessions, &to_server, &incoming) => closed,
        closed = send_by_polling(&sessions, outgoing) => closed,
    };
    // This fails if the client is gone.
    let _ = incoming.send(EngineMessage::Closed(closed));
}

/// Polls the nodes in turn until the session ends, and returns the end.
async fn receive_by_polling(
    sessions: &[EnginePolling],
    to_server: &MessageSender,
    incoming: &MessageSender,
) -> Closed {
    // The first node has answered the handshake.
    for session in sessions.iter().cycle().skip(1) {
        let answer = match session.get().await {
            Ok(answer) if answer.status == 200 => answer,
            Ok(answer) => return refused(&answer),
            Err(error) => return closed(error.to_string()),
        };
        for packet in answer.packets() {
            let packet = packet.to_owned();
            let sent = match packet.as_bytes().first().copied() {
                Some(b'1') => return closed("closed by the server".to_owned()),
                Some(b'2') => to_server.send(EngineMessage::Text("3".to_owned())),
                Some(b'4' | b'b') => incoming.send(EngineMessage::Text(packet)),
                _ => Ok(()),
            };
            if sent.is_err() {
                return closed("the client is gone".to_owned());
            }
        }
    }
    closed("there is no node".to_owned())
}

/// Sends the waiting messages as one payload to the nodes in turn, until the session ends. Returns the end.
async fn send_by_polling(sessions: &[EnginePolling], mut outgoing: MessageReceiver) -> Closed {
    let max_bytes = sessions[0].handshake["maxPayload"].as_u64().unwrap_or(u64::MAX);
    let mut next = outgoing.recv().await.map(to_polling);
    for session in sessions.iter().cycle() {
        let Some(mut payload) = next.take() else { break };
        loop {
            match outgoing.try_recv().map(to_polling) {
                Ok(packet) if (payload.len() + 1 + packet.len()) as u64 <= max_bytes => {
                    payload.push(PACKET_SEPARATOR);
                    payload.push_str(&packet);
                }
                Ok(packet) => {
                    next = Some(packet);
                    break;
                }
                Err(_) => break,
            }
        }
        match timeout(POST_TIMEOUT, session.post(&payload)).await {
            Ok(Ok(answer)) if answer.status == 200 => {}
            Ok(Ok(answer)) => return refused(&answer),
            Ok(Err(error)) => return closed(error.to_string()),
            Err(_) => return closed("a POST was not answered in time".to_owned()),
        }
        if next.is_none() {
            next = outgoing.recv().await.map(to_polling);
        }
    }
    closed("the client is gone".to_owned())
}

/// A message as a packet of long polling.
fn to_polling(message: EngineMessage) -> String {
    use base64::Engine as _;
    match message {
        EngineMessage::Text(packet) => packet,
        EngineMessage::Binary(bytes) => {
            format!("b{}", base64::engine::general_purpose::STANDARD.encode(bytes))
        }
        EngineMessage::Closed(_) => "1".to_owned(),
    }
}

//! Moves messages between a Socket.IO client and one Engine.IO session, and answers pings.

use anyhow::ensure;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender};
use tokio::task::JoinHandle;

use crate::client::{ClientError, Closed};
use crate::engine_io::{EngineMessage, EnginePolling, EngineSocket, PACKET_SEPARATOR};

/// The transport of a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SocketIoTransport {
    WebSocket,
    Polling,
    /// Polling first, then a WebSocket of the same session.
    Upgrade,
}

type MessageReceiver = UnboundedReceiver<EngineMessage>;
type MessageSender = UnboundedSender<EngineMessage>;

/// Opens a session, and starts a task that moves messages until the session ends. The last message to the client
/// reports the end.
pub(super) async fn start(
    base: &str,
    via: SocketIoTransport,
    outgoing: MessageReceiver,
    to_server: MessageSender,
    incoming: MessageSender,
) -> Result<JoinHandle<()>, ClientError> {
    let broken = |error: anyhow::Error| ClientError::Broken(format!("{base}: {error:#}"));
    match via {
        SocketIoTransport::WebSocket => {
            let url = base.replacen("http", "ws", 1);
            let mut socket = EngineSocket::open(&format!("{url}?EIO=4&transport=websocket")).await?;
            let open = socket.next().await;
            if !open.text().starts_with('0') {
                return Err(ClientError::Broken(format!("{open:?} in place of an open packet")));
            }
            Ok(tokio::spawn(over_socket(socket, outgoing, incoming)))
        }
        SocketIoTransport::Polling => {
            let polling = EnginePolling::open(base).await.map_err(broken)?;
            Ok(tokio::spawn(async move {
                let reason = tokio::select! {
                    reason = receive_by_polling(&polling, &to_server, &incoming) => reason,
                    reason = send_by_polling(&polling, outgoing) => reason,
                };
                // This fails if the client is gone.
                let _ = incoming.send(EngineMessage::Closed(Closed { code: None, reason }));
            }))
        }
        SocketIoTransport::Upgrade => {
            let polling = EnginePolling::open(base).await.map_err(broken)?;
            let socket = upgrade(&polling).await.map_err(broken)?;
            Ok(tokio::spawn(over_socket(socket, outgoing, incoming)))
        }
    }
}

/// Upgrades a session while one of its polls waits, as stock clients do.
async fn upgrade(polling: &EnginePolling) -> anyhow::Result<EngineSocket> {
    let waiting = tokio::spawn({
        let polling = polling.clone();
        async move { polling.get().await }
    });
    let mut socket = EngineSocket::open(&polling.socket_url()).await?;
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
                    None => return socket.close().await,
                    Some(EngineMessage::Text(packet)) => socket.send(&packet).await,
                    Some(EngineMessage::Binary(bytes)) => socket.send_binary(&bytes).await,
                    Some(EngineMessage::Closed(_)) => Ok(()),
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

/// Polls until the session ends, and returns the reason of the end.
async fn receive_by_polling(
    polling: &EnginePolling,
    to_server: &MessageSender,
    incoming: &MessageSender,
) -> String {
    loop {
        let answer = match polling.get().await {
            Ok(answer) if answer.status == 200 => answer,
            Ok(answer) => return format!("{} {}", answer.status, answer.body),
            Err(error) => return error.to_string(),
        };
        for packet in answer.packets() {
            let packet = packet.to_owned();
            let sent = match packet.as_bytes().first().copied() {
                Some(b'1') => return "closed by the server".to_owned(),
                Some(b'2') => to_server.send(EngineMessage::Text("3".to_owned())),
                Some(b'4' | b'b') => incoming.send(EngineMessage::Text(packet)),
                _ => Ok(()),
            };
            if sent.is_err() {
                return "the client is gone".to_owned();
            }
        }
    }
}

/// Sends all waiting messages as one payload, and repeats this until the session ends. Returns the reason of the end.
async fn send_by_polling(polling: &EnginePolling, mut outgoing: MessageReceiver) -> String {
    let mut waiting = Vec::new();
    while outgoing.recv_many(&mut waiting, 100).await > 0 {
        let packets: Vec<String> = waiting.drain(..).filter_map(to_polling).collect();
        match polling.post(&packets.join(&PACKET_SEPARATOR.to_string())).await {
            Ok(answer) if answer.status == 200 => {}
            Ok(answer) => return format!("{} {}", answer.status, answer.body),
            Err(error) => return error.to_string(),
        }
    }
    "the client is gone".to_owned()
}

/// A message as a packet of long polling.
fn to_polling(message: EngineMessage) -> Option<String> {
    use base64::Engine as _;
    match message {
        EngineMessage::Text(packet) => Some(packet),
        EngineMessage::Binary(bytes) => {
            Some(format!("b{}", base64::engine::general_purpose::STANDARD.encode(bytes)))
        }
        EngineMessage::Closed(_) => None,
    }
}

//! Answers CONNECT packets: checks the namespace and the token, connects, and joins the rooms that the packet names.

use std::{num::NonZeroU32, rc::Rc};

use serde::Deserialize;
use serde_json::{Value, value::RawValue};
use tidings_shared::{
    auth::Reason,
    command_fields::object,
    error::Refusal,
    protocol::{Parsed, client},
};

use tokio::time::Instant;

use super::{
    ConnectedNamespace, SocketIoSession,
    recovery::{self, LostConnection},
};
use crate::{
    client::{Client, ClientTransport},
    commands::{
        self, ConnectionHandle,
        auth::{AdmittedUser, admit, send_connected},
        join,
    },
    limits::Limit,
    request_context::RequestContext,
    socket_io::{
        Namespace, NamespaceSocket,
        dialect::Dialect,
        packet::{PacketKind, SocketIoPacket, append_header},
    },
    transport::{Frame, Session as _},
};

/// The command that joins the rooms of a CONNECT packet, as JSON.
const JOIN_TYPE: &str = r#""room:join""#;

#[derive(Deserialize)]
struct ConnectForm<'a> {
    #[serde(borrow)]
    token: Option<&'a RawValue>,
    #[serde(borrow)]
    room: Option<&'a RawValue>,
    #[serde(borrow)]
    rooms: Option<&'a RawValue>,
}

/// What the JSON of a CONNECT packet asks for.
struct ConnectRequest {
    token: Option<String>,
    /// The join of the rooms in `rooms` or `room`.
    join: Option<Parsed>,
}

impl ConnectRequest {
    /// Reads the JSON object. A token of a wrong type counts as missing. If the object has no token, the token of the
    /// handshake is used.
    fn parse(data: Option<&RawValue>, handshake_token: Option<&str>, max_message_chars: usize) -> Self {
        let json = data.map_or("{}", RawValue::get);
        let Ok(ConnectForm { token, room, rooms }) = object(json) else {
            return Self { token: None, join: None };
        };
        let token = match token {
            Some(token) => serde_json::from_str(token.get()).ok(),
            None => handshake_token.map(ToOwned::to_owned),
        };
        let has_rooms = rooms.or(room).is_some();
        Self { token, join: has_rooms.then(|| parse_join(json, max_message_chars)).flatten() }
    }

    /// Reads the JSON object as a dialect says.
    fn parse_by(
        dialect: &Dialect,
        data: Option<&RawValue>,
        handshake_token: Option<&str>,
        max_message_chars: usize,
    ) -> Self {
        let auth = data.and_then(|data| serde_json::from_str::<Value>(data.get()).ok()).unwrap_or_default();
        let connect = dialect.connect(&auth);
        let join = connect.join.and_then(|object| parse_join(&object.to_string(), max_message_chars));
        Self { token: connect.token.or_else(|| handshake_token.map(ToOwned::to_owned)), join }
    }
}

/// Parses a `room:join` with the fields of this object.
fn parse_join(object: &str, max_message_chars: usize) -> Option<Parsed> {
    let kind: &RawValue = serde_json::from_str(JOIN_TYPE).ok()?;
    Some(client::parse_event(kind, object, max_message_chars))
}

impl SocketIoSession {
    /// Answers a CONNECT packet. A second CONNECT packet for a connected namespace closes the connection.
    pub(super) fn connect(&mut self, packet: &SocketIoPacket<'_>) {
        self.remove_ended();
        let mut connected = self.connected.iter();
        if connected.any(|namespace| namespace.socket.name() == packet.namespace) {
            self.close_as_invalid();
            return;
        }
        let Some(namespace) = self.namespaces.iter().find(|known| known.name() == packet.namespace) else {
            self.shared.connection.send(invalid_namespace(packet.namespace));
            return;
        };
        let max_message_chars = self.worker.node.limits.max_message_chars;
        let token = self.handshake_token.as_deref();
        let request = match namespace.dialect() {
            Some(dialect) => ConnectRequest::parse_by(dialect, packet.data, token, max_message_chars),
            None => ConnectRequest::parse(packet.data, token, max_message_chars),
        };
        let lost = if namespace.recovers() { LostConnection::parse(packet.data) } else { None };
        let namespace: Rc<Namespace> = namespace.clone();
        self.start_connecting(namespace, request, lost);
    }

    fn start_connecting(
        &mut self,
        namespace: Rc<Namespace>,
        request: ConnectRequest,
        lost: Option<LostConnection>,
    ) {
        let socket = NamespaceSocket::new(namespace, self.shared.clone());
        let client = Rc::new(Client::new(ClientTransport::SocketIo(socket.clone())));
        let mut chat = ConnectionHandle { worker: self.worker.clone(), client };
        if let Some(leave_at) = self.leave_at {
            chat.on_draining(leave_at.saturating_duration_since(Instant::now()));
        }
        self.has_connected = true;
        self.worker.node.metrics.socket_io_namespaces.inc();
        let (connecting, connecting_socket) = (chat.clone(), socket.clone());
        chat.spawn_paused(
            async move { finish_connecting(connecting, &connecting_socket, request, lost).await },
        );
        self.connected.push(ConnectedNamespace { socket, chat });
    }
}

/// Checks the token and answers `connected`, or a connect error. The socket turns these frames into packets.
async fn finish_connecting(
    chat: ConnectionHandle,
    socket: &NamespaceSocket,
    ConnectRequest { token, join }: ConnectRequest,
    lost: Option<LostConnection>,
) {
    let context = RequestContext::unobserved(None);
    match admit_by_token(&chat, token).await {
        Ok(admitted) => {
            chat.worker.node.metrics.auths.with_label_values(&["accepted"]).inc();
            let recovered = if socket.recovers() {
                recovery::begin_tracking(&chat, socket, &admitted.identity.user, lost, join.as_ref()).await
            } else {
                None
            };
            send_connected(&chat, &context, admitted);
            match (recovered, join) {
                (Some((target, presence)), _) => {
                    join::run(&chat, context, target, presence);
                }
                (_, Some(join)) => commands::receive(&chat, join),
                _ => {}
            }
        }
        Err(refusal) => chat.refuse(&context, None, &refusal),
    }
}

async fn admit_by_token(chat: &ConnectionHandle, token: Option<String>) -> Result<AdmittedUser, Refusal> {
    let token = token.ok_or(Reason::Missing)?;
    let node = &chat.worker.node;
    let identity = node.verifier.verify_or_fetch(&token).await?;
    // Limits CONNECT packets, because each one reads the account and one connection may send many.
    node.take_tokens_or_refuse(Limit::Commands, &identity.user, NonZeroU32::MIN)?;
    admit(&chat.worker, identity).await
}

/// The answer to a CONNECT packet for a namespace that does not exist.
fn invalid_namespace(name: &str) -> Frame {
    let mut packet: Vec<u8> = Vec::new();
    append_header(&mut packet, PacketKind::ConnectError, 0, name, None);
    packet.extend_from_slice(br#"{"message":"Invalid namespace"}"#);
    Frame::text_for_one(packet)
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use tidings_shared::protocol::{Command, JoinTarget};

    use super::*;

    fn parse(data: &str, handshake_token: Option<&str>) -> ConnectRequest {
        ConnectRequest::parse(serde_json::from_str(data).ok(), handshake_token, 1_000)
    }

    #[test]
    fn token_of_connect_packet_precedes_token_of_handshake() {
        let token = |data, handshake_token| parse(data, handshake_token).token;
        assert_eq!(token(r#"{"token":"a"}"#, Some("b")).as_deref(), Some("a"));
        assert_eq!(token("{}", Some("b")).as_deref(), Some("b"));
        assert_eq!(token(r#"{"token":null}"#, Some("b")).as_deref(), Some("b"));
        assert_eq!(token(r#"{"token":7}"#, Some("b")), None);
        assert_eq!(ConnectRequest::parse(None, None, 1_000).token, None);
    }

    #[test]
    fn rooms_of_connect_packet_are_joined() {
        assert!(parse(r#"{"token":"a"}"#, None).join.is_none());
        let join = parse(r#"{"token":"a","rooms":"mine","presence":false}"#, None).join.unwrap();
        let Ok(Command::Join { target, presence }) = join.frame else { panic!("not a join") };
        assert_eq!((target, presence), (JoinTarget::Mine { after: HashMap::new() }, false));
        assert!(parse(r#"{"rooms":7}"#, None).join.is_some_and(|join| join.frame.is_err()));
    }

    #[test]
    fn unknown_namespace_is_answered_in_that_namespace() {
        let answer = invalid_namespace("/random");
        assert_eq!(answer.payload(), br#"44/random,{"message":"Invalid namespace"}"#);
    }
}

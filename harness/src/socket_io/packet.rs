//! The packets of Socket.IO 5 as text, with the type of the Engine.IO message (`4`) in front. Pure.

use std::fmt;

use serde_json::Value;

/// The type of a packet, which is also its digit on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SocketIoKind {
    Connect,
    Disconnect,
    Event,
    Ack,
    ConnectError,
    BinaryEvent,
    BinaryAck,
}

const KINDS: [SocketIoKind; 7] = [
    SocketIoKind::Connect,
    SocketIoKind::Disconnect,
    SocketIoKind::Event,
    SocketIoKind::Ack,
    SocketIoKind::ConnectError,
    SocketIoKind::BinaryEvent,
    SocketIoKind::BinaryAck,
];

/// One packet.
#[derive(Debug, Clone, PartialEq)]
pub struct SocketIoPacket {
    pub kind: SocketIoKind,
    /// Number of binary messages that follow.
    pub attachments: usize,
    /// The namespace, such as `/` or `/admin`.
    pub namespace: String,
    /// The id of an ack, or of the event that asks for one.
    pub id: Option<u64>,
    /// The content; `null` if there is none.
    pub data: Value,
}

impl SocketIoPacket {
    /// A packet without attachments.
    pub fn new(kind: SocketIoKind, namespace: &str, id: Option<u64>, data: Value) -> SocketIoPacket {
        SocketIoPacket { kind, attachments: 0, namespace: namespace.to_owned(), id, data }
    }

    /// Parses a packet of the server. `None` if the text is not an Engine.IO message or violates the protocol.
    pub fn parse(text: &str) -> Option<SocketIoPacket> {
        let rest = text.strip_prefix('4')?;
        let digit = rest.chars().next()?.to_digit(10)?;
        let kind = *KINDS.get(usize::try_from(digit).ok()?)?;
        let mut rest = &rest[1..];
        let mut attachments = 0;
        if matches!(kind, SocketIoKind::BinaryEvent | SocketIoKind::BinaryAck) {
            let (count, behind) = rest.split_once('-')?;
            (attachments, rest) = (count.parse().ok()?, behind);
        }
        let mut namespace = "/";
        if rest.starts_with('/') {
            (namespace, rest) = rest.split_once(',').unwrap_or((rest, ""));
        }
        let digits = rest.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(rest.len());
        let (id, data) = rest.split_at(digits);
        let id = if id.is_empty() { None } else { Some(id.parse().ok()?) };
        let data = if data.is_empty() { Value::Null } else { serde_json::from_str(data).ok()? };
        Some(SocketIoPacket { kind, attachments, namespace: namespace.to_owned(), id, data })
    }

    /// Takes the argument with this number, from 0; `null` if there is none. The name of an event is its argument 0.
    pub fn take_argument(&mut self, number: usize) -> Value {
        self.data.get_mut(number).map(Value::take).unwrap_or_default()
    }

    /// The name of an event; empty for other packets.
    pub fn event(&self) -> &str {
        let is_event = matches!(self.kind, SocketIoKind::Event | SocketIoKind::BinaryEvent);
        self.data[0].as_str().filter(|_| is_event).unwrap_or_default()
    }
}

impl fmt::Display for SocketIoPacket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digit = KINDS.iter().position(|kind| *kind == self.kind).unwrap_or_default();
        write!(f, "4{digit}")?;
        if matches!(self.kind, SocketIoKind::BinaryEvent | SocketIoKind::BinaryAck) {
            write!(f, "{}-", self.attachments)?;
        }
        if self.namespace != "/" {
            write!(f, "{},", self.namespace)?;
        }
        if let Some(id) = self.id {
            write!(f, "{id}")?;
        }
        if self.data.is_null() { Ok(()) } else { write!(f, "{}", self.data) }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn packet_is_written_and_read_unchanged() {
        for text in [
            r#"40{"sid":"a"}"#,
            "41",
            "41/admin,",
            r#"42["hello",1]"#,
            r#"42/admin,17["hello",{"a":true}]"#,
            r#"4317["ok"]"#,
            r#"44/admin,{"message":"Invalid namespace"}"#,
            r#"451-["file",{"_placeholder":true,"num":0}]"#,
        ] {
            let packet = SocketIoPacket::parse(text).unwrap();
            assert_eq!(packet.to_string(), text);
        }
        let packet = SocketIoPacket::parse(r#"42/admin,17["hello",{"a":true}]"#).unwrap();
        assert_eq!((packet.namespace.as_str(), packet.id, packet.event()), ("/admin", Some(17), "hello"));
        assert_eq!(packet.data[1], json!({"a": true}));
    }

    #[test]
    fn malformed_packet_is_refused() {
        for text in ["", "2", "4", "4x", "47", "42{", "45[]"] {
            assert_eq!(SocketIoPacket::parse(text), None, "{text}");
        }
    }
}

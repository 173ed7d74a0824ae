//! The packets of Socket.IO 5. Message packets of Engine.IO carry them. Their format is
//! `TYPE[ATTACHMENTS-][/NAMESPACE,][ID][JSON]`. Decoding checks what the parser of the reference implementation checks.
//! A decoded packet borrows from its text, so nothing is copied. Pure.

use bytes::BufMut;
use serde_json::value::RawValue;

/// The namespace that every client can connect to. Packets leave its name out.
pub const MAIN_NAMESPACE: &str = "/";
/// Maximum number of binary messages that belong to one packet, as in the reference implementation.
pub const MAX_ATTACHMENTS: usize = 10;
/// Maximum length of a namespace's name, in bytes.
pub const MAX_NAMESPACE_BYTES: usize = 128;
/// Names of events that clients must not send, because libraries give them a meaning of their own.
const RESERVED_EVENTS: [&str; 6] =
    ["connect", "connect_error", "disconnect", "disconnecting", "newListener", "removeListener"];

/// The type of a packet. The value is the digit that the packet begins with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PacketKind {
    Connect = 0,
    Disconnect = 1,
    Event = 2,
    Ack = 3,
    ConnectError = 4,
    BinaryEvent = 5,
    BinaryAck = 6,
}

impl PacketKind {
    const ALL: [Self; 7] = [
        Self::Connect,
        Self::Disconnect,
        Self::Event,
        Self::Ack,
        Self::ConnectError,
        Self::BinaryEvent,
        Self::BinaryAck,
    ];

    fn from_digit(digit: u8) -> Option<Self> {
        Self::ALL.get(usize::from(digit.checked_sub(b'0')?)).copied()
    }

    fn digit(self) -> u8 {
        b'0' + self as u8
    }

    /// Whether binary messages may follow the packet.
    pub fn is_binary(self) -> bool {
        matches!(self, Self::BinaryEvent | Self::BinaryAck)
    }
}

/// A decoded packet.
#[derive(Debug, Clone)]
pub struct SocketIoPacket<'a> {
    pub kind: PacketKind,
    /// Number of binary messages that follow the packet.
    pub attachments: usize,
    pub namespace: &'a str,
    /// The id under which the sender of an event wants an ack, or the id of the event that an ack answers.
    pub id: Option<u64>,
    /// The JSON of a packet that is neither event nor ack: an object, or a string in a connect error.
    pub data: Option<&'a RawValue>,
    /// The arguments of an event or ack. The first argument of an event is the name of the event.
    pub arguments: Vec<&'a RawValue>,
}

/// The reason why a text is not a valid packet. The connection must be closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PacketError {
    #[error("unknown packet type")]
    UnknownKind,
    #[error("the number of attachments is missing or too large")]
    BadAttachments,
    #[error("the name of the namespace is too long")]
    LongNamespace,
    #[error("the id is too large")]
    BadId,
    #[error("the payload does not fit the packet type")]
    BadPayload,
}

/// Decodes the text of a message packet, without the type of the Engine.IO packet.
pub fn decode(text: &str) -> Result<SocketIoPacket<'_>, PacketError> {
    let digit = text.bytes().next().ok_or(PacketError::UnknownKind)?;
    let kind = PacketKind::from_digit(digit).ok_or(PacketError::UnknownKind)?;
    let rest = &text[1..];
    let (attachments, rest) = if kind.is_binary() { split_attachments(rest)? } else { (0, rest) };
    let (namespace, rest) = split_namespace(rest)?;
    let (id, rest) = split_id(rest)?;
    let mut packet = SocketIoPacket { kind, attachments, namespace, id, data: None, arguments: Vec::new() };
    match kind {
        PacketKind::Connect if rest.is_empty() => {}
        PacketKind::Connect => packet.data = Some(parse_data(rest, &['{'])?),
        PacketKind::ConnectError => packet.data = Some(parse_data(rest, &['{', '"'])?),
        PacketKind::Disconnect if rest.is_empty() => {}
        PacketKind::Disconnect => return Err(PacketError::BadPayload),
        PacketKind::Event | PacketKind::BinaryEvent => {
            packet.arguments = parse_arguments(rest)?;
            if !packet.arguments.first().is_some_and(|name| is_event_name(name)) {
                return Err(PacketError::BadPayload);
            }
        }
        PacketKind::Ack | PacketKind::BinaryAck => packet.arguments = parse_arguments(rest)?,
    }
    Ok(packet)
}

/// Splits off the decimal digits at the start of a text.
fn split_digits(text: &str) -> (&str, &str) {
    text.split_at(text.bytes().take_while(u8::is_ascii_digit).count())
}

fn split_attachments(text: &str) -> Result<(usize, &str), PacketError> {
    let (digits, rest) = split_digits(text);
    let attachments = digits.parse::<usize>().ok().filter(|attachments| *attachments <= MAX_ATTACHMENTS);
    let rest = rest.strip_prefix('-').ok_or(PacketError::BadAttachments)?;
    Ok((attachments.ok_or(PacketError::BadAttachments)?, rest))
}

fn split_namespace(text: &str) -> Result<(&str, &str), PacketError> {
    if !text.starts_with('/') {
        return Ok((MAIN_NAMESPACE, text));
    }
    let (namespace, rest) = text.split_once(',').unwrap_or((text, ""));
    if namespace.len() > MAX_NAMESPACE_BYTES {
        return Err(PacketError::LongNamespace);
    }
    Ok((namespace, rest))
}

fn split_id(text: &str) -> Result<(Option<u64>, &str), PacketError> {
    let (digits, rest) = split_digits(text);
    if digits.is_empty() {
        return Ok((None, rest));
    }
    Ok((Some(digits.parse().map_err(|_| PacketError::BadId)?), rest))
}

/// Parses JSON whose first character is one of `starts`.
fn parse_data<'a>(text: &'a str, starts: &[char]) -> Result<&'a RawValue, PacketError> {
    if !text.starts_with(starts) {
        return Err(PacketError::BadPayload);
    }
    serde_json::from_str(text).map_err(|_| PacketError::BadPayload)
}

fn parse_arguments(text: &str) -> Result<Vec<&RawValue>, PacketError> {
    serde_json::from_str(text).map_err(|_| PacketError::BadPayload)
}

/// Whether the first argument of an event is a name that a client may send: a number, or a string that is not reserved.
fn is_event_name(name: &RawValue) -> bool {
    let json = name.get();
    match json.strip_prefix('"') {
        None => json.starts_with(|first: char| first == '-' || first.is_ascii_digit()),
        Some(_) if json.contains('\\') => {
            let name: Result<String, _> = serde_json::from_str(json);
            name.is_ok_and(|name| !is_reserved_event(&name))
        }
        Some(rest) => !is_reserved_event(rest.trim_end_matches('"')),
    }
}

/// Whether libraries give the event with this name a meaning of their own.
pub fn is_reserved_event(name: &str) -> bool {
    RESERVED_EVENTS.contains(&name)
}

/// Appends everything that comes before the JSON of a packet, with the type of the Engine.IO packet in front.
pub fn append_header(
    buffer: &mut dyn BufMut,
    kind: PacketKind,
    attachments: usize,
    namespace: &str,
    id: Option<u64>,
) {
    buffer.put_u8(b'4');
    buffer.put_u8(kind.digit());
    if kind.is_binary() {
        buffer.put_slice(attachments.to_string().as_bytes());
        buffer.put_u8(b'-');
    }
    if namespace != MAIN_NAMESPACE {
        buffer.put_slice(namespace.as_bytes());
        buffer.put_u8(b',');
    }
    if let Some(id) = id {
        buffer.put_slice(id.to_string().as_bytes());
    }
}

#[cfg(test)]
mod tests;

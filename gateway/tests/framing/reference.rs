//! Encodes messages as client frames, and reads frames, with tungstenite.

use std::io::{self, Read, Write};

use proptest::sample::Index;
use tidings_gateway::transport::probe::DecodedEvent;
use tokio_tungstenite::tungstenite::{
    Error, Message, WebSocket,
    protocol::{
        Role, WebSocketConfig,
        frame::{
            Frame, FrameHeader,
            coding::{Control, Data, OpCode},
        },
    },
};

use crate::strategies::{MessageKind, MessageOut};

/// Encodes messages as client frames. Also returns the events that a decoder must return for them.
pub fn encode_messages(messages: &[MessageOut]) -> (Vec<u8>, Vec<DecodedEvent>) {
    let (mut bytes, mut expected) = (Vec::new(), Vec::new());
    for message in messages {
        let mask = message.masks[0];
        let control =
            |opcode, payload: &[u8]| encode_frame(OpCode::Control(opcode), true, false, mask, payload);
        match &message.kind {
            MessageKind::Text(text) => {
                append_fragments(message, Data::Text, text.as_bytes(), &mut bytes, &mut expected);
                expected.push(DecodedEvent::Text(text.clone()));
            }
            MessageKind::Binary(payload) => {
                append_fragments(message, Data::Binary, payload, &mut bytes, &mut expected);
                expected.push(DecodedEvent::Binary(payload.clone()));
            }
            MessageKind::Ping(payload) => {
                bytes.extend(control(Control::Ping, payload));
                expected.push(DecodedEvent::Ping(payload.clone()));
            }
            MessageKind::Pong(payload) => {
                bytes.extend(control(Control::Pong, payload));
                expected.push(DecodedEvent::Pong);
            }
            MessageKind::Close(code, reason) => {
                let payload = [&code.to_be_bytes()[..], reason.as_bytes()].concat();
                bytes.extend(control(Control::Close, &payload));
                expected.push(DecodedEvent::Close(Some(*code)));
            }
        }
    }
    (bytes, expected)
}

/// Appends a message in fragments, optionally with a ping before each further fragment.
fn append_fragments(
    message: &MessageOut,
    opcode: Data,
    payload: &[u8],
    bytes: &mut Vec<u8>,
    expected: &mut Vec<DecodedEvent>,
) {
    let fragments = split_at_cuts(payload, &message.cuts);
    for (number, fragment) in fragments.iter().enumerate() {
        let opcode = OpCode::Data(if number == 0 { opcode } else { Data::Continue });
        let mask = message.masks[number % message.masks.len()];
        if number > 0 && message.ping_between {
            bytes.extend(encode_frame(OpCode::Control(Control::Ping), true, false, mask, b"between"));
            expected.push(DecodedEvent::Ping(b"between".to_vec()));
        }
        bytes.extend(encode_frame(opcode, number + 1 == fragments.len(), false, mask, fragment));
    }
}

fn split_at_cuts<'a>(payload: &'a [u8], cuts: &[Index]) -> Vec<&'a [u8]> {
    let mut ends: Vec<usize> = cuts.iter().map(|cut| cut.index(payload.len() + 1)).collect();
    ends.sort_unstable();
    ends.push(payload.len());
    let mut begin = 0;
    let piece = |end| {
        let piece = &payload[begin..end];
        begin = end;
        piece
    };
    ends.into_iter().map(piece).collect()
}

/// Encodes `payload` as a fragmented, masked text message. `compressed` sets RSV1 on the first fragment; the payload
/// must then be compressed already.
pub fn encode_fragments(payload: &[u8], cuts: &[Index], masks: &[[u8; 4]], compressed: bool) -> Vec<u8> {
    let fragments = split_at_cuts(payload, cuts);
    let mut bytes = Vec::new();
    for (number, fragment) in fragments.iter().enumerate() {
        let opcode = OpCode::Data(if number == 0 { Data::Text } else { Data::Continue });
        let mask = masks[number % masks.len()];
        let marked = compressed && number == 0;
        bytes.extend(encode_frame(opcode, number + 1 == fragments.len(), marked, mask, fragment));
    }
    bytes
}

fn encode_frame(opcode: OpCode, is_final: bool, rsv1: bool, mask: [u8; 4], payload: &[u8]) -> Vec<u8> {
    let header = FrameHeader { is_final, rsv1, opcode, mask: Some(mask), ..FrameHeader::default() };
    let mut bytes = Vec::new();
    Frame::from_payload(header, payload.to_vec().into()).format(&mut bytes).unwrap();
    bytes
}

/// Reads frames with tungstenite, up to a close frame or an error. Returns the events, and the text of the error.
pub fn read_events(
    bytes: &[u8],
    pieces: &[usize],
    role: Role,
    max_bytes: usize,
) -> (Vec<DecodedEvent>, Option<String>) {
    let config = WebSocketConfig::default().max_message_size(Some(max_bytes)).max_frame_size(Some(max_bytes));
    let stream = PiecewiseStream { rest: bytes, pieces: pieces.iter().cycle() };
    let mut socket = WebSocket::from_raw_socket(stream, role, Some(config));
    let mut seen = Vec::new();
    loop {
        match socket.read() {
            Ok(Message::Text(text)) => seen.push(DecodedEvent::Text(text.as_str().to_owned())),
            Ok(Message::Binary(bytes)) => seen.push(DecodedEvent::Binary(bytes.to_vec())),
            Ok(Message::Ping(payload)) => seen.push(DecodedEvent::Ping(payload.to_vec())),
            Ok(Message::Pong(_)) => seen.push(DecodedEvent::Pong),
            Ok(Message::Close(close)) => {
                seen.push(DecodedEvent::Close(close.map(|close| close.code.into())));
                return (seen, None);
            }
            Ok(Message::Frame(_)) => unreachable!("reading returns no raw frames"),
            Err(Error::Io(error)) if error.kind() == io::ErrorKind::WouldBlock => return (seen, None),
            Err(error) => return (seen, Some(error.to_string())),
        }
    }
}

/// A stream whose bytes arrive in pieces. After the last piece, a read would block. Written bytes are dropped.
struct PiecewiseStream<'a> {
    rest: &'a [u8],
    pieces: std::iter::Cycle<std::slice::Iter<'a, usize>>,
}

impl Read for PiecewiseStream<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.rest.is_empty() {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let piece = self.pieces.next().map_or(self.rest.len(), |piece| *piece);
        let count = piece.min(self.rest.len()).min(buffer.len());
        buffer[..count].copy_from_slice(&self.rest[..count]);
        self.rest = &self.rest[count..];
        Ok(count)
    }
}

impl Write for PiecewiseStream<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

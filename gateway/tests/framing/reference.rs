//! The same messages by tungstenite: written with its frames, read with its protocol.

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

use crate::strategies::{Kind, MessageOut};

/// The bytes of these messages, and the events that they mean.
pub fn written(messages: &[MessageOut]) -> (Vec<u8>, Vec<DecodedEvent>) {
    let (mut bytes, mut meant) = (Vec::new(), Vec::new());
    for message in messages {
        let mask = message.masks[0];
        let control = |opcode, payload: &[u8]| frame(OpCode::Control(opcode), true, false, mask, payload);
        match &message.kind {
            Kind::Text(text) => {
                data(message, Data::Text, text.as_bytes(), &mut bytes, &mut meant);
                meant.push(DecodedEvent::Text(text.clone()));
            }
            Kind::Binary(payload) => {
                data(message, Data::Binary, payload, &mut bytes, &mut meant);
                meant.push(DecodedEvent::Binary(payload.clone()));
            }
            Kind::Ping(payload) => {
                bytes.extend(control(Control::Ping, payload));
                meant.push(DecodedEvent::Ping(payload.clone()));
            }
            Kind::Pong(payload) => {
                bytes.extend(control(Control::Pong, payload));
                meant.push(DecodedEvent::Pong);
            }
            Kind::Close(code, reason) => {
                let payload = [&code.to_be_bytes()[..], reason.as_bytes()].concat();
                bytes.extend(control(Control::Close, &payload));
                meant.push(DecodedEvent::Close(Some(*code)));
            }
        }
    }
    (bytes, meant)
}

/// A message in fragments, optionally with a ping between them.
fn data(
    message: &MessageOut,
    opcode: Data,
    payload: &[u8],
    bytes: &mut Vec<u8>,
    meant: &mut Vec<DecodedEvent>,
) {
    let fragments = fragments(payload, &message.cuts);
    for (number, fragment) in fragments.iter().enumerate() {
        let opcode = OpCode::Data(if number == 0 { opcode } else { Data::Continue });
        let mask = message.masks[number % message.masks.len()];
        if number > 0 && message.ping_between {
            bytes.extend(frame(OpCode::Control(Control::Ping), true, false, mask, b"between"));
            meant.push(DecodedEvent::Ping(b"between".to_vec()));
        }
        bytes.extend(frame(opcode, number + 1 == fragments.len(), false, mask, fragment));
    }
}

fn fragments<'a>(payload: &'a [u8], cuts: &[Index]) -> Vec<&'a [u8]> {
    let mut places: Vec<usize> = cuts.iter().map(|cut| cut.index(payload.len() + 1)).collect();
    places.sort_unstable();
    places.push(payload.len());
    let mut begin = 0;
    let piece = |end| {
        let piece = &payload[begin..end];
        begin = end;
        piece
    };
    places.into_iter().map(piece).collect()
}

/// A text's payload in masked fragments; `compressed` marks the first one.
pub fn frames(payload: &[u8], cuts: &[Index], masks: &[[u8; 4]], compressed: bool) -> Vec<u8> {
    let fragments = fragments(payload, cuts);
    let mut bytes = Vec::new();
    for (number, fragment) in fragments.iter().enumerate() {
        let opcode = OpCode::Data(if number == 0 { Data::Text } else { Data::Continue });
        let mask = masks[number % masks.len()];
        let marked = compressed && number == 0;
        bytes.extend(frame(opcode, number + 1 == fragments.len(), marked, mask, fragment));
    }
    bytes
}

fn frame(opcode: OpCode, is_final: bool, rsv1: bool, mask: [u8; 4], payload: &[u8]) -> Vec<u8> {
    let header = FrameHeader { is_final, rsv1, opcode, mask: Some(mask), ..FrameHeader::default() };
    let mut bytes = Vec::new();
    Frame::from_payload(header, payload.to_vec().into()).format(&mut bytes).unwrap();
    bytes
}

/// What tungstenite reads from these bytes, up to a close frame or an error, with its error text.
pub fn read(
    bytes: &[u8],
    pieces: &[usize],
    role: Role,
    max_bytes: usize,
) -> (Vec<DecodedEvent>, Option<String>) {
    let config = WebSocketConfig::default().max_message_size(Some(max_bytes)).max_frame_size(Some(max_bytes));
    let stream = Arriving { rest: bytes, pieces: pieces.iter().cycle() };
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

/// A stream whose bytes arrive in pieces, and then no more. Written bytes are dropped.
struct Arriving<'a> {
    rest: &'a [u8],
    pieces: std::iter::Cycle<std::slice::Iter<'a, usize>>,
}

impl Read for Arriving<'_> {
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

impl Write for Arriving<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

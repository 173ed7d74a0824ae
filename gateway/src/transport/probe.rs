//! Access to the decoder and the compression for fuzz targets and property tests (docs/SECURITY.md), without a socket,
//! a session or a clock. The module is hidden, because it is no part of the transport's interface and no service uses
//! it. Pure: from bytes to decoded events.

use std::ops::ControlFlow;

use bytes::Bytes;

pub use super::decoder::DecoderRules;
use super::{
    decoder::{Decoder, Event},
    deflate::Deflater,
    engine,
    frame::Frame,
    inflate::Inflater,
    outbox::Outbox,
    packet::{self, EnginePacket, PolledPackets},
};

/// The event of one complete frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DecodedEvent {
    Part,
    Text(String),
    Binary(Vec<u8>),
    Ping(Vec<u8>),
    Pong,
    Close(Option<u16>),
}

/// The result of decoding a stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DecodeResult {
    pub events: Vec<DecodedEvent>,
    /// The close code of the violation that ended decoding, if there was one.
    pub violation: Option<u16>,
    /// The maximum number of bytes held for incomplete frames and messages.
    pub held_bytes: usize,
}

/// Decodes client frames that arrive in pieces of these lengths, in a cycle. Without lengths, or for a length of 0, all
/// remaining bytes arrive at once. With `pause`, decoding stops after each frame and continues with the remaining
/// bytes, like for a session that pauses reading.
pub fn decode(rules: DecoderRules, bytes: &[u8], pieces: &[usize], pause: bool) -> DecodeResult {
    let (mut decoder, mut inflater) = (Decoder::default(), Inflater::default());
    let mut result = DecodeResult { events: Vec::new(), violation: None, held_bytes: 0 };
    let (mut rest, mut pieces) = (bytes, pieces.iter().cycle());
    while !rest.is_empty() {
        let length = pieces.next().filter(|length| **length > 0).map_or(rest.len(), |length| *length);
        let (piece, tail) = rest.split_at(length.min(rest.len()));
        rest = tail;
        let mut chunk = piece.to_vec();
        let mut used_bytes = 0;
        while used_bytes < chunk.len() {
            let events = &mut result.events;
            let decoded = decoder.decode(rules, &mut inflater, &|| true, &mut chunk[used_bytes..], |event| {
                events.push(to_decoded_event(event));
                if pause { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
            });
            match decoded {
                Ok(used) => used_bytes += used,
                Err(violation) => {
                    result.violation = Some(violation.code);
                    return result;
                }
            }
        }
        result.held_bytes = result.held_bytes.max(decoder.held_bytes());
    }
    result
}

/// Copies an event, which borrows from the decoder's input, into a value that tests can keep.
pub(crate) fn to_decoded_event(event: Event<'_>) -> DecodedEvent {
    match event {
        Event::Part => DecodedEvent::Part,
        Event::Text(text) => DecodedEvent::Text(text.to_owned()),
        Event::Binary(bytes) => DecodedEvent::Binary(bytes.to_vec()),
        Event::Ping(payload) => DecodedEvent::Ping(payload.to_vec()),
        Event::Pong => DecodedEvent::Pong,
        Event::Close(code) => DecodedEvent::Close(code),
    }
}

/// One inflater for several messages, as on a worker's thread.
#[derive(Default)]
pub struct MessageInflater(Inflater);

impl MessageInflater {
    /// Inflates the payload of a compressed message; `None` if the message was refused.
    pub fn inflate(&mut self, payload: &[u8], max_bytes: usize) -> Option<Vec<u8>> {
        self.0.inflate(payload, max_bytes).ok().map(<[u8]>::to_vec)
    }

    /// The bytes that are kept for the next message.
    pub fn held_bytes(&self) -> usize {
        self.0.held_bytes()
    }
}

/// Compresses the payload of a message. Returns the compressed payload; `None` if it is not shorter.
pub fn deflate(payload: &[u8]) -> Option<Vec<u8>> {
    Deflater::default().deflate(payload).map(<[u8]>::to_vec)
}

/// A packet of Engine.IO.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DecodedPacket {
    Text(String),
    Binary(Vec<u8>),
    /// A packet that is no message.
    Other,
    Invalid,
}

/// Decodes the packets in the body of a POST.
pub fn decode_engine_packets(body: &[u8]) -> Vec<DecodedPacket> {
    let mut packets = PolledPackets::new(Bytes::copy_from_slice(body));
    let mut decoded = Vec::new();
    while let Some(bytes) = packets.take_next() {
        decoded.push(match packet::decode_polled(&bytes, &mut Vec::new()) {
            Ok(EnginePacket::Message(text)) => DecodedPacket::Text(text.to_owned()),
            Ok(EnginePacket::Binary(bytes)) => DecodedPacket::Binary(bytes.to_vec()),
            Ok(_) => DecodedPacket::Other,
            Err(_) => DecodedPacket::Invalid,
        });
    }
    decoded
}

/// Queues the messages as frames, and returns the bodies of the polls that take them, of at most `max_bytes` if each
/// message fits.
pub fn encode_engine_bodies(messages: &[DecodedPacket], max_bytes: usize) -> Vec<Vec<u8>> {
    let mut outbox = Outbox::default();
    for message in messages {
        match message {
            DecodedPacket::Text(text) => outbox.push(Frame::text(format!("4{text}")).into_bytes()),
            DecodedPacket::Binary(bytes) => outbox.push(Frame::binary(bytes).into_bytes()),
            DecodedPacket::Other | DecodedPacket::Invalid => {}
        }
    }
    let mut bodies = Vec::new();
    while !outbox.is_empty() {
        bodies.push(engine::take_packets(&mut outbox, max_bytes));
    }
    bodies
}

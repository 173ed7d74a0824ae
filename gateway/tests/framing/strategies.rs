//! Strategies for random messages, frames and pieces.

use proptest::{prelude::*, sample::Index};

/// Maximum message size, in bytes: it covers all three encodings of a length.
pub const MAX_MESSAGE_BYTES: usize = 70_000;

/// A message of a client, with the cuts between its fragments. With `ping_between`, a ping comes before each further
/// fragment.
#[derive(Debug, Clone)]
pub struct MessageOut {
    pub kind: MessageKind,
    pub cuts: Vec<Index>,
    pub ping_between: bool,
    pub masks: Vec<[u8; 4]>,
}

#[derive(Debug, Clone)]
pub enum MessageKind {
    Text(String),
    Binary(Vec<u8>),
    Ping(Vec<u8>),
    Pong(Vec<u8>),
    Close(u16, String),
}

/// A frame of the server.
#[derive(Debug, Clone)]
pub enum FrameOut {
    Text(String),
    ForOne(String),
    /// Built with this guess of its length.
    With(String, usize),
    Binary(Vec<u8>),
    Ping(Vec<u8>),
    Pong(Vec<u8>),
}

fn any_text() -> impl Strategy<Value = String> {
    prop_oneof![
        8 => "[a-zé€𝄞]{0,40}",
        2 => "[a-zé€𝄞]{100,300}",
        1 => (65_500..66_000usize).prop_map(|length| "x".repeat(length)),
    ]
}

fn any_binary() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        8 => prop::collection::vec(any::<u8>(), 0..200),
        1 => (65_500..66_000usize).prop_map(|length| vec![0xA5; length]),
    ]
}

fn any_control() -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(any::<u8>(), 0..=125)
}

fn any_close() -> impl Strategy<Value = MessageKind> {
    let code = prop::sample::select(vec![1000, 1001, 1002, 1003, 1007, 1008, 1009, 1011, 3000, 4999]);
    (code, "[a-zé]{0,60}").prop_map(|(code, reason)| MessageKind::Close(code, reason))
}

pub fn any_messages() -> impl Strategy<Value = Vec<MessageOut>> {
    let kind = prop_oneof![
        8 => any_text().prop_map(MessageKind::Text),
        4 => any_binary().prop_map(MessageKind::Binary),
        2 => any_control().prop_map(MessageKind::Ping),
        1 => any_control().prop_map(MessageKind::Pong),
        1 => any_close(),
    ];
    let masks = prop::collection::vec(any::<[u8; 4]>(), 1..4);
    let message = (kind, prop::collection::vec(any::<Index>(), 0..5), any::<bool>(), masks)
        .prop_map(|(kind, cuts, ping_between, masks)| MessageOut { kind, cuts, ping_between, masks });
    prop::collection::vec(message, 0..8)
}

pub fn any_frames_out() -> impl Strategy<Value = Vec<FrameOut>> {
    let frame = prop_oneof![
        any_text().prop_map(FrameOut::Text),
        any_text().prop_map(FrameOut::ForOne),
        (any_text(), 0..500usize).prop_map(|(text, guess)| FrameOut::With(text, guess)),
        any_binary().prop_map(FrameOut::Binary),
        any_control().prop_map(FrameOut::Ping),
        any_control().prop_map(FrameOut::Pong),
    ];
    prop::collection::vec(frame, 0..8)
}

/// The lengths of the pieces in which bytes arrive.
pub fn any_pieces() -> impl Strategy<Value = Vec<usize>> {
    let piece = prop_oneof![4 => 1..30usize, 2 => 100..2_000usize, 1 => Just(100_000)];
    prop::collection::vec(piece, 1..6)
}

pub fn any_mutations() -> impl Strategy<Value = Vec<(Index, u8)>> {
    prop::collection::vec((any::<Index>(), any::<u8>()), 0..4)
}

/// Random bytes that often begin like a frame.
pub fn any_bytes() -> impl Strategy<Value = Vec<u8>> {
    let first = prop::sample::select(vec![0x81u8, 0x01, 0x80, 0x82, 0x88, 0x89, 0x8A]);
    let head = (first, 0x80..=0xFFu8).prop_map(|(first, length)| vec![first, length, 0, 0, 0, 0]);
    (prop::option::of(head), prop::collection::vec(any::<u8>(), 0..300))
        .prop_map(|(head, noise)| [head.unwrap_or_default(), noise].concat())
}

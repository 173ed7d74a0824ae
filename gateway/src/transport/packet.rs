//! The packets of Engine.IO 4, over polling and over WebSocket. Pure: from text to packets, without a copy. Only the
//! content of a binary packet, which polling carries in base64, is decoded into a buffer.

use std::str;

use base64::{
    Engine as _, alphabet,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};
use bytes::Bytes;

/// Separates the packets of a polling body.
pub(crate) const SEPARATOR: u8 = 0x1E;
/// The first byte of a binary packet in a polling body. The message in base64 follows.
pub(crate) const BINARY: u8 = b'b';
pub(crate) const PING: &str = "2";
pub(crate) const PROBE: &str = "2probe";
pub(crate) const PROBE_ANSWER: &str = "3probe";
pub(crate) const UPGRADE: &str = "5";
pub(crate) const CLOSE: u8 = b'1';
pub(crate) const NOOP: u8 = b'6';

/// Standard base64. Clients may leave out the padding.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// A packet that a client may send in an open session.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum EnginePacket<'a> {
    Close,
    Pong,
    Message(&'a str),
    Binary(&'a [u8]),
    Upgrade,
    Noop,
}

/// The text is not a packet, or is a packet that only a server may send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct InvalidEnginePacket;

/// Decodes the text of a WebSocket message, or a packet of a polling body that is not binary.
pub(crate) fn decode(text: &str) -> Result<EnginePacket<'_>, InvalidEnginePacket> {
    match text.as_bytes() {
        b"1" => Ok(EnginePacket::Close),
        [b'3', ..] => Ok(EnginePacket::Pong),
        [b'4', ..] => Ok(EnginePacket::Message(&text[1..])),
        b"5" => Ok(EnginePacket::Upgrade),
        b"6" => Ok(EnginePacket::Noop),
        _ => Err(InvalidEnginePacket),
    }
}

/// Decodes a packet of a polling body. `buffer` holds the content of a binary packet.
pub(crate) fn decode_polled<'a>(
    bytes: &'a [u8],
    buffer: &'a mut Vec<u8>,
) -> Result<EnginePacket<'a>, InvalidEnginePacket> {
    if let Some((&BINARY, encoded)) = bytes.split_first() {
        BASE64.decode_vec(encoded, buffer).map_err(|_| InvalidEnginePacket)?;
        return Ok(EnginePacket::Binary(buffer));
    }
    decode(str::from_utf8(bytes).map_err(|_| InvalidEnginePacket)?)
}

/// Appends a binary packet to a polling body.
pub(crate) fn encode_binary(content: &[u8], body: &mut Vec<u8>) {
    body.push(BINARY);
    let start = body.len();
    body.resize(start + base64_bytes(content.len()), 0);
    // The slice has exactly the size of the encoded content.
    let written = BASE64.encode_slice(content, &mut body[start..]).unwrap_or(0);
    body.truncate(start + written);
}

/// The length of padded base64 for content of this length.
pub(crate) fn base64_bytes(content_bytes: usize) -> usize {
    content_bytes.div_ceil(3) * 4
}

/// The packets of a polling body that were not taken yet.
#[derive(Debug)]
pub(crate) struct PolledPackets {
    body: Bytes,
    /// Where the next packet starts; `None` after the last packet.
    next: Option<usize>,
}

impl PolledPackets {
    pub(crate) fn new(body: Bytes) -> PolledPackets {
        PolledPackets { body, next: Some(0) }
    }

    /// The bytes of the next packet. An empty body has one empty packet, which is invalid.
    pub(crate) fn take_next(&mut self) -> Option<Bytes> {
        let start = self.next?;
        let length = self.body[start..].iter().position(|byte| *byte == SEPARATOR);
        let end = length.map_or(self.body.len(), |length| start + length);
        self.next = length.map(|_| end + 1);
        Some(self.body.slice(start..end))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packets(body: &'static str) -> Vec<Bytes> {
        let mut packets = PolledPackets::new(Bytes::from_static(body.as_bytes()));
        std::iter::from_fn(|| packets.take_next()).collect()
    }

    #[test]
    fn text_packets_are_decoded_by_their_first_byte() {
        assert_eq!(decode("4hello"), Ok(EnginePacket::Message("hello")));
        assert_eq!(decode("4"), Ok(EnginePacket::Message("")));
        assert_eq!(decode("1"), Ok(EnginePacket::Close));
        assert_eq!(decode("3"), Ok(EnginePacket::Pong));
        assert_eq!(decode("3probe"), Ok(EnginePacket::Pong));
        assert_eq!(decode("5"), Ok(EnginePacket::Upgrade));
        assert_eq!(decode("6"), Ok(EnginePacket::Noop));
        for invalid in ["", "abc", "0{}", "2", "2probe", "7", "1x", "bAQID", "é"] {
            assert_eq!(decode(invalid), Err(InvalidEnginePacket), "{invalid:?}");
        }
    }

    #[test]
    fn binary_packet_is_base64_with_or_without_padding() {
        let mut buffer = Vec::new();
        for encoded in ["bAQIDBA==", "bAQIDBA"] {
            buffer.clear();
            let decoded = decode_polled(encoded.as_bytes(), &mut buffer);
            assert_eq!(decoded, Ok(EnginePacket::Binary(&[1, 2, 3, 4])), "{encoded}");
        }
        for invalid in ["b!", "bA", "bAQID\n"] {
            assert_eq!(
                decode_polled(invalid.as_bytes(), &mut Vec::new()),
                Err(InvalidEnginePacket),
                "{invalid:?}"
            );
        }
        assert_eq!(decode_polled(b"4\xFF", &mut Vec::new()), Err(InvalidEnginePacket), "text is UTF-8");
    }

    #[test]
    fn encoded_binary_packet_decodes_to_its_content() {
        for length in 0..=9u8 {
            let content: Vec<u8> = (0..length).collect();
            let (mut body, mut buffer) = (b"4x\x1E".to_vec(), Vec::new());
            encode_binary(&content, &mut body);
            assert_eq!(body.len(), 3 + 1 + base64_bytes(content.len()));
            assert_eq!(decode_polled(&body[3..], &mut buffer), Ok(EnginePacket::Binary(&content)));
        }
    }

    #[test]
    fn body_is_split_at_separators() {
        assert_eq!(packets("4a\u{1e}4b\u{1e}3"), ["4a", "4b", "3"]);
        assert_eq!(packets("4a"), ["4a"]);
        assert_eq!(packets(""), [""]);
        assert_eq!(packets("4a\u{1e}"), ["4a", ""]);
    }
}

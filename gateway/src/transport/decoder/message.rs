//! Collects a data message until it is complete, inflates it if it is compressed and wanted, and checks that a text is
//! UTF-8. Pure, like the decoder.

use std::str;

use super::{DecoderRules, Event, Header, Inflater, Opcode, Violation, close_code};

/// The violation of a text message that is not UTF-8.
pub(super) const NOT_UTF_8: Violation =
    Violation { code: close_code::INVALID_TEXT, reason: "text is not UTF-8" };

/// A message that has not arrived completely: the header of its first frame, and its unmasked payload so far.
pub(super) struct OpenMessage {
    pub header: Header,
    pub payload: Vec<u8>,
    /// Number of bytes at the front of a text's payload that are valid UTF-8.
    valid_bytes: usize,
}

impl OpenMessage {
    pub(super) fn new(header: Header) -> OpenMessage {
        OpenMessage { header, payload: Vec::new(), valid_bytes: 0 }
    }

    /// Appends a piece. Fails as soon as the text cannot become valid UTF-8.
    pub(super) fn append(&mut self, piece: &[u8]) -> Result<(), Violation> {
        self.payload.extend_from_slice(piece);
        if self.header.opcode == Opcode::Text && !self.header.compressed {
            self.valid_bytes = match str::from_utf8(&self.payload[self.valid_bytes..]) {
                Ok(_) => self.payload.len(),
                Err(error) if error.error_len().is_none() => self.valid_bytes + error.valid_up_to(),
                Err(_) => return Err(NOT_UTF_8),
            };
        }
        Ok(())
    }
}

/// The event of a complete message. `header` is the header of the message's first frame. If `wanted` returns false, a
/// compressed message is not inflated, and its event is [`Event::Part`].
pub(super) fn message_event<'a>(
    header: &Header,
    rules: DecoderRules,
    inflater: &'a mut Inflater,
    wanted: &impl Fn() -> bool,
    payload: &'a [u8],
) -> Result<Event<'a>, Violation> {
    let payload = if header.compressed {
        if !wanted() {
            return Ok(Event::Part);
        }
        inflater.inflate(payload, rules.max_message_bytes)?
    } else {
        payload
    };
    if header.opcode == Opcode::Text {
        // Also refuses a text that ends in the middle of a character.
        Ok(Event::Text(str::from_utf8(payload).map_err(|_| NOT_UTF_8)?))
    } else {
        Ok(Event::Binary(payload))
    }
}

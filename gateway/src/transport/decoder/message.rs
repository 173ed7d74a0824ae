//! A data message: gathered while it is not whole, then inflated when it was compressed and is wanted, then
//! found to be UTF-8 when it is text. Pure, as the decoder is.

use std::str;

use super::{super::inflate::InflateError, Event, Header, Inflater, Opcode, Rules, Violation, close_code};

pub(super) const NOT_UTF_8: Violation =
    Violation { code: close_code::INVALID_TEXT, reason: "text is not UTF-8" };
/// Told apart from a message that is too big as it is: who sends such a thing means it.
pub(crate) const BOMB: Violation =
    Violation { code: close_code::TOO_BIG, reason: "message too big once inflated" };
/// 1007, as for text that is no text: what came is not what its frame says. Nothing in the RFC names a code.
const NO_DEFLATE: Violation =
    Violation { code: close_code::INVALID_TEXT, reason: "not a whole DEFLATE stream of its own" };

/// A message not all of whose payload has arrived.
pub(super) struct OpenMessage {
    /// Of its first frame.
    header: Header,
    payload: Vec<u8>,
    /// How much of a text's payload is known to be UTF-8.
    valid_bytes: usize,
}

impl OpenMessage {
    pub(super) fn new(header: Header) -> OpenMessage {
        OpenMessage { header, payload: Vec::new(), valid_bytes: 0 }
    }

    pub(super) fn payload_bytes(&self) -> usize {
        self.payload.len()
    }

    /// The room taken for it: a little more than has arrived.
    pub(super) fn held_bytes(&self) -> usize {
        self.payload.capacity()
    }

    pub(super) fn is_compressed(&self) -> bool {
        self.header.compressed
    }

    /// Appends, and refuses as soon as a text cannot become UTF-8 whatever follows.
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

    pub(super) fn event<'a>(
        &'a self,
        rules: Rules,
        inflater: &'a mut Inflater,
        wanted: &impl Fn() -> bool,
    ) -> Result<Event<'a>, Violation> {
        event(&self.header, rules, inflater, wanted, &self.payload)
    }
}

/// What a whole message says. `header` is that of its first frame.
pub(super) fn event<'a>(
    header: &Header,
    rules: Rules,
    inflater: &'a mut Inflater,
    wanted: &impl Fn() -> bool,
    payload: &'a [u8],
) -> Result<Event<'a>, Violation> {
    let payload = if header.compressed {
        if !wanted() {
            return Ok(Event::Part);
        }
        inflater.inflate(payload, rules.max_message_bytes).map_err(|error| match error {
            InflateError::TooBig => BOMB,
            InflateError::Broken => NO_DEFLATE,
        })?
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

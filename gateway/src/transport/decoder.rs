//! Decodes the bytes of one client into messages, in chunks of any size. The decoder is pure and owns no socket. It
//! holds memory only while a frame or message is incomplete, and no more than the bytes that arrived.
//! `max_message_bytes` is checked before anything is stored. A compressed message is collected compressed, and inflated
//! when it is complete. Events and errors depend only on the bytes, not on how the bytes were split. After a violation,
//! the decoder must not be used again.

mod message;

use std::{ops::ControlFlow, str};

use super::{
    frame::{MAX_CONTROL_PAYLOAD_BYTES, close_code},
    header::{self, Header, MAX_HEADER_BYTES, Opcode, Violation},
    inflate::Inflater,
};
use message::OpenMessage;

/// The limits and the accepted features of a decoder.
#[derive(Debug, Clone, Copy)]
pub struct DecoderRules {
    /// Maximum payload of a message with all its fragments, in bytes.
    pub max_message_bytes: usize,
    pub accept_binary: bool,
    pub deflate: bool,
}

impl DecoderRules {
    /// Maximum payload of a message on the wire. DEFLATE may enlarge incompressible data a little: usually by 5 bytes
    /// per 16 KiB block, in the worst case by 5 bytes per smaller block.
    fn max_payload_bytes(self, compressed: bool) -> usize {
        let overhead = if compressed { self.max_message_bytes / 128 + 64 } else { 0 };
        self.max_message_bytes + overhead
    }
}

/// The event of a complete frame. Each frame has exactly one event; the last frame of a message has the whole message.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Event<'a> {
    /// A fragment that does not end its message, or a compressed message that was skipped.
    Part,
    Text(&'a str),
    Binary(&'a [u8]),
    Ping(&'a [u8]),
    Pong,
    /// The peer's close frame, already validated, with its code; `None` if the frame has no code.
    Close(Option<u16>),
}

/// The decoder of one connection. Between messages it holds only a null pointer.
#[derive(Default)]
pub(crate) struct Decoder {
    pending: Option<Box<PartialInput>>,
}

/// The state of an incomplete frame or message.
#[derive(Default)]
struct PartialInput {
    header: [u8; MAX_HEADER_BYTES],
    header_bytes: usize,
    frame: Option<OpenFrame>,
    message: Option<OpenMessage>,
    control: Vec<u8>,
}

struct OpenFrame {
    header: Header,
    seen_bytes: usize,
}

impl Decoder {
    /// Decodes `chunk`, which is unmasked in place, and calls `each` for every frame, until the chunk is used up or
    /// `each` breaks. Returns how many bytes were used. While `wanted` returns false, compressed messages are skipped
    /// without inflating them, because inflating costs far more than skipping.
    pub(crate) fn decode(
        &mut self,
        rules: DecoderRules,
        inflater: &mut Inflater,
        wanted: &impl Fn() -> bool,
        chunk: &mut [u8],
        mut each: impl FnMut(Event<'_>) -> ControlFlow<()>,
    ) -> Result<usize, Violation> {
        let mut used = 0;
        while used < chunk.len() {
            let (step, flow) = self.decode_step(rules, inflater, wanted, &mut chunk[used..], &mut each)?;
            used += step;
            if self.pending.as_ref().is_some_and(|pending| pending.is_done()) {
                self.pending = None;
            }
            if flow.is_break() {
                break;
            }
        }
        Ok(used)
    }

    /// Whether no frame or message is incomplete, so that the decoder holds no memory.
    #[cfg(test)]
    fn is_empty(&self) -> bool {
        self.pending.is_none()
    }

    /// The bytes held for incomplete frames and messages.
    pub(crate) fn held_bytes(&self) -> usize {
        self.pending.as_ref().map_or(0, |pending| {
            // The capacity is the allocated size, which is a little more than the bytes that arrived.
            pending.control.capacity()
                + pending.message.as_ref().map_or(0, |message| message.payload.capacity())
        })
    }

    /// Reads a header, a payload, or a part of either.
    fn decode_step(
        &mut self,
        rules: DecoderRules,
        inflater: &mut Inflater,
        wanted: &impl Fn() -> bool,
        input: &mut [u8],
        each: &mut impl FnMut(Event<'_>) -> ControlFlow<()>,
    ) -> Result<(usize, ControlFlow<()>), Violation> {
        if let Some(pending) = &mut self.pending
            && pending.frame.is_some()
        {
            return pending.take_payload(rules, inflater, wanted, input, each);
        }
        let (header, used) = match self.take_header(rules, input)? {
            (Some(header), used) => (header, used),
            (None, used) => return Ok((used, ControlFlow::Continue(()))),
        };
        self.check_header(rules, &header)?;

        let input = &mut input[used..];
        let is_unfragmented =
            header.opcode.is_control() || (header.fin && header.opcode != Opcode::Continuation);
        if is_unfragmented && input.len() >= header.payload_bytes {
            // The common case: the chunk holds a complete message, which is passed on without a copy.
            let payload = &mut input[..header.payload_bytes];
            header::unmask(payload, header.mask, 0);
            let event = match header.opcode {
                Opcode::Text | Opcode::Binary => {
                    message::message_event(&header, rules, inflater, wanted, payload)?
                }
                control => control_event(control, payload)?,
            };
            return Ok((used + header.payload_bytes, each(event)));
        }
        let pending = self.pending.get_or_insert_default();
        pending.begin_frame(header);
        let (payload_used, flow) = pending.take_payload(rules, inflater, wanted, input, each)?;
        Ok((used + payload_used, flow))
    }

    /// Reads the next header from `input`; `None` if the header is still incomplete. Also returns how many bytes of
    /// `input` belong to it.
    fn take_header(
        &mut self,
        rules: DecoderRules,
        input: &[u8],
    ) -> Result<(Option<Header>, usize), Violation> {
        let begun = self.pending.as_ref().map_or(0, |pending| pending.header_bytes);
        if begun == 0 {
            if let Some((header, used)) = header::parse(input, rules.deflate)? {
                return Ok((Some(header), used));
            }
            let pending = self.pending.get_or_insert_default();
            pending.header[..input.len()].copy_from_slice(input);
            pending.header_bytes = input.len();
            return Ok((None, input.len()));
        }
        let pending = self.pending.get_or_insert_default();
        for (used, byte) in input.iter().enumerate() {
            pending.header[pending.header_bytes] = *byte;
            pending.header_bytes += 1;
            let header = &pending.header[..pending.header_bytes];
            if let Some((header, _)) = header::parse(header, rules.deflate)? {
                pending.header_bytes = 0;
                return Ok((Some(header), used + 1));
            }
        }
        Ok((None, input.len()))
    }

    /// Checks what [`header::parse`] cannot check: the order of fragments, the size limit, and the accepted types.
    fn check_header(&self, rules: DecoderRules, header: &Header) -> Result<(), Violation> {
        let message = self.pending.as_ref().and_then(|pending| pending.message.as_ref());
        match (header.opcode, message) {
            (Opcode::Close | Opcode::Ping | Opcode::Pong, _) => return Ok(()),
            (Opcode::Continuation, None) => {
                return Err(Violation::protocol("a continuation without a message"));
            }
            (Opcode::Text | Opcode::Binary, Some(_)) => {
                return Err(Violation::protocol("a new message within a fragmented one"));
            }
            (Opcode::Binary, None) if !rules.accept_binary => {
                return Err(Violation {
                    code: close_code::UNSUPPORTED,
                    reason: "binary messages are not accepted",
                });
            }
            _ => {}
        }
        let so_far = message.map_or(0, |message| message.payload.len());
        let compressed = message.map_or(header.compressed, |message| message.header.compressed);
        if header.payload_bytes > rules.max_payload_bytes(compressed).saturating_sub(so_far) {
            return Err(Violation { code: close_code::TOO_BIG, reason: "message too big" });
        }
        Ok(())
    }
}

impl PartialInput {
    fn is_done(&self) -> bool {
        self.header_bytes == 0 && self.frame.is_none() && self.message.is_none()
    }

    fn begin_frame(&mut self, header: Header) {
        if matches!(header.opcode, Opcode::Text | Opcode::Binary) {
            self.message = Some(OpenMessage::new(header));
        }
        self.frame = Some(OpenFrame { header, seen_bytes: 0 });
    }

    /// Takes the part of the open frame's payload that is in `input`. Calls `each` if the frame is then complete.
    fn take_payload(
        &mut self,
        rules: DecoderRules,
        inflater: &mut Inflater,
        wanted: &impl Fn() -> bool,
        input: &mut [u8],
        each: &mut impl FnMut(Event<'_>) -> ControlFlow<()>,
    ) -> Result<(usize, ControlFlow<()>), Violation> {
        let Some(frame) = &mut self.frame else { return Ok((0, ControlFlow::Continue(()))) };
        let header = frame.header;
        let used = input.len().min(header.payload_bytes - frame.seen_bytes);
        let piece = &mut input[..used];
        header::unmask(piece, header.mask, frame.seen_bytes);
        frame.seen_bytes += used;
        let complete = frame.seen_bytes == header.payload_bytes;
        if complete {
            self.frame = None;
        }

        if header.opcode.is_control() {
            debug_assert!(self.control.len() + used <= MAX_CONTROL_PAYLOAD_BYTES);
            self.control.extend_from_slice(piece);
            if complete {
                let payload = std::mem::take(&mut self.control);
                return Ok((used, each(control_event(header.opcode, &payload)?)));
            }
            return Ok((used, ControlFlow::Continue(())));
        }
        let Some(message) = &mut self.message else { return Ok((used, ControlFlow::Continue(()))) };
        message.append(piece)?;
        if !complete {
            return Ok((used, ControlFlow::Continue(())));
        }
        if !header.fin {
            return Ok((used, each(Event::Part)));
        }
        let Some(message) = self.message.take() else { return Ok((used, ControlFlow::Continue(()))) };
        let event = message::message_event(&message.header, rules, inflater, wanted, &message.payload)?;
        Ok((used, each(event)))
    }
}

fn control_event(opcode: Opcode, payload: &[u8]) -> Result<Event<'_>, Violation> {
    match opcode {
        Opcode::Ping => Ok(Event::Ping(payload)),
        Opcode::Close => close_event(payload),
        _ => Ok(Event::Pong),
    }
}

fn close_event(payload: &[u8]) -> Result<Event<'_>, Violation> {
    let Some((code, reason)) = payload.split_first_chunk() else {
        return if payload.is_empty() {
            Ok(Event::Close(None))
        } else {
            Err(Violation::protocol("a close code has two bytes"))
        };
    };
    let code = u16::from_be_bytes(*code);
    if !close_code::may_be_received(code) {
        return Err(Violation::protocol("a close code that must not be sent"));
    }
    match str::from_utf8(reason) {
        Ok(_) => Ok(Event::Close(Some(code))),
        Err(_) => Err(Violation { code: close_code::INVALID_TEXT, reason: "close reason is not UTF-8" }),
    }
}

#[cfg(test)]
mod tests;

//! One namespace on one worker, and the translation of the protocol's frames into its packets. A frame `{"type":T,…}`
//! becomes the event T with the frame as its only argument. The answer to an event with an ack id becomes an ack. A
//! frame for many connections is translated once, because the namespace keeps its last translation. Pure.

use std::{cell::RefCell, rc::Rc, sync::Arc};

use bytes::Bytes;

use super::{
    dialect::{Dialect, DialectPacket},
    packet::{PacketKind, append_header},
    translation::{NamespaceDialect, is_same_buffer},
};
use crate::transport::{Frame, FrameRun};

/// The start of every frame of the server.
const TYPE_START: &[u8] = br#"{"type":""#;
/// The text between the type and the `ref` of an answer.
const REFERENCE_START: &[u8] = br#","ref":""#;
/// Length of the `ref` of a command whose answer becomes an ack. Longer than every `ref` of a client, so that the two
/// cannot be confused.
const REFERENCE_CHARS: usize = 70;
/// Maximum number of bytes that a translation adds, without the names of the event and the namespace.
const EXTRA_BYTES: usize = 32;

/// The `ref` of the command of an event with this ack id.
pub(crate) fn ack_reference(id: u64) -> String {
    format!("{id:0>REFERENCE_CHARS$}")
}

/// The type of a frame, and the text behind the type's closing quote.
fn split_type(payload: &[u8]) -> (&[u8], &[u8]) {
    let rest = payload.strip_prefix(TYPE_START).unwrap_or_default();
    rest.split_at(rest.iter().position(|byte| *byte == b'"').unwrap_or(rest.len()))
}

/// If the frame answers an event with an ack id: the id, and the text behind the `ref`.
fn split_reference(after_type: &[u8]) -> Option<(u64, &[u8])> {
    let rest = after_type.strip_prefix(b"\"")?.strip_prefix(REFERENCE_START)?;
    let (reference, rest) = rest.split_at_checked(REFERENCE_CHARS)?;
    let id = std::str::from_utf8(reference).ok()?.parse().ok()?;
    Some((id, rest.strip_prefix(b"\"")?))
}

/// A namespace on one worker.
pub struct Namespace {
    name: Box<str>,
    /// The last frame that was sent to many connections, and its translation. Keeping the frame also keeps its bytes
    /// at their address, by which the frame is recognized.
    frame: RefCell<Option<(Frame, Frame)>>,
    /// The bytes of the last run, and its translation.
    run: RefCell<Option<(Bytes, Rc<FrameRun>)>>,
    /// How frames are translated in place of the plain translation.
    pub(super) dialect: Option<NamespaceDialect>,
}

impl Namespace {
    pub fn new(name: &str, dialect: Option<Arc<Dialect>>) -> Rc<Self> {
        let dialect = dialect.map(NamespaceDialect::new);
        Rc::new(Self { name: name.into(), frame: RefCell::default(), run: RefCell::default(), dialect })
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    /// The dialect of the application whose clients connect here.
    pub fn dialect(&self) -> Option<&Dialect> {
        self.dialect.as_ref().map(|namespace| &*namespace.dialect)
    }

    /// The payload of a packet of a dialect.
    pub(super) fn encode(&self, packet: &DialectPacket) -> Vec<u8> {
        let kind = if packet.ack.is_some() { PacketKind::Ack } else { PacketKind::Event };
        let mut buffer = Vec::with_capacity(self.name.len() + EXTRA_BYTES + packet.json.len());
        append_header(&mut buffer, kind, 0, &self.name, packet.ack);
        buffer.extend_from_slice(packet.json.as_bytes());
        buffer
    }

    /// A packet without an id, whose JSON is in these parts.
    pub(super) fn packet(&self, kind: PacketKind, parts: &[&[u8]]) -> Frame {
        let length: usize = parts.iter().map(|part| part.len()).sum();
        Frame::text_with(self.name.len() + EXTRA_BYTES + length, |buffer| {
            append_header(buffer, kind, 0, &self.name, None);
            parts.iter().for_each(|part| buffer.put_slice(part));
        })
    }

    /// Translates a frame for one connection: an ack if the frame answers an event with an ack id, else an event.
    pub(super) fn translate(&self, payload: &[u8]) -> Frame {
        let (name, after_type) = split_type(payload);
        let Some((id, rest)) = split_reference(after_type) else {
            return self.packet(PacketKind::Event, &[b"[\"", name, b"\",", payload, b"]"]);
        };
        Frame::text_with(self.name.len() + EXTRA_BYTES + payload.len(), |buffer| {
            append_header(buffer, PacketKind::Ack, 0, &self.name, Some(id));
            for part in [b"[".as_slice(), TYPE_START, name, b"\"", rest, b"]"] {
                buffer.put_slice(part);
            }
        })
    }

    /// Translates a frame that other connections also get.
    pub(super) fn translate_shared(&self, frame: &Frame) -> Frame {
        let mut last = self.frame.borrow_mut();
        if let Some((source, translated)) = &*last
            && is_same_buffer(&source.bytes, &frame.bytes)
            && source.immediate == frame.immediate
        {
            return translated.clone();
        }
        let translated = Frame::text(self.event(frame.payload()));
        let translated = if frame.immediate { translated.to_immediate() } else { translated };
        *last = Some((frame.clone(), translated.clone()));
        translated
    }

    /// Translates a run that other connections also get.
    pub(super) fn translate_run(&self, run: &FrameRun) -> Rc<FrameRun> {
        let mut last = self.run.borrow_mut();
        if let Some((source, translated)) = &*last
            && is_same_buffer(source, run.bytes())
        {
            return translated.clone();
        }
        let events: Vec<Vec<u8>> = run.frames().iter().map(|frame| self.event(frame.payload())).collect();
        let translated = Rc::new(FrameRun::text(events.iter().map(Vec::as_slice)));
        *last = Some((run.bytes().clone(), translated.clone()));
        translated
    }

    /// A frame as an event.
    fn event(&self, payload: &[u8]) -> Vec<u8> {
        let (name, _) = split_type(payload);
        let mut buffer = Vec::with_capacity(self.name.len() + EXTRA_BYTES + name.len() + payload.len());
        append_header(&mut buffer, PacketKind::Event, 0, &self.name, None);
        for part in [b"[\"".as_slice(), name, b"\",", payload, b"]"] {
            buffer.extend_from_slice(part);
        }
        buffer
    }

    /// A JSON value as the event `name`.
    pub(super) fn named_event(&self, name: &str, value: &serde_json::Value) -> Frame {
        self.packet(PacketKind::Event, &[b"[\"", name.as_bytes(), b"\",", value.to_string().as_bytes(), b"]"])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(frame: &Frame) -> &str {
        std::str::from_utf8(frame.payload()).unwrap()
    }

    #[test]
    fn frame_becomes_event_with_the_whole_frame() {
        let frame = br#"{"type":"message:new","room":"a","content":"\"ref\":\"x\""}"#;
        let of = |name: &str| text(&Namespace::new(name, None).translate(frame)).to_owned();
        let json = std::str::from_utf8(frame).unwrap();
        assert_eq!(of("/"), format!(r#"42["message:new",{json}]"#));
        assert_eq!(of("/admin"), format!(r#"42/admin,["message:new",{json}]"#));
        assert_eq!(Namespace::new("/", None).event(frame), of("/").as_bytes());
    }

    #[test]
    fn answer_with_ack_id_becomes_ack_without_ref() {
        let reference = ack_reference(456);
        let namespace = Namespace::new("/", None);
        let ok = format!(r#"{{"type":"ok","ref":"{reference}"}}"#);
        assert_eq!(text(&namespace.translate(ok.as_bytes())), r#"43456[{"type":"ok"}]"#);
        let ack = format!(r#"{{"type":"ack","ref":"{reference}","room":"a","seq":7}}"#);
        assert_eq!(text(&namespace.translate(ack.as_bytes())), r#"43456[{"type":"ack","room":"a","seq":7}]"#);
        let largest = format!(r#"{{"type":"ok","ref":"{}"}}"#, ack_reference(u64::MAX));
        assert!(text(&namespace.translate(largest.as_bytes())).starts_with(&format!("43{}[", u64::MAX)));
        let own = r#"{"type":"ok","ref":"456"}"#;
        assert_eq!(text(&namespace.translate(own.as_bytes())), r#"42["ok",{"type":"ok","ref":"456"}]"#);
    }

    #[test]
    fn shared_frame_and_run_are_translated_once() {
        let namespace = Namespace::new("/", None);
        let frame = Frame::text(r#"{"type":"message:new","room":"a"}"#);
        let first = namespace.translate_shared(&frame);
        assert_eq!(text(&first), r#"42["message:new",{"type":"message:new","room":"a"}]"#);
        assert!(is_same_buffer(&first.bytes, &namespace.translate_shared(&frame.clone()).bytes));
        let immediate = namespace.translate_shared(&frame.to_immediate());
        assert!(immediate.immediate && !first.immediate);
        let other = Frame::text(r#"{"type":"message:new","room":"b"}"#);
        assert!(!is_same_buffer(&first.bytes, &namespace.translate_shared(&other).bytes));

        let payloads = [r#"{"type":"a"}"#, r#"{"type":"b"}"#];
        let run = FrameRun::text(payloads.iter().map(|payload| payload.as_bytes()));
        let translated = namespace.translate_run(&run);
        let texts: Vec<&str> = translated.frames().iter().map(text).collect();
        assert_eq!(texts, [r#"42["a",{"type":"a"}]"#, r#"42["b",{"type":"b"}]"#]);
        assert!(Rc::ptr_eq(&translated, &namespace.translate_run(&run)));
    }
}

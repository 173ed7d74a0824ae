//! One namespace on one worker whose clients are those of an application with a dialect. A frame for many connections is
//! translated once, because the last translation is kept. Pure.

use std::{cell::RefCell, rc::Rc, sync::Arc};

use bytes::Bytes;

use super::dialect::{Dialect, DialectPacket, PacketReceivers};
use crate::transport::{Frame, FrameRun};

/// The frames that one frame of the protocol becomes, each with the users whom it reaches.
pub(super) type TranslatedFrames = Vec<(PacketReceivers, Frame)>;

/// The dialect of a namespace, with the last translations.
pub(super) struct NamespaceDialect {
    pub dialect: Arc<Dialect>,
    /// The last frame that was sent to many connections, and its translation. Keeping the frame also keeps its bytes
    /// at their address, by which the frame is recognized.
    frame: RefCell<Option<(Frame, Rc<TranslatedFrames>)>>,
    /// The bytes of the last run, and the translations of its frames.
    run: RefCell<Option<(Bytes, Rc<[TranslatedFrames]>)>>,
}

/// Whether both are the same bytes at the same address.
pub(super) fn is_same_buffer(one: &Bytes, other: &Bytes) -> bool {
    one.as_ptr() == other.as_ptr() && one.len() == other.len()
}

impl NamespaceDialect {
    pub fn new(dialect: Arc<Dialect>) -> Self {
        Self { dialect, frame: RefCell::default(), run: RefCell::default() }
    }

    /// Translates a frame that other connections also get. `encode` makes the payload of a packet.
    pub fn translate_shared(
        &self,
        frame: &Frame,
        encode: impl Fn(&DialectPacket) -> Vec<u8>,
    ) -> Rc<TranslatedFrames> {
        let mut last = self.frame.borrow_mut();
        if let Some((source, translated)) = &*last
            && is_same_buffer(&source.bytes, &frame.bytes)
            && source.immediate == frame.immediate
        {
            return translated.clone();
        }
        let translated = Rc::new(self.translate(frame, encode));
        *last = Some((frame.clone(), translated.clone()));
        translated
    }

    /// Translates the frames of a run that other connections also get.
    pub fn translate_run(
        &self,
        run: &FrameRun,
        encode: impl Fn(&DialectPacket) -> Vec<u8>,
    ) -> Rc<[TranslatedFrames]> {
        let mut last = self.run.borrow_mut();
        if let Some((source, translated)) = &*last
            && is_same_buffer(source, run.bytes())
        {
            return translated.clone();
        }
        let translated: Rc<[TranslatedFrames]> =
            run.frames().iter().map(|frame| self.translate(frame, &encode)).collect();
        *last = Some((run.bytes().clone(), translated.clone()));
        translated
    }

    fn translate(&self, frame: &Frame, encode: impl Fn(&DialectPacket) -> Vec<u8>) -> TranslatedFrames {
        let packets = self.dialect.packets(frame.payload(), None);
        // An immediate frame must not be followed by another one soon.
        let is_immediate = frame.immediate && packets.len() == 1;
        let translate = |packet: DialectPacket| {
            let translated = Frame::text(encode(&packet));
            (packet.receivers, if is_immediate { translated.to_immediate() } else { translated })
        };
        packets.into_iter().map(translate).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn namespace() -> NamespaceDialect {
        let text = "[[server]]\nframe = \"message:new\"\nto = \"others\"\nemit = [\"m\", \"$content\"]\n";
        NamespaceDialect::new(Arc::new(Dialect::parse(text).unwrap()))
    }

    fn encode(packet: &DialectPacket) -> Vec<u8> {
        packet.json.clone().into_bytes()
    }

    fn message(content: &str) -> String {
        format!(r#"{{"type":"message:new","sender":{{"id":"ann"}},"content":"{content}"}}"#)
    }

    #[test]
    fn shared_frame_is_translated_once_for_all_receivers() {
        let namespace = namespace();
        let frame = Frame::text(message("a"));
        let first = namespace.translate_shared(&frame, encode);
        assert_eq!(first[0].1.payload(), br#"["m","a"]"#);
        assert!(first[0].0.include(Some("ben")) && !first[0].0.include(Some("ann")));
        assert!(Rc::ptr_eq(&first, &namespace.translate_shared(&frame.clone(), encode)));
        let immediate = namespace.translate_shared(&frame.to_immediate(), encode);
        assert!(immediate[0].1.immediate && !first[0].1.immediate);
        assert!(namespace.translate_shared(&Frame::text(r#"{"type":"pong"}"#), encode).is_empty());
    }

    #[test]
    fn run_is_translated_frame_by_frame() {
        let namespace = namespace();
        let payloads = [message("a"), r#"{"type":"pong"}"#.to_owned(), message("b")];
        let run = FrameRun::text(payloads.iter().map(String::as_bytes));
        let translated = namespace.translate_run(&run, encode);
        let counts: Vec<usize> = translated.iter().map(Vec::len).collect();
        assert_eq!(counts, [1, 0, 1]);
        assert!(Rc::ptr_eq(&translated, &namespace.translate_run(&run, encode)));
    }
}

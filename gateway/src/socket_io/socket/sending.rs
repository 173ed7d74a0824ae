//! Sends frames as packets. If the namespace recovers connections, each event gets the client's offset after it as its
//! last argument (docs/decisions/0059-socket-io-recovery.md).

use std::iter;

use super::{NamespaceSocket, SocketPhase};
use crate::{
    socket_io::{dialect::DialectPacket, packet::PacketKind, translation::TranslatedFrames},
    transport::{Frame, FrameRun},
};

/// Name of the event whose only argument is the offset. Clients ignore events that they do not know, but keep the
/// offset.
const RECOVERY_EVENT: &str = "recovery";

/// Whether a packet is an event. The first byte is the type of the Engine.IO packet.
fn is_event(packet: &Frame) -> bool {
    packet.payload().get(1) == Some(&b'2')
}

/// An event with the offset as its last argument.
fn with_offset(event: &Frame, offset: &str) -> Frame {
    let payload = event.payload();
    // The array of the arguments ends with a bracket.
    let arguments = &payload[..payload.len() - 1];
    let frame = Frame::text_with(payload.len() + offset.len() + 3, |buffer| {
        for part in [arguments, b",\"", offset.as_bytes(), b"\"]"] {
            buffer.put_slice(part);
        }
    });
    if event.immediate { frame.to_immediate() } else { frame }
}

impl NamespaceSocket {
    /// Sends a frame as an event or ack. The first frame answers the CONNECT packet: it is `connected` or `error`.
    pub fn send(&self, frame: &Frame) {
        match self.phase.get() {
            SocketPhase::Connecting => self.answer_connect(frame),
            SocketPhase::Joining => self.hold_until_joined(frame),
            SocketPhase::Connected => self.send_payload(frame.payload()),
            SocketPhase::Ended => {}
        }
    }

    /// Sends the payload of a frame as events or acks.
    pub(super) fn send_payload(&self, payload: &[u8]) {
        if self.positions.borrow().is_some() {
            return self.send_payload_with_offset(payload);
        }
        match self.namespace.dialect() {
            None => self.shared.connection.send(self.namespace.translate(payload)),
            Some(dialect) => self.send_packets(&dialect.packets(payload, self.user())),
        }
    }

    /// Sends packets of a dialect, as far as they are for this user.
    pub fn send_packets(&self, packets: &[DialectPacket]) {
        let offset = self.positions.borrow().as_ref().map(|positions| positions.offset());
        for packet in self.encode_for_user(packets) {
            let packet = match &offset {
                Some(offset) if is_event(&packet) => with_offset(&packet, offset),
                _ => packet,
            };
            self.shared.connection.send(packet);
        }
    }

    fn encode_for_user(&self, packets: &[DialectPacket]) -> impl Iterator<Item = Frame> {
        let of_user = packets.iter().filter(move |packet| packet.receivers.include(self.user()));
        of_user.map(move |packet| Frame::text_for_one(self.namespace.encode(packet)))
    }

    fn send_payload_with_offset(&self, payload: &[u8]) {
        let packets: Vec<Frame> = match self.namespace.dialect() {
            None => vec![self.namespace.translate(payload)],
            Some(dialect) => self.encode_for_user(&dialect.packets(payload, self.user())).collect(),
        };
        let (before, after, sets_positions) = {
            let mut positions = self.positions.borrow_mut();
            let Some(positions) = positions.as_mut() else { return };
            let before = positions.offset();
            let sets_positions = positions.apply(payload);
            if !sets_positions {
                positions.advance(payload);
            }
            (before, positions.offset(), sets_positions)
        };
        let connection = &self.shared.connection;
        // An ack does not move the client's offset, so without this event a client that is cut off after the ack would
        // recover rooms that it has left, and not those that it has joined.
        if sets_positions && !packets.first().is_some_and(is_event) {
            let parts: [&[u8]; 5] = [b"[\"", RECOVERY_EVENT.as_bytes(), b"\",\"", after.as_bytes(), b"\"]"];
            connection.send(self.namespace.packet(PacketKind::Event, &parts));
        }
        let last_event = packets.iter().rposition(is_event);
        for (index, packet) in packets.into_iter().enumerate() {
            let offset = if sets_positions || last_event == Some(index) { &after } else { &before };
            connection.send(if is_event(&packet) { with_offset(&packet, offset) } else { packet });
        }
    }

    /// Sends a frame that other connections also get: see
    /// [`Connection::send_shared`](crate::transport::Connection::send_shared).
    pub fn emit_shared(&self, frame: &Frame) -> bool {
        if !self.is_connected() {
            return true;
        }
        match &self.namespace.dialect {
            None => {
                let translated = self.namespace.translate_shared(frame);
                self.send_translated(frame, iter::once(&translated))
            }
            Some(dialect) => {
                let translated = dialect.translate_shared(frame, |packet| self.namespace.encode(packet));
                self.send_translated(frame, self.frames_of_user(&translated))
            }
        }
    }

    /// Sends the frames of a run, which other connections also get: see
    /// [`Connection::send_run`](crate::transport::Connection::send_run).
    pub fn emit_run(&self, run: &FrameRun) -> usize {
        if !self.is_connected() {
            return run.frames().len();
        }
        match &self.namespace.dialect {
            None => {
                let translated = self.namespace.translate_run(run);
                if self.positions.borrow().is_none() {
                    return self.shared.connection.send_run(&translated);
                }
                let mut pairs = run.frames().iter().zip(translated.frames());
                let refused = pairs.position(|(frame, sent)| !self.send_translated(frame, iter::once(sent)));
                refused.unwrap_or(run.frames().len())
            }
            Some(dialect) => {
                let translated = dialect.translate_run(run, |packet| self.namespace.encode(packet));
                let mut pairs = run.frames().iter().zip(&*translated);
                let refused =
                    pairs.position(|(frame, sent)| !self.send_translated(frame, self.frames_of_user(sent)));
                refused.unwrap_or(run.frames().len())
            }
        }
    }

    fn frames_of_user<'a>(&self, translated: &'a TranslatedFrames) -> impl Iterator<Item = &'a Frame> {
        let of_user = translated.iter().filter(move |(receivers, _)| receivers.include(self.user()));
        of_user.map(|(_, frame)| frame)
    }

    /// Sends what one shared frame became for this user. Returns false, and sends nothing, if the connection does not
    /// take the first of these frames. The others follow it in any case.
    fn send_translated<'a>(&self, frame: &Frame, mut translated: impl Iterator<Item = &'a Frame>) -> bool {
        if self.positions.borrow().is_some() {
            return self.send_translated_with_offset(frame, &translated.collect::<Vec<_>>());
        }
        let Some(first) = translated.next() else { return true };
        let connection = &self.shared.connection;
        let is_sent = connection.send_shared(first);
        if is_sent {
            translated.for_each(|frame| connection.send(frame.clone()));
        }
        is_sent
    }

    /// Like [`NamespaceSocket::send_translated`], with offsets. Only the last event has the offset after the frame, so
    /// that a client that is cut off before it loses nothing.
    fn send_translated_with_offset(&self, frame: &Frame, translated: &[&Frame]) -> bool {
        let mut positions = self.positions.borrow_mut();
        let Some(positions) = positions.as_mut() else { return true };
        let before = if translated.len() > 1 { positions.offset() } else { String::new() };
        let previous = positions.advance(frame.payload());
        let Some((last, earlier)) = translated.split_last() else { return true };
        let last = with_offset(last, &positions.offset());
        let connection = &self.shared.connection;
        let is_sent = match earlier.split_first() {
            None => connection.send_shared(&last),
            Some((first, between)) => {
                let is_sent = connection.send_shared(&with_offset(first, &before));
                if is_sent {
                    between.iter().for_each(|event| connection.send(with_offset(event, &before)));
                    connection.send(last);
                }
                is_sent
            }
        };
        if let (false, Some(previous)) = (is_sent, previous) {
            positions.undo(previous);
        }
        is_sent
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offset_becomes_last_argument_of_event() {
        let offset = |packet: &str| {
            let event = with_offset(&Frame::text(packet), "tag;#0=7");
            String::from_utf8(event.payload().to_vec()).unwrap()
        };
        assert_eq!(offset(r#"42["m",{"a":[1]}]"#), r#"42["m",{"a":[1]},"tag;#0=7"]"#);
        assert_eq!(offset(r#"42/admin,["m"]"#), r#"42/admin,["m","tag;#0=7"]"#);
        assert!(with_offset(&Frame::text("42[1]").to_immediate(), "").immediate);
        let is_event = |packet: &str| is_event(&Frame::text(packet));
        assert!(is_event(r#"42["m"]"#) && !is_event(r#"437["m"]"#) && !is_event(r#"40{"sid":"a"}"#));
    }
}

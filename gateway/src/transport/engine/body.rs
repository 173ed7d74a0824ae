//! The body of a polling answer, made from queued WebSocket frames. Pure.

use crate::transport::{
    frame::{FrameContent, first_frame},
    outbox::Outbox,
    packet::{self, CLOSE, SEPARATOR},
};

/// Removes frames from the outbox, and returns them as the packets of a polling answer. The answer is at most
/// `max_bytes` long, unless its first packet alone is longer. The frames must be uncompressed, and the text of each
/// text frame must be a packet. A close frame becomes a close packet, and ends the answer.
pub(crate) fn take_packets(outbox: &mut Outbox, max_bytes: usize) -> Vec<u8> {
    let mut body = Vec::new();
    while let Some(bytes) = outbox.front() {
        let Some((content, frame_bytes)) = first_frame(bytes) else {
            // Does not happen, because the queue of a polling session has only whole frames.
            outbox.drop_all();
            break;
        };
        let packet_bytes = match &content {
            FrameContent::Text(text) => text.len(),
            FrameContent::Binary(content) => 1 + packet::base64_bytes(content.len()),
            FrameContent::Close => 1,
            FrameContent::Control => 0,
        };
        let is_control = content == FrameContent::Control;
        if !is_control && !body.is_empty() {
            if body.len() + 1 + packet_bytes > max_bytes {
                break;
            }
            body.push(SEPARATOR);
        }
        let is_close = content == FrameContent::Close;
        match content {
            FrameContent::Text(text) => body.extend_from_slice(text),
            FrameContent::Binary(content) => packet::encode_binary(content, &mut body),
            FrameContent::Close => body.push(CLOSE),
            FrameContent::Control => {}
        }
        outbox.remove_frame(frame_bytes);
        if is_close {
            break;
        }
    }
    body
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transport::frame::{Frame, FrameRun};

    fn outbox(frames: impl IntoIterator<Item = Frame>) -> Outbox {
        let mut outbox = Outbox::default();
        frames.into_iter().for_each(|frame| outbox.push(frame.into_bytes()));
        outbox
    }

    fn text_of(body: Vec<u8>) -> String {
        String::from_utf8(body).unwrap()
    }

    #[test]
    fn frames_become_packets_in_order() {
        let mut outbox = outbox([
            Frame::text("4one"),
            Frame::ping(b"ignored"),
            Frame::binary([1, 2, 3, 4]),
            Frame::text("2"),
            Frame::close(1000, "bye"),
        ]);
        assert_eq!(text_of(take_packets(&mut outbox, 1_000)), "4one\u{1e}bAQIDBA==\u{1e}2\u{1e}1");
        assert!(outbox.is_empty());
        assert_eq!(outbox.bytes(), 0);
    }

    #[test]
    fn answer_is_limited_after_its_first_packet() {
        let mut outbox = outbox(["4123456789", "4a", "4b", "4c"].map(Frame::text));
        assert_eq!(text_of(take_packets(&mut outbox, 5)), "4123456789");
        assert_eq!(text_of(take_packets(&mut outbox, 5)), "4a\u{1e}4b");
        assert_eq!(text_of(take_packets(&mut outbox, 5)), "4c");
        assert!(outbox.is_empty());
    }

    #[test]
    fn frames_of_a_run_are_taken_one_by_one() {
        let run = FrameRun::text(["4a", "4b", "4c"].map(str::as_bytes).into_iter());
        let mut outbox = Outbox::default();
        outbox.push(run.bytes().clone());
        assert_eq!(text_of(take_packets(&mut outbox, 5)), "4a\u{1e}4b");
        outbox.drop_unstarted();
        assert!(outbox.is_empty(), "no frame was begun");
    }
}

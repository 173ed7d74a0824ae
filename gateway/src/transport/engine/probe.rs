//! Moves a polling session to a WebSocket: the client proves with a probe that the WebSocket works, stops polling, and
//! then completes the upgrade. A WebSocket that breaks these rules is closed, and the session goes on polling.

use std::{io, mem, ops::ControlFlow, time::Duration};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time,
};

use super::sessions::{PollingSession, UpgradedSocket};
use crate::transport::{
    decoder::{Decoder, DecoderRules, Event},
    extension::Window,
    frame::{Frame, close_code},
    packet::{PROBE, PROBE_ANSWER, UPGRADE},
    refuse::send_and_close,
    worker::Link,
};

/// Maximum size of a message during an upgrade, in bytes. Every packet of an upgrade is smaller.
const MAX_MESSAGE_BYTES: usize = 128;
const READ_BUFFER_BYTES: usize = 512;

/// Answers the handshake of a WebSocket with `answer`, and moves the session to it if the client completes the upgrade
/// within `timeout`. `read` holds the bytes that followed the handshake.
pub(super) async fn probe(
    polling: &PollingSession,
    mut socket: TcpStream,
    answer: &[u8],
    read: Vec<u8>,
    window: Option<Window>,
    timeout: Duration,
) {
    let rules =
        DecoderRules { max_message_bytes: MAX_MESSAGE_BYTES, accept_binary: true, deflate: window.is_some() };
    let mut reader = ProbeReader { decoder: Decoder::default(), unread: read, rules };
    let probed = time::timeout(timeout, async {
        socket.write_all(answer).await?;
        complete_upgrade(polling, &mut socket, &mut reader).await
    });
    if matches!(probed.await, Ok(Ok(true))) {
        polling.finish_upgrade(UpgradedSocket { socket, unread: reader.unread, window });
    } else {
        polling.cancel_upgrade();
        send_and_close(socket, &Frame::close(close_code::NORMAL, "no upgrade").into_bytes()).await;
    }
}

/// Accepts the handshake of a WebSocket whose session already has one, and closes it.
pub(super) async fn close_unused(socket: TcpStream, answer: &[u8]) {
    let close = Frame::close(close_code::NORMAL, "the session has a WebSocket").into_bytes();
    send_and_close(socket, &[answer, &close].concat()).await;
}

/// Waits for the upgrade, and returns whether the client completes it. The first packet must be the probe, and the
/// second the upgrade packet.
async fn complete_upgrade(
    polling: &PollingSession,
    socket: &mut TcpStream,
    reader: &mut ProbeReader,
) -> io::Result<bool> {
    if !reader.next_text_is(PROBE, socket, &polling.link).await? || !polling.set_probed() {
        return Ok(false);
    }
    socket.write_all(&Frame::text_for_one(PROBE_ANSWER).into_bytes()).await?;
    reader.next_text_is(UPGRADE, socket, &polling.link).await
}

/// Reads the messages of the upgrade.
struct ProbeReader {
    decoder: Decoder,
    unread: Vec<u8>,
    rules: DecoderRules,
}

/// The result of decoding the unread bytes.
enum Step {
    /// More bytes are needed.
    Read,
    Answer(Frame),
    /// A whole message, and whether it has the expected text.
    Message(bool),
}

impl ProbeReader {
    /// Reads the next message, and returns whether it has the expected text. Returns false at the end of the stream.
    async fn next_text_is(
        &mut self,
        expected: &str,
        socket: &mut TcpStream,
        link: &Link,
    ) -> io::Result<bool> {
        loop {
            match self.decode(expected, link) {
                Step::Message(is_expected) => return Ok(is_expected),
                Step::Answer(pong) => socket.write_all(&pong.into_bytes()).await?,
                Step::Read => {
                    let mut buffer = [0; READ_BUFFER_BYTES];
                    let read = socket.read(&mut buffer).await?;
                    if read == 0 {
                        return Ok(false);
                    }
                    self.unread.extend_from_slice(&buffer[..read]);
                }
            }
        }
    }

    /// Decodes unread bytes up to the next message or ping.
    fn decode(&mut self, expected: &str, link: &Link) -> Step {
        let mut unread = mem::take(&mut self.unread);
        let (decoder, rules, mut step) = (&mut self.decoder, self.rules, Step::Read);
        let decoded = link.worker.with_inflater(|inflater| {
            decoder.decode(rules, inflater, &|| true, &mut unread, |event| {
                step = match event {
                    Event::Text(text) => Step::Message(text == expected),
                    Event::Ping(payload) => Step::Answer(Frame::pong(payload)),
                    Event::Binary(_) | Event::Close(_) => Step::Message(false),
                    Event::Part | Event::Pong => return ControlFlow::Continue(()),
                };
                ControlFlow::Break(())
            })
        });
        let Ok(used) = decoded else { return Step::Message(false) };
        unread.drain(..used);
        self.unread = unread;
        step
    }
}

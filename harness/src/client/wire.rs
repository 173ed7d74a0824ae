//! Adds compression (permessage-deflate) below a WebSocket library that does not support it. If the server agrees,
//! every outgoing message is compressed, and compressed messages from the server are inflated. The library sees the
//! same bytes as without compression. Touches one connection.

use std::io::{Error, Result};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::deflate::{COMPRESSED, deflated, inflated};
use crate::raw::{self, opcode};

mod stream;

pub(super) use stream::Stream;

/// The server agrees to compress if its answer contains this name.
const DEFLATE_EXTENSION: &str = "permessage-deflate";
const READ_BUFFER_BYTES: usize = 8 * 1024;
/// Limit of the translated bytes that wait to be sent to the server. Above it the library must wait.
const MAX_PENDING_WRITE_BYTES: usize = 256 * 1024;
const MAX_HEAD_BYTES: usize = 64 * 1024;
const MAX_FRAME_BYTES: u64 = 16 * 1024 * 1024;

/// A stream that compresses if the client offers it and the server agrees.
pub(crate) struct DeflateStream {
    stream: Stream,
    /// `None` if bytes pass unchanged.
    translation: Option<Box<Translation>>,
}

impl DeflateStream {
    /// A stream without translation.
    pub(crate) fn without_compression(stream: Stream) -> DeflateStream {
        DeflateStream { stream, translation: None }
    }

    /// A stream whose handshake offers compression.
    pub(crate) fn offering_compression(stream: Stream) -> DeflateStream {
        DeflateStream { stream, translation: Some(Box::default()) }
    }
}

/// The translation of one connection between the library and the server.
#[derive(Default)]
struct Translation {
    /// Whether the server agreed; `None` until its answer was read.
    agreed: Option<bool>,
    /// Bytes from the server that are not translated yet.
    from_server: Vec<u8>,
    /// Translated bytes for the library.
    to_library: Vec<u8>,
    /// Bytes from the library that are not translated yet.
    from_library: Vec<u8>,
    /// Translated bytes for the server.
    to_server: Vec<u8>,
}

impl Translation {
    /// Translates bytes from the server as far as they are complete.
    fn translate_from_server(&mut self) -> Result<()> {
        if self.agreed.is_none() {
            let Some(end) = self.from_server.windows(4).position(|window| window == b"\r\n\r\n") else {
                let fits = self.from_server.len() < MAX_HEAD_BYTES;
                return if fits { Ok(()) } else { Err(Error::other("the answer is too long")) };
            };
            let head = String::from_utf8_lossy(&self.from_server[..end]).to_lowercase();
            let agrees = |line: &str| {
                line.starts_with("sec-websocket-extensions:") && line.contains(DEFLATE_EXTENSION)
            };
            self.agreed = Some(head.lines().any(agrees));
            self.to_library.extend(self.from_server.drain(..end + 4));
        }
        if self.agreed == Some(false) {
            self.to_library.append(&mut self.from_server);
        }
        while let Some(frame) = FramePosition::parse(&self.from_server)? {
            if frame.first & COMPRESSED == 0 {
                self.to_library.extend_from_slice(&self.from_server[..frame.end]);
            } else {
                let text = inflated(&self.from_server[frame.start..frame.end])?;
                self.to_library.extend(raw::frame(frame.first & !COMPRESSED, &text, None));
            }
            self.from_server.drain(..frame.end);
        }
        Ok(())
    }

    /// Translates bytes of the library as far as they are complete.
    fn translate_from_library(&mut self) -> Result<()> {
        if self.agreed != Some(true) {
            self.to_server.append(&mut self.from_library);
            return Ok(());
        }
        while let Some(frame) = FramePosition::parse(&self.from_library)? {
            let whole_text = frame.first == 0x80 | opcode::TEXT;
            if let (true, Some(mask)) = (whole_text, frame.mask) {
                let masked = self.from_library[frame.start..frame.end].iter().zip(mask.iter().cycle());
                let text: Vec<u8> = masked.map(|(byte, key)| byte ^ key).collect();
                self.to_server.extend(raw::frame(frame.first | COMPRESSED, &deflated(&text), Some(mask)));
            } else {
                self.to_server.extend_from_slice(&self.from_library[..frame.end]);
            }
            self.from_library.drain(..frame.end);
        }
        Ok(())
    }
}

/// The first byte, the mask and the position of the payload of the first frame in a buffer.
struct FramePosition {
    first: u8,
    mask: Option<[u8; 4]>,
    start: usize,
    end: usize,
}

impl FramePosition {
    /// Finds the first frame. Returns `None` if it is not complete yet.
    fn parse(bytes: &[u8]) -> Result<Option<FramePosition>> {
        let Some(&[first, second]) = bytes.first_chunk() else { return Ok(None) };
        let (length, mut start) = match second & 0x7f {
            126 => match bytes[2..].first_chunk() {
                Some(length) => (u64::from(u16::from_be_bytes(*length)), 4),
                None => return Ok(None),
            },
            127 => match bytes[2..].first_chunk() {
                Some(length) => (u64::from_be_bytes(*length), 10),
                None => return Ok(None),
            },
            length => (u64::from(length), 2),
        };
        if length > MAX_FRAME_BYTES {
            return Err(Error::other(format!("a frame of {length} bytes")));
        }
        let mut mask = None;
        if second & 0x80 != 0 {
            let Some(key) = bytes.get(start..).and_then(<[u8]>::first_chunk) else { return Ok(None) };
            mask = Some(*key);
            start += 4;
        }
        let end = start + usize::try_from(length).map_err(Error::other)?;
        Ok((bytes.len() >= end).then_some(FramePosition { first, mask, start, end }))
    }
}

impl AsyncRead for DeflateStream {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<Result<()>> {
        let DeflateStream { stream, translation } = &mut *self;
        loop {
            let Some(translation_state) = translation else { return Pin::new(stream).poll_read(cx, buf) };
            if !translation_state.to_library.is_empty() {
                let count = translation_state.to_library.len().min(buf.remaining());
                buf.put_slice(&translation_state.to_library[..count]);
                translation_state.to_library.drain(..count);
                return Poll::Ready(Ok(()));
            }
            if translation_state.agreed == Some(false) && translation_state.to_server.is_empty() {
                *translation = None;
                continue;
            }
            let mut room = [0; READ_BUFFER_BYTES];
            let mut read = ReadBuf::new(&mut room);
            ready!(Pin::new(&mut *stream).poll_read(cx, &mut read))?;
            if read.filled().is_empty() {
                return Poll::Ready(Ok(()));
            }
            translation_state.from_server.extend_from_slice(read.filled());
            translation_state.translate_from_server()?;
        }
    }
}

impl AsyncWrite for DeflateStream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<Result<usize>> {
        if self.translation.is_none() {
            return Pin::new(&mut self.stream).poll_write(cx, bytes);
        }
        let drained = self.as_mut().poll_write_translated(cx)?;
        let Some(translation_state) = &mut self.translation else { return Poll::Ready(Ok(0)) };
        if drained.is_pending() && translation_state.to_server.len() > MAX_PENDING_WRITE_BYTES {
            return Poll::Pending;
        }
        translation_state.from_library.extend_from_slice(bytes);
        translation_state.translate_from_library()?;
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<()>> {
        ready!(self.as_mut().poll_write_translated(cx))?;
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<()>> {
        ready!(self.as_mut().poll_write_translated(cx))?;
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

impl DeflateStream {
    /// Writes all translated bytes to the server.
    fn poll_write_translated(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<()>> {
        let DeflateStream { stream, translation } = &mut *self;
        let Some(translation_state) = translation else { return Poll::Ready(Ok(())) };
        while !translation_state.to_server.is_empty() {
            let written = ready!(Pin::new(&mut *stream).poll_write(cx, &translation_state.to_server))?;
            if written == 0 {
                return Poll::Ready(Err(std::io::ErrorKind::WriteZero.into()));
            }
            translation_state.to_server.drain(..written);
        }
        Poll::Ready(Ok(()))
    }
}

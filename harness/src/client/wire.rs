//! Adds compression below a WebSocket library that does not support it. If the server agrees, every outgoing message is
//! compressed, and compressed messages from the server are inflated. Touches one connection.
//! The library sees the same bytes as without the extension.

use std::io::{Error, Result};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::deflate::{COMPRESSED, deflated, inflated};
use crate::raw::{self, opcode};

mod stream;

pub(super) use stream::Stream;

/// This name in the server's answer means that it agrees.
const NAME: &str = "permessage-deflate";
const READ_BYTES: usize = 8 * 1024;
/// Bytes that the library has written and the server has not taken; above this the library must wait.
const WRITE_BYTES: usize = 256 * 1024;
const HEAD_LIMIT_BYTES: usize = 64 * 1024;
const FRAME_LIMIT_BYTES: u64 = 16 * 1024 * 1024;

/// A stream that compresses if both sides agree.
pub(crate) struct Wire {
    stream: Stream,
    /// `None`: bytes pass unchanged.
    translation: Option<Box<Translation>>,
}

impl Wire {
    /// A stream without translation.
    pub(crate) fn plain(stream: Stream) -> Wire {
        Wire { stream, translation: None }
    }

    /// A stream whose handshake offers compression.
    pub(crate) fn offering(stream: Stream) -> Wire {
        Wire { stream, translation: Some(Box::default()) }
    }
}

/// The translation between the library and the server.
#[derive(Default)]
struct Translation {
    /// Whether the server agreed; `None` before its answer was read.
    agreed: Option<bool>,
    /// Bytes from the server that are not translated yet.
    coming: Vec<u8>,
    /// Translated bytes for the library.
    come: Vec<u8>,
    /// Bytes from the library that are not translated yet.
    going: Vec<u8>,
    /// Translated bytes for the server.
    gone: Vec<u8>,
}

impl Translation {
    /// Translates the bytes from the server.
    fn take_coming(&mut self) -> Result<()> {
        if self.agreed.is_none() {
            let Some(end) = self.coming.windows(4).position(|window| window == b"\r\n\r\n") else {
                let fits = self.coming.len() < HEAD_LIMIT_BYTES;
                return if fits { Ok(()) } else { Err(Error::other("the answer is too long")) };
            };
            let head = String::from_utf8_lossy(&self.coming[..end]).to_lowercase();
            let agrees = |line: &str| line.starts_with("sec-websocket-extensions:") && line.contains(NAME);
            self.agreed = Some(head.lines().any(agrees));
            self.come.extend(self.coming.drain(..end + 4));
        }
        if self.agreed == Some(false) {
            self.come.append(&mut self.coming);
        }
        while let Some(frame) = Frame::parse(&self.coming)? {
            if frame.first & COMPRESSED == 0 {
                self.come.extend_from_slice(&self.coming[..frame.end]);
            } else {
                let text = inflated(&self.coming[frame.start..frame.end])?;
                self.come.extend(raw::frame(frame.first & !COMPRESSED, &text, None));
            }
            self.coming.drain(..frame.end);
        }
        Ok(())
    }

    /// Translates the bytes of the library.
    fn take_going(&mut self) -> Result<()> {
        if self.agreed != Some(true) {
            self.gone.append(&mut self.going);
            return Ok(());
        }
        while let Some(frame) = Frame::parse(&self.going)? {
            let whole_text = frame.first == 0x80 | opcode::TEXT;
            if let (true, Some(mask)) = (whole_text, frame.mask) {
                let masked = self.going[frame.start..frame.end].iter().zip(mask.iter().cycle());
                let text: Vec<u8> = masked.map(|(byte, key)| byte ^ key).collect();
                self.gone.extend(raw::frame(frame.first | COMPRESSED, &deflated(&text), Some(mask)));
            } else {
                self.gone.extend_from_slice(&self.going[..frame.end]);
            }
            self.going.drain(..frame.end);
        }
        Ok(())
    }
}

/// The position of the first frame in a buffer.
struct Frame {
    first: u8,
    mask: Option<[u8; 4]>,
    start: usize,
    end: usize,
}

impl Frame {
    /// `None`: the frame is not complete yet.
    fn parse(bytes: &[u8]) -> Result<Option<Frame>> {
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
        if length > FRAME_LIMIT_BYTES {
            return Err(Error::other(format!("a frame of {length} bytes")));
        }
        let mut mask = None;
        if second & 0x80 != 0 {
            let Some(key) = bytes.get(start..).and_then(<[u8]>::first_chunk) else { return Ok(None) };
            mask = Some(*key);
            start += 4;
        }
        let end = start + usize::try_from(length).map_err(Error::other)?;
        Ok((bytes.len() >= end).then_some(Frame { first, mask, start, end }))
    }
}

impl AsyncRead for Wire {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<Result<()>> {
        let Wire { stream, translation } = &mut *self;
        loop {
            let Some(between) = translation else { return Pin::new(stream).poll_read(cx, buf) };
            if !between.come.is_empty() {
                let count = between.come.len().min(buf.remaining());
                buf.put_slice(&between.come[..count]);
                between.come.drain(..count);
                return Poll::Ready(Ok(()));
            }
            if between.agreed == Some(false) && between.gone.is_empty() {
                *translation = None;
                continue;
            }
            let mut room = [0; READ_BYTES];
            let mut read = ReadBuf::new(&mut room);
            ready!(Pin::new(&mut *stream).poll_read(cx, &mut read))?;
            if read.filled().is_empty() {
                return Poll::Ready(Ok(()));
            }
            between.coming.extend_from_slice(read.filled());
            between.take_coming()?;
        }
    }
}

impl AsyncWrite for Wire {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<Result<usize>> {
        if self.translation.is_none() {
            return Pin::new(&mut self.stream).poll_write(cx, bytes);
        }
        let drained = self.as_mut().poll_drain(cx)?;
        let Some(between) = &mut self.translation else { return Poll::Ready(Ok(0)) };
        if drained.is_pending() && between.gone.len() > WRITE_BYTES {
            return Poll::Pending;
        }
        between.going.extend_from_slice(bytes);
        between.take_going()?;
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<()>> {
        ready!(self.as_mut().poll_drain(cx))?;
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<()>> {
        ready!(self.as_mut().poll_drain(cx))?;
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

impl Wire {
    /// Writes the translated bytes.
    fn poll_drain(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<()>> {
        let Wire { stream, translation } = &mut *self;
        let Some(between) = translation else { return Poll::Ready(Ok(())) };
        while !between.gone.is_empty() {
            let written = ready!(Pin::new(&mut *stream).poll_write(cx, &between.gone))?;
            if written == 0 {
                return Poll::Ready(Err(std::io::ErrorKind::WriteZero.into()));
            }
            between.gone.drain(..written);
        }
        Poll::Ready(Ok(()))
    }
}

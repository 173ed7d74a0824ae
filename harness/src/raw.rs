//! A WebSocket without a library: sends arbitrary bytes, also bytes that violate RFC 6455, and reads frames unchanged.
//! Touches one TCP connection. It reads only unmasked, unfragmented frames, and needs a few hundred bytes of memory.

use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::deflate::COMPRESSED;
use crate::names::UserNames;

/// Opcodes of RFC 6455.
pub mod opcode {
    /// Continues a fragmented message.
    pub const CONTINUATION: u8 = 0x0;
    pub const TEXT: u8 = 0x1;
    pub const BINARY: u8 = 0x2;
    pub const CLOSE: u8 = 0x8;
    pub const PING: u8 = 0x9;
    pub const PONG: u8 = 0xa;
}

const MAX_HEAD_BYTES: usize = 8 * 1024;
const MAX_FRAME_BYTES: usize = 16 * 1024 * 1024;

/// A frame from the server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RawFrame {
    /// Whether the frame is the last of its message.
    pub fin: bool,
    /// Whether the frame begins a compressed message.
    pub compressed: bool,
    pub opcode: u8,
    pub payload: Vec<u8>,
}

impl RawFrame {
    /// The code of a close frame; `None` for other frames or without a code.
    pub fn close_code(&self) -> Option<u16> {
        let code = self.payload.first_chunk::<2>()?;
        (self.opcode == opcode::CLOSE).then(|| u16::from_be_bytes(*code))
    }

    /// The payload as text.
    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.payload).unwrap_or_default()
    }
}

/// A connection after the handshake.
pub struct RawSocket {
    stream: TcpStream,
    unread: Vec<u8>,
    names: UserNames,
}

impl RawSocket {
    /// Connects to `127.0.0.1:PORT` with the token in the header.
    ///
    /// # Errors
    /// When the answer is not 101; with the answer.
    pub async fn open(port: u16, token: &str) -> Result<RawSocket> {
        let socket = Self::open_with(port, &format!("Authorization: Bearer {token}\r\n")).await?;
        Ok(RawSocket { names: UserNames::of_token(token), ..socket })
    }

    /// Connects with these header lines, each ending in CRLF.
    ///
    /// # Errors
    /// When the answer is not 101; with the answer.
    pub async fn open_with(port: u16, headers: &str) -> Result<RawSocket> {
        Self::over(TcpStream::connect(("127.0.0.1", port)).await?, headers).await
    }

    /// Like [`RawSocket::open_with`], over an existing TCP connection.
    ///
    /// # Errors
    /// When the answer is not 101; with the answer.
    pub async fn over(mut stream: TcpStream, headers: &str) -> Result<RawSocket> {
        stream.set_nodelay(true)?;
        let port = stream.peer_addr()?.port();
        let request = format!(
            "GET /v1/ws HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n{headers}\r\n"
        );
        stream.write_all(request.as_bytes()).await?;
        let mut unread = Vec::with_capacity(512);
        let end = loop {
            if let Some(end) = unread.windows(4).position(|window| window == b"\r\n\r\n") {
                break end + 4;
            }
            ensure!(unread.len() < MAX_HEAD_BYTES, "the handshake's answer is too long");
            ensure!(stream.read_buf(&mut unread).await? > 0, "closed during the handshake");
        };
        let head = String::from_utf8_lossy(&unread[..end]).into_owned();
        ensure!(head.starts_with("HTTP/1.1 101"), "{head}{}", String::from_utf8_lossy(&unread[end..]));
        unread.drain(..end);
        Ok(RawSocket { stream, unread, names: UserNames::default() })
    }

    /// Ends the connection with RST.
    pub fn reset(self) {
        // This fails only if the socket is closed already.
        let _ = self.stream.set_zero_linger();
    }

    /// Sends bytes unchanged.
    pub async fn send_bytes(&mut self, bytes: &[u8]) -> Result<()> {
        Ok(self.stream.write_all(bytes).await?)
    }

    /// Sends one final, masked frame.
    pub async fn send(&mut self, opcode: u8, payload: &[u8]) -> Result<()> {
        self.send_bytes(&frame(0x80 | opcode, payload, Some(rand::random()))).await
    }

    /// Waits for the next frame; `None` at the end of the stream. A text has the names of users as the test knows them.
    ///
    /// # Errors
    /// When the stream breaks or the frame is longer than 16 MiB.
    pub async fn next(&mut self) -> Result<Option<RawFrame>> {
        loop {
            if let Some((mut frame, length)) = parse_frame(&self.unread)? {
                if frame.opcode == opcode::TEXT && !frame.compressed && !self.names.is_identity() {
                    frame.payload = self.names.bytes_from_wire(&frame.payload).into_owned();
                }
                self.unread.drain(..length);
                self.unread.shrink_to(512);
                return Ok(Some(frame));
            }
            if self.stream.read_buf(&mut self.unread).await? == 0 {
                return Ok(None);
            }
        }
    }

    /// Waits for a close frame, and returns its code. Skips other frames.
    ///
    /// # Errors
    /// When no close frame comes within `time_limit`.
    pub async fn until_close(&mut self, time_limit: Duration) -> Result<Option<u16>> {
        let closing = async {
            while let Some(frame) = self.next().await? {
                if frame.opcode == opcode::CLOSE {
                    return Ok(frame.close_code());
                }
            }
            bail!("ended without a close frame")
        };
        tokio::time::timeout(time_limit, closing).await.context("no close frame in time")?
    }
}

/// Builds a frame. `head` is its first byte: the fin bit, the reserved bits and the opcode.
pub fn frame(head: u8, payload: &[u8], mask: Option<[u8; 4]>) -> Vec<u8> {
    let mut bytes = vec![head];
    let masked = if mask.is_some() { 0x80 } else { 0 };
    match (u8::try_from(payload.len()), u16::try_from(payload.len())) {
        (Ok(length), _) if length < 126 => bytes.push(masked | length),
        (_, Ok(length)) => {
            bytes.push(masked | 126);
            bytes.extend(length.to_be_bytes());
        }
        _ => {
            bytes.push(masked | 127);
            bytes.extend((payload.len() as u64).to_be_bytes());
        }
    }
    bytes.extend(mask.unwrap_or_default().iter().take(if mask.is_some() { 4 } else { 0 }));
    let mask = mask.unwrap_or_default();
    bytes.extend(payload.iter().enumerate().map(|(index, byte)| byte ^ mask[index % 4]));
    bytes
}

/// The first frame and its length in bytes; `None` if the frame is incomplete.
fn parse_frame(bytes: &[u8]) -> Result<Option<(RawFrame, usize)>> {
    let Some(&[first, second]) = bytes.first_chunk::<2>() else { return Ok(None) };
    ensure!(second & 0x80 == 0, "the server masked a frame");
    let (length, start) = match second {
        126 => match bytes.get(2..).and_then(<[u8]>::first_chunk::<2>) {
            Some(length) => (usize::from(u16::from_be_bytes(*length)), 4),
            None => return Ok(None),
        },
        127 => match bytes.get(2..).and_then(<[u8]>::first_chunk::<8>) {
            Some(length) => (usize::try_from(u64::from_be_bytes(*length))?, 10),
            None => return Ok(None),
        },
        length => (usize::from(length), 2),
    };
    ensure!(length <= MAX_FRAME_BYTES, "a frame of {length} bytes");
    let Some(payload) = bytes.get(start..start + length) else { return Ok(None) };
    let frame = RawFrame {
        fin: first & 0x80 != 0,
        compressed: first & COMPRESSED != 0,
        opcode: first & 0x0f,
        payload: payload.to_vec(),
    };
    Ok(Some((frame, start + length)))
}

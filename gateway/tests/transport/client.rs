//! A WebSocket client that sends any bytes, valid or not.

use std::{future::Future, net::SocketAddr, time::Duration};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};

pub const TEXT: u8 = 0x81;
pub const BINARY: u8 = 0x82;
pub const CLOSE: u8 = 0x88;
pub const PING: u8 = 0x89;
pub const PONG: u8 = 0x8A;

/// Timeout of every wait in these tests.
const TIMEOUT: Duration = Duration::from_secs(20);

pub async fn within_timeout<T>(what: &str, wait: impl Future<Output = T>) -> T {
    match timeout(TIMEOUT, wait).await {
        Ok(result) => result,
        Err(_) => panic!("{what} did not happen within {TIMEOUT:?}"),
    }
}

/// A masked frame; `first` is its first byte.
pub fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = header(first, payload.len());
    bytes.extend(payload.iter().zip(MASK.iter().cycle()).map(|(byte, key)| byte ^ key));
    bytes
}

/// The header of a masked frame without its payload.
pub fn header(first: u8, length: usize) -> Vec<u8> {
    let mut bytes = vec![first];
    if length < 126 {
        bytes.push(0x80 | u8::try_from(length).unwrap());
    } else if let Ok(length) = u16::try_from(length) {
        bytes.push(0x80 | 126);
        bytes.extend(length.to_be_bytes());
    } else {
        bytes.push(0x80 | 127);
        bytes.extend((length as u64).to_be_bytes());
    }
    bytes.extend(MASK);
    bytes
}

const MASK: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];

pub fn handshake(target: &str) -> String {
    format!(
        "GET {target} HTTP/1.1\r\nHost: test\r\nConnection: keep-alive, Upgrade\r\nUpgrade: WebSocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    )
}

pub struct Client {
    socket: TcpStream,
    read: Vec<u8>,
}

impl Client {
    /// Connects and sends these bytes, which need not be a valid request.
    pub async fn connect_and_send(address: SocketAddr, bytes: &[u8]) -> Client {
        let socket = TcpStream::connect(address).await.unwrap();
        socket.set_nodelay(true).unwrap();
        let mut client = Client { socket, read: Vec::new() };
        client.send(bytes).await;
        client
    }

    /// Connects and completes the handshake on `/ws`.
    pub async fn open(address: SocketAddr) -> Client {
        let mut client = Client::connect_and_send(address, handshake("/ws").as_bytes()).await;
        let head = client.read_head().await;
        assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
        client
    }

    /// Connects and offers compression. Returns the client and the negotiated extension, which may be empty.
    pub async fn open_offering(address: SocketAddr, offer: &str) -> (Client, String) {
        let offer = format!("\r\nSec-WebSocket-Extensions: {offer}\r\n\r\n");
        let mut client =
            Client::connect_and_send(address, handshake("/ws").replace("\r\n\r\n", &offer).as_bytes()).await;
        let head = client.read_head().await;
        assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
        let agreed = head.lines().find_map(|line| line.strip_prefix("sec-websocket-extensions: "));
        (client, agreed.unwrap_or_default().to_owned())
    }

    /// The head of an HTTP answer.
    pub async fn read_head(&mut self) -> String {
        loop {
            if let Some(end) = self.read.windows(4).position(|window| window == b"\r\n\r\n") {
                let head: Vec<u8> = self.read.drain(..end + 4).collect();
                return String::from_utf8(head).unwrap();
            }
            assert!(self.fill().await, "the server closed the connection instead of answering");
        }
    }

    pub async fn send(&mut self, bytes: &[u8]) {
        self.socket.write_all(bytes).await.unwrap();
    }

    pub async fn send_text(&mut self, text: &str) {
        self.send(&frame(TEXT, text.as_bytes())).await;
    }

    /// Sends the bytes one by one. The kernel may still put several into one packet.
    pub async fn send_dripping(&mut self, bytes: &[u8]) {
        for byte in bytes {
            // The server may have closed the connection already.
            if self.socket.write_all(&[*byte]).await.is_err() {
                return;
            }
            tokio::task::yield_now().await;
        }
    }

    /// The next frame: its first byte and payload. `None` at the end of the stream.
    pub async fn next(&mut self) -> Option<(u8, Vec<u8>)> {
        loop {
            if let Some(frame) = self.take_frame() {
                return Some(frame);
            }
            if !self.fill().await {
                assert!(self.read.is_empty(), "the stream ended within a frame");
                return None;
            }
        }
    }

    /// The next frame that is not a ping: pings arrive at any time.
    pub async fn next_message(&mut self) -> Option<(u8, Vec<u8>)> {
        loop {
            match self.next().await {
                Some((PING, _)) => {}
                next => return next,
            }
        }
    }

    /// The next text. Skips pings.
    pub async fn next_text(&mut self) -> String {
        loop {
            match self.next().await {
                Some((TEXT, payload)) => return String::from_utf8(payload).unwrap(),
                Some((PING, _)) => {}
                other => panic!("expected a text, got {other:?}"),
            }
        }
    }

    /// Reads up to the close frame, and returns its code; 0 if the frame has no code.
    pub async fn close_code(&mut self) -> u16 {
        loop {
            match self.next().await {
                Some((CLOSE, payload)) => {
                    return payload.first_chunk().map_or(0, |code| u16::from_be_bytes(*code));
                }
                Some(_) => {}
                None => panic!("the stream ended without a close frame"),
            }
        }
    }

    /// Waits for the server to end the stream; only pings may arrive before.
    pub async fn expect_end(&mut self) {
        while let Some((first, payload)) = self.next().await {
            assert_eq!(first, PING, "expected the end, got {payload:?}");
        }
    }

    /// All bytes until the end of the stream.
    pub async fn read_rest(&mut self) -> String {
        while self.fill().await {}
        String::from_utf8(std::mem::take(&mut self.read)).unwrap()
    }

    fn take_frame(&mut self) -> Option<(u8, Vec<u8>)> {
        let first = *self.read.first()?;
        let short = *self.read.get(1)?;
        assert_eq!(short & 0x80, 0, "server frames are not masked");
        let (length, start) = match short {
            126 => (usize::from(u16::from_be_bytes(*self.read.get(2..)?.first_chunk()?)), 4),
            127 => (usize::try_from(u64::from_be_bytes(*self.read.get(2..)?.first_chunk()?)).unwrap(), 10),
            short => (usize::from(short), 2),
        };
        let payload = self.read.get(start..start + length)?.to_vec();
        self.read.drain(..start + length);
        Some((first, payload))
    }

    /// Reads more bytes. Returns false at the end of the stream.
    async fn fill(&mut self) -> bool {
        let mut buffer = vec![0; 64 * 1024];
        let read = within_timeout("a read", self.socket.read(&mut buffer)).await.unwrap();
        self.read.extend_from_slice(&buffer[..read]);
        read > 0
    }
}

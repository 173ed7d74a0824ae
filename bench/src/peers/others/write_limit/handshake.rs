//! The opening handshake of RFC 6455, for well-behaved clients.

use anyhow::{Context, Result, ensure};
use base64::prelude::{BASE64_STANDARD, Engine};
use sha1::{Digest, Sha1};

use crate::peers::others::bare::ConnectQuery;

const MAX_HEAD_BYTES: usize = 8 * 1024;
const GUID: &str = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// Parses the request. Returns its query, the answer to send, and the length of the request in bytes. `None` if the
/// request is incomplete.
pub(super) fn parse_request(bytes: &[u8]) -> Result<Option<(ConnectQuery, String, usize)>> {
    let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") else {
        ensure!(bytes.len() <= MAX_HEAD_BYTES, "a head over {MAX_HEAD_BYTES} bytes");
        return Ok(None);
    };
    let head = std::str::from_utf8(&bytes[..end])?;
    let target = head.split(' ').nth(1).context("no target")?;
    let url = reqwest::Url::parse("http://localhost")?.join(target)?;
    let query_value =
        |name: &str| url.query_pairs().find(|(key, _)| key == name).map(|(_, value)| value.into_owned());
    let query = ConnectQuery {
        room: query_value("room").context("no room")?,
        user: query_value("user").context("no user")?,
    };
    let mut headers = head.lines().filter_map(|line| line.split_once(':'));
    let key = headers.find(|(name, _)| name.eq_ignore_ascii_case("sec-websocket-key")).context("no key")?.1;
    let accept = BASE64_STANDARD.encode(Sha1::digest(format!("{}{GUID}", key.trim())));
    let answer = format!(
        "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: {accept}\r\n\r\n"
    );
    Ok(Some((query, answer, end + 4)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn handshake_example_of_the_rfc_gets_its_answer() {
        let request = "GET /?room=a%20b&user=ann HTTP/1.1\r\nHost: x\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\nrest";
        let (query, answer, length) = parse_request(request.as_bytes()).unwrap().unwrap();
        assert_eq!(query, ConnectQuery { room: "a b".into(), user: "ann".into() });
        assert!(answer.contains("Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"));
        assert_eq!(&request[length..], "rest");
    }
}

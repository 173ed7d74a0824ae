//! The HTTP part of an upgrade (RFC 6455, 4.2): checks the handshake and builds the answer, from a request's head to
//! the bytes to write. Pure.

use std::fmt::Write as _;

use actix_http::{
    HttpMessage as _, Method, Request, StatusCode, Uri, Version,
    header::{self, HeaderMap, HeaderName, HeaderValue},
};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use bytes::Bytes;
use sha1::{Digest as _, Sha1};
use tidings_shared::security_headers::NOSNIFF;

use super::extension::{self, Agreement, Window};

/// Appended to the key before hashing (RFC 6455, 1.3).
const ACCEPT_GUID: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// A request that passed the handshake's checks: a WebSocket upgrade, or the first poll of an Engine.IO session.
pub struct HandshakeRequest {
    head: HandshakeHead,
    is_engine: bool,
}

enum HandshakeHead {
    Upgrade(Request),
    Poll(Box<(Uri, HeaderMap)>),
}

impl HandshakeRequest {
    /// The first poll of an Engine.IO session.
    pub(crate) fn poll(uri: Uri, headers: HeaderMap) -> HandshakeRequest {
        HandshakeRequest { head: HandshakeHead::Poll(Box::new((uri, headers))), is_engine: true }
    }

    fn uri(&self) -> &Uri {
        match &self.head {
            HandshakeHead::Upgrade(request) => request.uri(),
            HandshakeHead::Poll(head) => &head.0,
        }
    }

    pub fn path(&self) -> &str {
        self.uri().path()
    }

    /// The query of the request, as sent.
    pub fn query(&self) -> Option<&str> {
        self.uri().query()
    }

    pub fn headers(&self) -> &HeaderMap {
        match &self.head {
            HandshakeHead::Upgrade(request) => request.headers(),
            HandshakeHead::Poll(head) => &head.1,
        }
    }

    /// Whether the peer speaks Engine.IO.
    pub fn is_engine(&self) -> bool {
        self.is_engine
    }
}

/// The HTTP answer to a refused handshake. The connection is closed after this answer.
#[derive(Debug, Clone)]
pub struct Refusal {
    pub status: StatusCode,
    /// Further headers. `Content-Type`, `X-Content-Type-Options`, `Content-Length` and `Connection` are always added.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    pub content_type: &'static str,
    pub body: Bytes,
}

impl Refusal {
    pub fn new(status: StatusCode, content_type: &'static str, body: impl Into<Bytes>) -> Refusal {
        Refusal { status, headers: Vec::new(), content_type, body: body.into() }
    }

    /// Adds a header. Must not be used for the headers that are always added: see [`Refusal::headers`].
    #[must_use]
    pub fn header(mut self, name: HeaderName, value: HeaderValue) -> Refusal {
        self.headers.push((name, value));
        self
    }

    /// A refusal with a problem document (RFC 9457). `code` and `detail` must need no escaping in JSON.
    pub(crate) fn problem(status: StatusCode, code: &str, detail: &str) -> Refusal {
        let document = format!(
            r#"{{"type":"about:blank","title":"{}","status":{},"detail":"{detail}","code":"{code}"}}"#,
            status.canonical_reason().unwrap_or("Refused"),
            status.as_u16()
        );
        Refusal::new(status, "application/problem+json", document)
    }

    /// The whole HTTP answer as bytes, with status line, headers and body.
    pub(crate) fn encode(&self) -> Vec<u8> {
        // An answer with an `Upgrade` header must name this header in `Connection` (RFC 9110, 7.8).
        let upgrade = self.headers.iter().any(|(name, _)| name == header::UPGRADE);
        let mut head = format!(
            "HTTP/1.1 {} {}\r\ncontent-type: {}\r\nx-content-type-options: {NOSNIFF}\r\ncontent-length: {}\r\n\
             connection: close{}\r\n",
            self.status.as_str(),
            self.status.canonical_reason().unwrap_or("Refused"),
            self.content_type,
            self.body.len(),
            if upgrade { ", upgrade" } else { "" }
        )
        .into_bytes();
        for (name, value) in &self.headers {
            head.extend_from_slice(name.as_str().as_bytes());
            head.extend_from_slice(b": ");
            head.extend_from_slice(value.as_bytes());
            head.extend_from_slice(b"\r\n");
        }
        head.extend_from_slice(b"\r\n");
        head.extend_from_slice(&self.body);
        head
    }
}

/// The answer to a request with another method than GET.
pub(crate) fn method_not_allowed() -> Refusal {
    let detail = "a WebSocket handshake is a GET request";
    Refusal::problem(StatusCode::METHOD_NOT_ALLOWED, "bad_request", detail)
        .header(header::ALLOW, HeaderValue::from_static("GET"))
}

/// The answer to a request that asks for an unknown WebSocket version, or for no WebSocket.
pub(crate) fn upgrade_required() -> Refusal {
    let detail = "this is a WebSocket endpoint, version 13 of the protocol";
    Refusal::problem(StatusCode::UPGRADE_REQUIRED, "bad_request", detail)
        .header(header::SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13"))
        .header(header::UPGRADE, HeaderValue::from_static("websocket"))
}

/// The settings that decide about a handshake.
#[derive(Debug, Clone)]
pub(crate) struct HandshakeOptions {
    /// The path of the WebSocket; `None` accepts every path.
    pub path: Option<String>,
    pub subprotocol: Option<String>,
    /// Whether permessage-deflate is negotiated.
    pub deflate: bool,
    /// Whether the handshakes belong to Engine.IO.
    pub is_engine: bool,
}

/// The result of [`check_upgrade`] for a valid upgrade request.
pub(crate) struct Handshake {
    /// The 101 answer, which is sent after the handshake is accepted.
    pub answer: Bytes,
    /// The peer's inflate window; `None` if compression was not negotiated.
    pub window: Option<Window>,
}

/// Checks an upgrade request and prepares the 101 answer. The error is the answer to an invalid request.
pub(crate) fn check_upgrade(
    request: Request,
    options: &HandshakeOptions,
) -> Result<(HandshakeRequest, Handshake), Refusal> {
    let bad = |detail| Refusal::problem(StatusCode::BAD_REQUEST, "bad_request", detail);
    if options.path.as_deref().is_some_and(|path| path != request.path()) {
        let detail = "there is no WebSocket at this path";
        return Err(Refusal::problem(StatusCode::NOT_FOUND, "not_found", detail));
    }
    if *request.method() != Method::GET {
        return Err(method_not_allowed());
    }
    if request.version() != Version::HTTP_11 {
        return Err(bad("a WebSocket handshake needs HTTP/1.1"));
    }
    let headers = request.headers();
    if !has_token(headers, &header::UPGRADE, "websocket") {
        return Err(upgrade_required());
    }
    if !has_token(headers, &header::CONNECTION, "upgrade") {
        return Err(bad("the Connection header does not name upgrade"));
    }
    if single_value(headers, &header::SEC_WEBSOCKET_VERSION) != Some("13") {
        return Err(upgrade_required());
    }
    if headers.get(header::CONTENT_LENGTH).is_some_and(|length| length != "0") {
        return Err(bad("a WebSocket handshake has no body"));
    }
    let Some(key) = single_value(headers, &header::SEC_WEBSOCKET_KEY).filter(|key| is_websocket_key(key))
    else {
        return Err(bad("Sec-WebSocket-Key is not 16 bytes in base64"));
    };

    let mut answer = String::with_capacity(320);
    answer.push_str("HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: upgrade\r\n");
    let _ = write!(answer, "sec-websocket-accept: {}\r\n", accept_key(key));
    // Subprotocol names are case sensitive, unlike the tokens of `Connection`.
    if let Some(subprotocol) = &options.subprotocol
        && list_entries(headers, &header::SEC_WEBSOCKET_PROTOCOL).any(|entry| entry == subprotocol)
    {
        let _ = write!(answer, "sec-websocket-protocol: {subprotocol}\r\n");
    }
    let extensions =
        headers.get_all(header::SEC_WEBSOCKET_EXTENSIONS).filter_map(|value| value.to_str().ok());
    let agreement = if options.deflate { extension::accept_first_offer(extensions) } else { None };
    if let Some(agreement) = agreement {
        let _ = write!(answer, "sec-websocket-extensions: {}\r\n", agreement.answer());
    }
    answer.push_str("\r\n");
    let handshake = Handshake { answer: Bytes::from(answer), window: agreement.map(Agreement::window) };
    let head = HandshakeHead::Upgrade(request);
    Ok((HandshakeRequest { head, is_engine: options.is_engine }, handshake))
}

/// The comma separated entries of all headers of one name.
fn list_entries<'a>(headers: &'a HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'a str> {
    headers
        .get_all(name)
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(str::trim)
}

/// Whether a header of this name lists the token, in any case.
fn has_token(headers: &HeaderMap, name: &HeaderName, token: &str) -> bool {
    list_entries(headers, name).any(|entry| entry.eq_ignore_ascii_case(token))
}

/// The value of a header that must not be repeated; `None` if it is missing or repeated.
fn single_value<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    let mut values = headers.get_all(name);
    let value = values.next()?;
    if values.next().is_some() {
        return None;
    }
    value.to_str().ok().map(str::trim)
}

/// Whether a `Sec-WebSocket-Key` is 16 bytes in base64.
fn is_websocket_key(key: &str) -> bool {
    key.len() == 24 && BASE64_STANDARD.decode(key).is_ok_and(|nonce| nonce.len() == 16)
}

/// The value of `Sec-WebSocket-Accept` for the key of the request.
fn accept_key(key: &str) -> String {
    let digest = Sha1::new().chain_update(key.as_bytes()).chain_update(ACCEPT_GUID).finalize();
    BASE64_STANDARD.encode(digest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accept_key_matches_example_of_rfc() {
        assert_eq!(accept_key("dGhlIHNhbXBsZSBub25jZQ=="), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    }
}

//! One user of the API of files. Every call is one request, and never follows redirects.

use std::net::{IpAddr, Ipv4Addr};

use anyhow::{Context, Result};
use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::hmac::{HMAC_SHA256, Key, sign};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use reqwest::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderMap};
use reqwest::{Body, Client, Method, RequestBuilder};
use serde_json::{Value, json};

use super::RawAppend;

/// A user, or nobody if the token is empty.
#[derive(Clone)]
pub struct FileUser {
    client: Client,
    base: String,
    token: String,
}

/// An answer with its bytes.
#[derive(Debug, Clone)]
pub struct Reply {
    pub status: u16,
    pub headers: HeaderMap,
    pub bytes: Vec<u8>,
}

impl Reply {
    /// The body as JSON; `null` if it is none.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.bytes).unwrap_or_default()
    }

    /// The text of a header; empty if it is missing.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    /// The header `Upload-Offset`.
    pub fn offset(&self) -> Option<u64> {
        self.header("upload-offset").parse().ok()
    }

    /// The `reason` of a problem document; empty for other answers.
    pub fn reason(&self) -> String {
        self.json()["reason"].as_str().unwrap_or_default().to_owned()
    }

    /// Asserts the status.
    ///
    /// # Panics
    /// When the status is another one.
    #[track_caller]
    #[must_use]
    pub fn expect(self, status: u16) -> Reply {
        assert_eq!(self.status, status, "{}", String::from_utf8_lossy(&self.bytes));
        self
    }
}

impl FileUser {
    pub(super) fn new(base: &str, token: &str) -> FileUser {
        let client = crate::http::client_from(IpAddr::V4(Ipv4Addr::LOCALHOST));
        FileUser { client, base: base.to_owned(), token: token.to_owned() }
    }

    /// A request. `path` begins after the address of the server. A whole URL is of a bucket, which gets no token.
    pub fn request(&self, method: Method, path: &str) -> RequestBuilder {
        if path.starts_with("http://") {
            return self.client.request(method, path);
        }
        let request = self.client.request(method, format!("{}{path}", self.base));
        if self.token.is_empty() {
            request
        } else {
            request.header(AUTHORIZATION, format!("Bearer {}", self.token))
        }
    }

    /// Sends a request.
    ///
    /// # Errors
    /// When there is no answer.
    pub async fn send(&self, request: RequestBuilder) -> Result<Reply> {
        let answer = request.send().await?;
        let (status, headers) = (answer.status().as_u16(), answer.headers().clone());
        Ok(Reply { status, headers, bytes: answer.bytes().await?.to_vec() })
    }

    /// `GET` of a path.
    ///
    /// # Errors
    /// When there is no answer.
    pub async fn get(&self, path: &str) -> Result<Reply> {
        self.send(self.request(Method::GET, path)).await
    }

    /// `POST` to a path, without a body.
    ///
    /// # Errors
    /// When there is no answer.
    pub async fn post(&self, path: &str) -> Result<Reply> {
        self.send(self.request(Method::POST, path)).await
    }

    /// `DELETE` of a path.
    ///
    /// # Errors
    /// When there is no answer.
    pub async fn delete(&self, path: &str) -> Result<Reply> {
        self.send(self.request(Method::DELETE, path)).await
    }

    /// Begins an upload: asks the service to create a file for this content.
    ///
    /// # Errors
    /// When there is no answer.
    pub async fn create(&self, room: &str, name: &str, media_type: &str, content: &[u8]) -> Result<Reply> {
        let form = json!({
            "name": name, "media_type": media_type, "size": content.len(), "sha256": sha256_hex(content)
        });
        self.create_with(room, &form).await
    }

    /// Asks for an upload with these fields.
    ///
    /// # Errors
    /// When there is no answer.
    pub async fn create_with(&self, room: &str, form: &Value) -> Result<Reply> {
        self.send(self.request(Method::POST, &format!("/v1/rooms/{room}/files")).json(form)).await
    }

    /// The offset of an upload.
    ///
    /// # Errors
    /// When there is no answer, or it has no offset.
    pub async fn offset(&self, upload: &str) -> Result<u64> {
        let reply = self.send(self.request(Method::HEAD, upload)).await?;
        reply.offset().with_context(|| format!("{reply:?}"))
    }

    /// Sends a chunk.
    ///
    /// # Errors
    /// When there is no answer.
    pub async fn append(&self, upload: &str, offset: u64, body: impl Into<Body>) -> Result<Reply> {
        let request = self.request(Method::PATCH, upload).header("Upload-Offset", offset);
        self.send(request.header(CONTENT_TYPE, "application/partial-upload").body(body)).await
    }

    /// Begins to send a chunk, without its end.
    ///
    /// # Errors
    /// When there is no connection.
    pub async fn begin_append(&self, upload: &str, offset: u64, part: &[u8]) -> Result<RawAppend> {
        RawAppend::begin(&self.base, &self.token, upload, offset, part).await
    }

    /// Sends a part to its URL.
    ///
    /// # Errors
    /// When there is no answer.
    pub async fn put_part(&self, part: &Value, body: impl Into<Body>) -> Result<Reply> {
        let url = part["url"].as_str().context("no URL of a part")?;
        self.send(self.request(Method::PUT, url).body(body)).await
    }

    /// Sends all parts that the bucket lacks. Returns their number.
    ///
    /// # Errors
    /// When a request is refused.
    pub async fn send_parts(&self, room: &str, file: &str, content: &[u8]) -> Result<usize> {
        let mut sent = 0;
        loop {
            let file = self.get(&format!("/v1/rooms/{room}/files/{file}")).await?.expect(200).json();
            let parts = file["upload"]["parts"].as_array().context("no parts")?;
            if parts.is_empty() {
                return Ok(sent);
            }
            for part in parts {
                let _stored = self.put_part(part, bytes_of(part, content)?).await?.expect(200);
                sent += 1;
            }
        }
    }

    /// Uploads the bytes of a file, and completes it. Returns the file object.
    ///
    /// # Errors
    /// When a request is refused.
    pub async fn upload(&self, room: &str, name: &str, media_type: &str, content: &[u8]) -> Result<Value> {
        let file = self.create(room, name, media_type, content).await?.expect(201).json();
        let id = file["id"].as_str().context("no id")?;
        if file["upload"]["kind"] == "parts" {
            self.send_parts(room, id, content).await?;
        } else {
            let upload = file["upload"]["url"].as_str().context("no upload")?;
            let _stored = self.append(upload, 0, content.to_vec()).await?.expect(204);
        }
        Ok(self.post(&format!("/v1/rooms/{room}/files/{id}/complete")).await?.expect(200).json())
    }

    /// Asks for the address of a file of a message, as JSON.
    ///
    /// # Errors
    /// When there is no answer.
    pub async fn address(&self, room: &str, seq: u64, file: &str) -> Result<Reply> {
        let path = format!("/v1/rooms/{room}/messages/{seq}/files/{file}");
        self.send(self.request(Method::GET, &path).header(ACCEPT, "application/json")).await
    }

    /// Downloads a file of a message.
    ///
    /// # Errors
    /// When a request is refused.
    pub async fn download(&self, room: &str, seq: u64, file: &str) -> Result<Reply> {
        let address = self.address(room, seq, file).await?.expect(200).json();
        self.get(address["url"].as_str().context("no address")?).await
    }
}

/// The bytes of a part of a file.
///
/// # Errors
/// When the part is outside of the content.
pub fn bytes_of(part: &Value, content: &[u8]) -> Result<Vec<u8>> {
    let number = |name: &str| part[name].as_u64().and_then(|number| usize::try_from(number).ok());
    let (offset, size) = (number("offset").context("no offset")?, number("size").context("no size")?);
    content.get(offset..offset + size).map(<[u8]>::to_vec).context("outside of the content")
}

/// The SHA-256 of bytes in hex digits.
pub fn sha256_hex(content: &[u8]) -> String {
    digest(&SHA256, content).as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The signature of an address for readers, as docs/PROTOCOL.md does not tell it: for tests that forge addresses with the
/// right secret.
pub fn signature(file: &str, expires_s: i64, secret: &str) -> String {
    let text = format!("tidings-files address 1\n{file}\n{expires_s}\nreader");
    URL_SAFE_NO_PAD.encode(sign(&Key::new(HMAC_SHA256, secret.as_bytes()), text.as_bytes()))
}

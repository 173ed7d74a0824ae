//! A stand-in for Google Cloud Storage. Its XML API has the requests of S3
//! (<https://cloud.google.com/storage/docs/interoperability>), so versitygw answers them, behind a proxy that checks the
//! bearer token and signs the requests for versitygw.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result};
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::header::{
    AUTHORIZATION, CONNECTION, CONTENT_LENGTH, HOST, HeaderMap, HeaderName, TRANSFER_ENCODING,
};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use jiff::Timestamp;
use reqwest::{Client, Url};
use rusty_s3::signing::sign;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use super::S3Server;
use super::s3::{BUCKET, KEY, PREFIX, SECRET};
use crate::{Stack, ports};

const TOKEN: &str = "a-token-of-the-tests";
/// Headers of one connection, or that the other side writes itself.
const HEADERS_NOT_FORWARDED: [HeaderName; 4] = [AUTHORIZATION, CONNECTION, HOST, TRANSFER_ENCODING];

/// A running server with one bucket. The front ends on drop.
pub struct GoogleServer {
    server: S3Server,
    port: u16,
    front: JoinHandle<()>,
}

impl GoogleServer {
    /// Starts a server with an empty bucket, in the folder of a stack.
    ///
    /// # Errors
    /// When the program is missing, or it is not ready in 30 s.
    pub async fn start(stack: &Stack) -> Result<GoogleServer> {
        let server = S3Server::start(stack).await?;
        let port = ports::free()?;
        let listener = TcpListener::bind(("127.0.0.1", port)).await?;
        let front = Front { client: crate::http::client_within(Duration::from_secs(60)), url: server.url() };
        let front = tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                let front = front.clone();
                let service = service_fn(move |request| front.clone().answer(request));
                // An error ends the connection, which the client notices.
                tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(socket), service));
            }
        });
        Ok(GoogleServer { server, port, front })
    }

    pub(super) fn server(&self) -> &S3Server {
        &self.server
    }

    pub(super) async fn replace(&self, object: &str, content: &[u8]) -> Result<()> {
        let url = format!("http://127.0.0.1:{}/{BUCKET}/{PREFIX}/{object}", self.port);
        let request = crate::http::client_within(Duration::from_secs(30)).put(url).bearer_auth(TOKEN);
        request.body(content.to_vec()).send().await?.error_for_status().map(drop).context("replace")
    }

    pub(super) fn settings(&self) -> Vec<(&'static str, String)> {
        vec![
            ("TIDINGS_FILES_BUCKET", format!("gs://{BUCKET}/{PREFIX}")),
            ("GOOGLE_BASE_URL", format!("http://127.0.0.1:{}", self.port)),
            ("GOOGLE_BEARER_TOKEN", TOKEN.to_owned()),
        ]
    }

    pub(super) fn folder(&self) -> PathBuf {
        self.server.folder()
    }
}

impl Drop for GoogleServer {
    fn drop(&mut self) {
        self.front.abort();
    }
}

/// The server in front of versitygw.
#[derive(Clone)]
struct Front {
    client: Client,
    url: String,
}

impl Front {
    /// Answers 401 without the token, and 502 if versitygw does not answer.
    async fn answer(self, request: Request<Incoming>) -> Result<Response<Full<Bytes>>> {
        let token = request.headers().get(AUTHORIZATION).and_then(|value| value.to_str().ok());
        let answered = match token == Some(&format!("Bearer {TOKEN}")) {
            true => self.forward(request).await.map_err(|_| StatusCode::BAD_GATEWAY),
            false => Err(StatusCode::UNAUTHORIZED),
        };
        Ok(answered.unwrap_or_else(|status| {
            let mut answer = Response::default();
            *answer.status_mut() = status;
            answer
        }))
    }

    async fn forward(&self, request: Request<Incoming>) -> Result<Response<Full<Bytes>>> {
        let (head, body) = request.into_parts();
        // The names of the tests have no other characters that the program escapes.
        let path = head.uri.path().replace("%2F", "/").replace("%2D", "-").replace("%2E", ".");
        let mut url = Url::parse(&format!("{}{path}", self.url))?;
        url.set_query(head.uri.query());
        let query: Vec<(String, String)> = url.query_pairs().into_owned().collect();
        url.set_query(None);
        let method = match head.method {
            Method::GET => rusty_s3::Method::Get,
            Method::HEAD => rusty_s3::Method::Head,
            Method::PUT => rusty_s3::Method::Put,
            Method::POST => rusty_s3::Method::Post,
            _ => rusty_s3::Method::Delete,
        };
        let pairs = query.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        let signed = sign(
            &Timestamp::now(),
            method,
            url,
            KEY,
            SECRET,
            None,
            "us-east-1",
            60,
            pairs,
            std::iter::empty(),
        );
        let mut sent = self.client.request(head.method, signed).body(body.collect().await?.to_bytes());
        for (name, value) in passed_on(&head.headers) {
            sent = sent.header(name, value);
        }
        let received = sent.send().await?;
        let mut answer = Response::builder().status(received.status());
        for (name, value) in passed_on(received.headers()) {
            answer = answer.header(name, value);
        }
        // A HEAD has the length of the content in its headers.
        if let Some(length) = received.headers().get(CONTENT_LENGTH) {
            answer = answer.header(CONTENT_LENGTH, length);
        }
        Ok(answer.body(Full::new(received.bytes().await?))?)
    }
}

fn passed_on(headers: &HeaderMap) -> impl Iterator<Item = (&HeaderName, &hyper::header::HeaderValue)> {
    headers.iter().filter(|(name, _)| !HEADERS_NOT_FORWARDED.contains(name) && **name != CONTENT_LENGTH)
}

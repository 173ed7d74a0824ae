//! The push services of apps as one HTTPS server: FCM with Google's tokens, APNs and Expo. It checks each request
//! strictly by the documents of these services, without the code of the sender. It keeps what is right, and names what
//! is wrong. Touches only the network and a folder.

mod credentials;
mod rules;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::Result;
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, Response, Version};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto::Builder;
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;

use crate::{ports, tls};
use credentials::Credentials;

/// A request that asked for a message to an app.
#[derive(Debug, Clone)]
pub struct AppRequest {
    /// `fcm`, `apns` or `expo`.
    pub kind: &'static str,
    /// The token of the device.
    pub token: String,
    /// The headers, with names in lower case.
    pub headers: BTreeMap<String, String>,
    /// The body.
    pub body: Value,
    /// The status of the answer.
    pub status: u16,
}

impl AppRequest {
    /// The data for the app: type, room and seq.
    pub fn data(&self) -> (String, String, u64) {
        let data = match self.kind {
            "fcm" => &self.body["message"]["data"],
            "expo" => &self.body["data"],
            _ => &self.body,
        };
        let text = |name: &str| data[name].as_str().unwrap_or_default().to_owned();
        let seq = data["seq"].as_u64().or_else(|| data["seq"].as_str()?.parse().ok());
        (text("type"), text("room"), seq.unwrap_or_default())
    }
}

/// In the place of a token, for [`AppService::answer`] and [`AppService::requests`]: the requests for receipts of Expo.
pub const RECEIPTS: &str = "receipts";

/// What is answered to the next requests for a device.
#[derive(Debug, Clone)]
struct ForcedAnswer {
    status: u16,
    retry_after: Option<u32>,
    body: Value,
}

/// The server. Dropping it stops it.
pub struct AppService {
    shared: Arc<Shared>,
    task: JoinHandle<()>,
}

struct Shared {
    credentials: Credentials,
    url: String,
    requests: Mutex<Vec<AppRequest>>,
    violations: Mutex<Vec<String>>,
    answers: Mutex<BTreeMap<String, ForcedAnswer>>,
    /// Answers wait for this lock.
    answering: tokio::sync::Mutex<()>,
    expo: Mutex<ExpoReceipts>,
}

/// The tickets and receipts of Expo.
#[derive(Default)]
struct ExpoReceipts {
    /// The token of the device that each ticket was given out for.
    tickets: BTreeMap<String, String>,
    /// The receipts that are not `ok`, by token. Null for one that is missing.
    receipts: BTreeMap<String, Value>,
}

impl AppService {
    /// Starts the server. Its certificate is signed by the authority of this process.
    ///
    /// # Errors
    /// When it cannot listen.
    pub async fn start() -> Result<AppService> {
        let identity = tls::authority()?.identity(&["localhost"])?;
        let certificate = CertificateDer::from_pem_slice(identity.certificate.as_bytes())?;
        let key = PrivateKeyDer::from_pem_slice(identity.key.as_bytes())?;
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
        let mut config = config.with_no_client_auth().with_single_cert(vec![certificate], key)?;
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        let (port, acceptor) = (ports::free()?, TlsAcceptor::from(Arc::new(config)));
        let listener = TcpListener::bind(("127.0.0.1", port)).await?;
        let url = format!("https://localhost:{port}");
        let shared = Arc::new(Shared {
            credentials: Credentials::new(&url)?,
            url,
            requests: Mutex::default(),
            violations: Mutex::default(),
            answers: Mutex::default(),
            answering: tokio::sync::Mutex::default(),
            expo: Mutex::default(),
        });
        let serving = shared.clone();
        let task = tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                let (acceptor, shared) = (acceptor.clone(), serving.clone());
                tokio::spawn(async move {
                    let Ok(stream) = acceptor.accept(socket).await else { return };
                    let service = service_fn(move |request| answer(shared.clone(), request));
                    let builder = Builder::new(TokioExecutor::new());
                    // An error ends the connection, which the client notices.
                    let _ = builder.serve_connection(TokioIo::new(stream), service).await;
                });
            }
        });
        Ok(AppService { shared, task })
    }

    /// The settings of a program that uses all these services. `folder` gets a file with the trusted authority.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn settings(&self, folder: &Path) -> Result<Vec<(&'static str, String)>> {
        let ca_file = folder.join("push-authority.pem");
        std::fs::write(&ca_file, tls::authority()?.pem())?;
        let mut settings = self.shared.credentials.settings();
        settings.push(("TIDINGS_PUSH_CA_FILE", ca_file.display().to_string()));
        for name in ["TIDINGS_PUSH_FCM_URL", "TIDINGS_PUSH_APNS_URL", "TIDINGS_PUSH_EXPO_URL"] {
            settings.push((name, self.shared.url.clone()));
        }
        Ok(settings)
    }

    /// How long access tokens of Google are valid that are given out from now on.
    pub fn set_token_lifetime(&self, lifetime: Duration) {
        self.shared.credentials.set_lifetime(lifetime);
    }

    /// The number of access tokens of Google that were given out.
    pub fn tokens_issued(&self) -> usize {
        self.shared.credentials.issued()
    }

    /// Makes all access tokens of Google invalid that were given out.
    pub fn revoke_tokens(&self) {
        self.shared.credentials.revoke();
    }

    /// Gives this answer to all further requests for a device, with `Retry-After` in seconds.
    pub fn answer(&self, token: &str, status: u16, retry_after: Option<u32>, body: Value) {
        lock(&self.shared.answers).insert(token.to_owned(), ForcedAnswer { status, retry_after, body });
    }

    /// Takes requests, but does not answer them until the guard is dropped.
    pub async fn hold_answers(&self) -> tokio::sync::MutexGuard<'_, ()> {
        self.shared.answering.lock().await
    }

    /// Accepts all further requests for a device.
    pub fn accept(&self, token: &str) {
        lock(&self.shared.answers).remove(token);
    }

    /// All requests for a device, in their order.
    pub fn requests(&self, token: &str) -> Vec<AppRequest> {
        lock(&self.shared.requests).iter().filter(|request| request.token == token).cloned().collect()
    }

    /// What the device was told, in its order: type, room and seq of each accepted request.
    pub fn told(&self, token: &str) -> Vec<(String, String, u64)> {
        self.requests(token).iter().filter(|request| request.status == 200).map(AppRequest::data).collect()
    }

    /// Makes this the receipt of all messages of Expo to a device. Null for none.
    pub fn set_receipt(&self, token: &str, receipt: Value) {
        lock(&self.shared.expo).receipts.insert(token.to_owned(), receipt);
    }

    /// How often the receipts of messages to a device were asked for.
    pub fn receipt_requests(&self, token: &str) -> usize {
        let requests = self.requests(RECEIPTS);
        let expo = lock(&self.shared.expo);
        let is_of_device =
            |id: &&Value| id.as_str().and_then(|id| expo.tickets.get(id)).is_some_and(|of| of == token);
        requests
            .iter()
            .filter_map(|request| request.body["ids"].as_array())
            .flatten()
            .filter(is_of_device)
            .count()
    }

    /// What was wrong with requests.
    pub fn violations(&self) -> Vec<String> {
        lock(&self.shared.violations).clone()
    }
}

impl Drop for AppService {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn answer(shared: Arc<Shared>, request: Request<Incoming>) -> Result<Response<Full<Bytes>>> {
    let (head, body) = request.into_parts();
    let bytes = body.collect().await?.to_bytes();
    let text = |value: &hyper::header::HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
    let headers: BTreeMap<String, String> =
        head.headers.iter().map(|(name, value)| (name.as_str().to_owned(), text(value))).collect();
    let path = head.uri.path();
    let (status, retry_after, body) = if head.method != "POST" {
        shared.refuse(405, &format!("{} {path}", head.method))
    } else if path == "/token" {
        match shared.credentials.issue(&headers, &bytes) {
            Ok(token) => (200, None, token),
            Err(why) => shared.refuse(400, &why.to_string()),
        }
    } else {
        shared.take(path, headers, &bytes, head.version == Version::HTTP_2)
    };
    drop(shared.answering.lock().await);
    let mut response = Response::builder().status(status).header("content-type", "application/json");
    if let Some(seconds) = retry_after {
        response = response.header("retry-after", seconds);
    }
    let body = if body.is_null() { Bytes::new() } else { Bytes::from(body.to_string()) };
    Ok(response.body(Full::new(body))?)
}

type Reply = (u16, Option<u32>, Value);

impl Shared {
    fn refuse(&self, status: u16, why: &str) -> Reply {
        lock(&self.violations).push(why.to_owned());
        (status, None, json!({ "error": why }))
    }

    /// Checks and keeps a request for a message, and answers it.
    fn take(&self, path: &str, headers: BTreeMap<String, String>, bytes: &Bytes, is_http2: bool) -> Reply {
        let body: Value = serde_json::from_slice(bytes).unwrap_or_default();
        let checked = if let Some(token) = path.strip_prefix("/3/device/") {
            rules::apns(&self.credentials, token, &headers, &body, bytes.len(), is_http2)
                .map(|()| ("apns", token.to_owned(), Value::Null))
        } else if path == self.credentials.fcm_path() {
            if !self.credentials.knows(headers.get("authorization")) {
                let error = json!({ "code": 401, "status": "UNAUTHENTICATED" });
                return (401, None, json!({ "error": error }));
            }
            rules::fcm(&headers, &body)
                .map(|token| ("fcm", token, json!({ "name": "projects/x/messages/1" })))
        } else if path == "/--/api/v2/push/send" {
            rules::expo(&headers, &body).map(|token| {
                let ticket = lock(&self.expo).give_ticket(&token);
                ("expo", token, json!({ "data": { "status": "ok", "id": ticket } }))
            })
        } else if path == "/--/api/v2/push/getReceipts" {
            rules::expo_receipts(&headers, &body).map(|ids| {
                let receipts = lock(&self.expo).answer(&ids);
                ("receipts", RECEIPTS.to_owned(), json!({ "data": receipts }))
            })
        } else {
            Err(anyhow::anyhow!("no such path"))
        };
        match checked {
            Err(why) => self.refuse(400, &format!("{path}: {why:#}: {body}")),
            Ok((kind, token, accepted)) => {
                let forced = lock(&self.answers).get(&token).cloned();
                let accepted = ForcedAnswer { status: 200, retry_after: None, body: accepted };
                let ForcedAnswer { status, retry_after, body: reply } = forced.unwrap_or(accepted);
                lock(&self.requests).push(AppRequest { kind, token, headers, body, status });
                (status, retry_after, reply)
            }
        }
    }
}

impl ExpoReceipts {
    fn give_ticket(&mut self, token: &str) -> String {
        let ticket = format!("00000000-0000-4000-8000-{:012}", self.tickets.len());
        self.tickets.insert(ticket.clone(), token.to_owned());
        ticket
    }

    /// The receipts that exist, by ticket.
    fn answer(&self, ids: &[String]) -> BTreeMap<String, Value> {
        let receipt = |id: &String| {
            let receipt = self.receipts.get(self.tickets.get(id)?).cloned();
            let receipt = receipt.unwrap_or_else(|| json!({ "status": "ok" }));
            (!receipt.is_null()).then(|| (id.clone(), receipt))
        };
        ids.iter().filter_map(receipt).collect()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

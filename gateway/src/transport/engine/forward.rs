//! Passes the requests of a session on another node on to that node. Polls and POSTs are requests of an HTTP client with
//! a pool of connections. A WebSocket becomes a tunnel. The other node treats a forwarded request like one of a client,
//! so it needs no trust. Each worker has one forwarder.

use std::{sync::Arc, time::Duration};

use actix_web::{
    HttpResponse,
    http::{StatusCode, header},
};
use bytes::Bytes;
use tidings_shared::http_client;
use tokio::time::timeout;

use super::error::EngineError;
use crate::transport::{
    config::{EngineConfig, NodeDirectory},
    counters::WorkerCounters,
    refuse::to_http_response,
    worker::TransportWorker,
};

/// The header of a forwarded request. Such a request is never forwarded again, so that none circles between nodes.
pub(crate) const FORWARDED_HEADER: &str = "tidings-forwarded";

/// Time limit for a connection to another node.
pub(super) const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// Time limit for the address of another node. A directory that does not answer must not hold requests.
const LOOKUP_TIMEOUT: Duration = Duration::from_secs(2);
/// An unused connection is closed after this time: before the other node closes it, which is after 5 s.
const POOL_IDLE_TIMEOUT: Duration = Duration::from_secs(3);
/// Time limit for a request and its answer, in addition to the longest poll.
const ANSWER_MARGIN: Duration = Duration::from_secs(5);

/// Passes the requests of one worker on to other nodes.
pub(crate) struct Forwarder {
    directory: Arc<dyn NodeDirectory>,
    http: reqwest::Client,
    /// A session that nobody uses for this time is closed by its node.
    pub(super) silence: Duration,
    max_answer_bytes: usize,
    pub(super) counters: Arc<WorkerCounters>,
}

impl Forwarder {
    pub(super) fn new(
        directory: &Arc<dyn NodeDirectory>,
        config: &EngineConfig,
        worker: &TransportWorker,
    ) -> Forwarder {
        let http = http_client::builder()
            .connect_timeout(CONNECT_TIMEOUT)
            .pool_idle_timeout(POOL_IDLE_TIMEOUT)
            .build()
            .expect("the settings of the HTTP client are valid");
        Forwarder {
            directory: Arc::clone(directory),
            http,
            silence: config.silence(),
            // Base64 makes the packets of a full outbox longer by a third.
            max_answer_bytes: worker.limits.outbox_bytes.saturating_mul(2).max(config.max_payload),
            counters: Arc::clone(&worker.counters),
        }
    }

    /// The address of the process with this number, as `HOST:PORT`.
    pub(super) async fn address_of(&self, instance: u64) -> Option<String> {
        timeout(LOOKUP_TIMEOUT, self.directory.address(instance)).await.ok().flatten()
    }

    /// Passes a poll, or a POST with these packets, on to the node of its session, and returns that node's answer. If
    /// the node cannot be reached, the session is unknown, and the client opens another one. When the caller cancels
    /// the call, the request is cancelled too, so that a cancelled poll closes the session.
    pub(super) async fn forward(&self, instance: u64, target: &str, packets: Option<Bytes>) -> HttpResponse {
        let Some(address) = self.address_of(instance).await else {
            self.counters.forwarded_requests_unknown.add(1);
            return to_http_response(EngineError::UnknownSession.refusal());
        };
        let answer = timeout(self.silence + ANSWER_MARGIN, self.send(&address, target, packets)).await;
        match answer.unwrap_or_else(|_| Err("the node does not answer".to_owned())) {
            Ok(answer) => {
                self.counters.forwarded_requests_answered.add(1);
                answer
            }
            Err(error) => {
                tracing::debug!(%address, %error, "an Engine.IO request cannot be forwarded");
                self.counters.forwarded_requests_failed.add(1);
                to_http_response(EngineError::UnknownSession.refusal())
            }
        }
    }

    /// Sends a request. Only the target and the packets are sent, because the id in the query is all that the other
    /// node checks.
    async fn send(
        &self,
        address: &str,
        target: &str,
        packets: Option<Bytes>,
    ) -> Result<HttpResponse, String> {
        let url = format!("http://{address}{target}");
        let request = match packets {
            Some(packets) => self.http.post(url).body(packets),
            None => self.http.get(url),
        };
        let answer =
            request.header(FORWARDED_HEADER, "1").send().await.map_err(http_client::innermost_cause)?;
        let status = StatusCode::from_u16(answer.status().as_u16()).map_err(|error| error.to_string())?;
        let content_type = answer.headers().get("content-type").and_then(|value| value.to_str().ok());
        let content_type = content_type.unwrap_or("text/plain").to_owned();
        let body = http_client::read_body(answer, self.max_answer_bytes).await?;
        let mut forwarded = HttpResponse::build(status);
        forwarded.content_type(content_type).insert_header((header::CACHE_CONTROL, "no-store"));
        Ok(forwarded.body(body))
    }
}

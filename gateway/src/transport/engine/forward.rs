//! Forwards requests to the node that has their session. An HTTP client with a connection pool forwards polls and
//! POSTs. A WebSocket becomes a tunnel. The other node checks a forwarded request like a request of a client, so the
//! nodes need not trust each other. Each worker has one forwarder.

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

/// The header of a forwarded request. A request with it is never forwarded again, which prevents loops between nodes.
pub(crate) const FORWARDED_HEADER: &str = "tidings-forwarded";

/// Time limit for connecting to another node.
pub(super) const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// Time limit for the lookup of another node's address. Bounds the wait of a request if the directory does not answer.
const LOOKUP_TIMEOUT: Duration = Duration::from_secs(2);
/// An idle connection is closed after this time. Must be less than the 5 s after which the other node closes it.
const POOL_IDLE_TIMEOUT: Duration = Duration::from_secs(3);
/// Time limit for a request and its answer, in addition to the longest poll.
const ANSWER_MARGIN: Duration = Duration::from_secs(5);

/// Forwards the requests of one worker to other nodes.
pub(crate) struct Forwarder {
    directory: Arc<dyn NodeDirectory>,
    http: reqwest::Client,
    /// The other node closes a session that received no packet for this time.
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

    /// Forwards a poll, or a POST with these packets, to the node of its session, and returns that node's answer. If
    /// the node cannot be reached, the answer is that of an unknown session, and the client opens a new one. Dropping
    /// the future cancels the forwarded request, so that a cancelled poll closes the session.
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

    /// Sends a request. Only the target and the packets are sent, because the other node checks only the id in the
    /// query.
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

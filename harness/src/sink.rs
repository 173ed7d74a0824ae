//! A span collector on one port of 127.0.0.1: receives spans by OTLP over gRPC, and shows them as trees.

mod picture;
mod tree;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{
    TraceService, TraceServiceServer,
};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue, any_value::Value};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tonic::transport::ServerTlsConfig;
use tonic::transport::server::{Server, TcpIncoming};
use tonic::{Request, Response, Status};

pub use picture::render_trace_svg;
pub use tree::render_trace_tree;

/// An exported span.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReceivedSpan {
    /// The trace id, in hex.
    pub trace: String,
    /// The span id.
    pub id: String,
    /// The span id of the parent; `None` for a root.
    pub parent: Option<String>,
    /// The trace ids of the links.
    pub links: Vec<String>,
    /// The name of the span.
    pub name: String,
    /// `service.name` of the process that exported the span.
    pub service: String,
    /// `service.instance.id` of the process that exported the span.
    pub instance: String,
    /// The start in nanoseconds since the Unix epoch.
    pub start_ns: u64,
    /// The end in nanoseconds since the Unix epoch; 0 if the span has not ended.
    pub end_ns: u64,
    /// Attributes as text.
    pub attributes: BTreeMap<String, String>,
    /// The whole span as text, including its resource.
    pub whole: String,
}

#[derive(Debug, Clone, Default)]
struct SpanStore(Arc<Mutex<Vec<ReceivedSpan>>>);

/// A running collector. Dropping it stops the collector.
#[derive(Debug)]
pub struct Sink {
    endpoint: String,
    store: SpanStore,
    serving: JoinHandle<()>,
}

impl Sink {
    /// Starts a collector on a free port.
    pub async fn start() -> Result<Sink> {
        Self::serve(Server::builder()).await.map(|(port, store, serving)| Sink {
            endpoint: format!("http://127.0.0.1:{port}"),
            store,
            serving,
        })
    }

    /// Like [`Sink::start`], but with TLS. The certificate has this name, and the authority of this process signs it.
    ///
    /// # Errors
    /// When no port is free, or no certificate can be created.
    pub async fn start_tls(name: &str) -> Result<Sink> {
        // This fails only if a TLS provider is installed already.
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let identity = crate::tls::authority()?.identity(&[name])?;
        let identity = tonic::transport::Identity::from_pem(identity.certificate, identity.key);
        let server = Server::builder().tls_config(ServerTlsConfig::new().identity(identity))?;
        let (port, store, serving) = Self::serve(server).await?;
        Ok(Sink { endpoint: format!("https://{name}:{port}"), store, serving })
    }

    async fn serve(server: Server) -> Result<(u16, SpanStore, JoinHandle<()>)> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let port = listener.local_addr()?.port();
        let store = SpanStore::default();
        let service = TraceServiceServer::new(store.clone());
        let serving = tokio::spawn(async move {
            let served = server.serve_with_incoming(service, TcpIncoming::from(listener)).await;
            if let Err(error) = served {
                eprintln!("the sink ended: {error}");
            }
        });
        Ok((port, store, serving))
    }

    /// The URL of the collector, for the setting of the services.
    pub fn endpoint(&self) -> String {
        self.endpoint.clone()
    }

    /// The spans so far, ordered by their start.
    pub fn spans(&self) -> Vec<ReceivedSpan> {
        let mut spans = self.store.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        spans.sort_by_key(|span| (span.start_ns, std::cmp::Reverse(span.end_ns)));
        spans
    }

    /// Waits until the exported spans satisfy the condition.
    ///
    /// # Errors
    /// When the spans do not satisfy the condition in time; with the spans so far.
    pub async fn until(
        &self,
        time_limit: Duration,
        enough: impl Fn(&[ReceivedSpan]) -> bool,
    ) -> Result<Vec<ReceivedSpan>> {
        let begun = Instant::now();
        loop {
            let spans = self.spans();
            if enough(&spans) {
                return Ok(spans);
            }
            ensure!(begun.elapsed() < time_limit, "not enough spans came:\n{}", render_trace_tree(&spans));
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

impl Drop for Sink {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

#[tonic::async_trait]
impl TraceService for SpanStore {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        let mut seen = Vec::new();
        for part in request.into_inner().resource_spans {
            let resource = attributes(part.resource.as_ref().map_or(&[], |resource| &resource.attributes));
            let attribute = |name: &str| resource.get(name).cloned().unwrap_or_default();
            for span in part.scope_spans.into_iter().flat_map(|scope| scope.spans) {
                let parent = Some(hex(&span.parent_span_id)).filter(|id| !id.is_empty());
                seen.push(ReceivedSpan {
                    trace: hex(&span.trace_id),
                    id: hex(&span.span_id),
                    parent,
                    links: span.links.iter().map(|link| hex(&link.trace_id)).collect(),
                    service: attribute("service.name"),
                    instance: attribute("service.instance.id"),
                    start_ns: span.start_time_unix_nano,
                    end_ns: span.end_time_unix_nano,
                    attributes: attributes(&span.attributes),
                    whole: format!("{:?} {span:?}", part.resource),
                    name: span.name,
                });
            }
        }
        self.0.lock().unwrap_or_else(PoisonError::into_inner).extend(seen);
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a string cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

fn attributes(list: &[KeyValue]) -> BTreeMap<String, String> {
    list.iter().map(|one| (one.key.clone(), value_text(one.value.as_ref()))).collect()
}

fn value_text(value: Option<&AnyValue>) -> String {
    match value.and_then(|value| value.value.as_ref()) {
        Some(Value::StringValue(text)) => text.clone(),
        Some(Value::IntValue(number)) => number.to_string(),
        Some(Value::DoubleValue(number)) => number.to_string(),
        Some(Value::BoolValue(is)) => is.to_string(),
        other => format!("{other:?}"),
    }
}
